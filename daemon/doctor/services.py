"""The doctor's questions to Upbit and Gemini: reachable, keys accepted, rights right."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from daemon.config.load import Config
from daemon.doctor.markets import markets
from daemon.doctor.results import Finding, fault, name_of, note, ok, warning
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError, Transient, Unauthorized
from jobs.core.http_clients import settings
from jobs.core.job import Clock
from jobs.gemini.advice import advice_on
from jobs.gemini.client import Connection, open_model
from jobs.upbit.client import UpbitClient
from jobs.upbit.http import Call, Sender, open_http
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys, Signer
from jobs.upbit.wire import OrderRequest

UPBIT = "Upbit"
KEY = "Upbit key"
CLOCK = "clock"
GEMINI = "Gemini"
OFTEN_SKEW_S, WORST_SKEW_S = 2.0, 10.0
"""The exchange's clock is read to the second."""
RENEW_DAYS, URGENT_DAYS = 30, 3
SMALL_ORDER = (Decimal(1000), Decimal(10))
"""Price and volume of the order that is only tested."""
MY_PAGE = "https://upbit.com/mypage/open_api_management"
MENDS = {
    "no_authorization_ip": f"add this machine's address to the key at {MY_PAGE}",
    "no_authorization_i_p": f"add this machine's address to the key at {MY_PAGE}",
    "expired_access_key": f"issue a new key at {MY_PAGE}; a key lives one year",
    "invalid_access_key": "UPBIT_ACCESS_KEY is not a key of this exchange: copy it again",
    "jwt_verification": "UPBIT_SECRET_KEY does not belong to UPBIT_ACCESS_KEY: copy both again",
    "out_of_scope": f"issue a key with view assets, view orders and make orders at {MY_PAGE}",
    "thirdparty_agreement_required": "log in to Upbit and accept the terms of the Open API",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """Upbit with the configured keys, and the means to ask what the client has no method for."""

    client: UpbitClient
    sender: Sender
    keys: Keys | None
    clock: Clock


@asynccontextmanager
async def open_venue(config: Config, clock: Clock) -> AsyncIterator[Venue]:
    """Upbit as the daemon would reach it, on connections of its own."""
    access, secret = config.secrets.upbit_access_key, config.secrets.upbit_secret_key
    keys = None
    if access is not None and secret is not None:
        keys = Keys(access_key=access.get_secret_value(), secret_key=secret.get_secret_value())
    timeout_s = config.upbit.timeout.total_seconds()
    limiter = Limiter(share=config.upbit.rate_share)
    gates = Gates(clock)
    how = settings(config.upbit.base_url)
    async with open_http(how, timeout_s=timeout_s, max_connections=4) as http:
        client = UpbitClient(
            http,
            base_url=config.upbit.base_url,
            keys=keys,
            gates=gates,
            limiter=limiter,
            clock=clock,
            timeout_s=timeout_s,
        )
        sender = Sender(
            http,
            base_url=config.upbit.base_url,
            signer=Signer(keys) if keys else None,
            gates=gates,
            limiter=limiter,
            clock=clock,
            timeout_s=timeout_s,
        )
        yield Venue(client=client, sender=sender, keys=keys, clock=clock)


async def upbit(config: Config, clock: Clock) -> list[Finding]:
    """Whether Upbit answers, how far its clock is from ours, and what the keys may do."""
    async with open_venue(config, clock) as venue:
        began = time.monotonic()
        try:
            theirs = await venue.client.server_date()
        except Transient as error:
            if (advice := error.context.get("advice")) is None:
                raise
            said = f"{error.args[0]}: {error.context.get('cause')}"
            return [fault(UPBIT, said, str(advice))]
        took_ms = (time.monotonic() - began) * 1000
        found = [ok(UPBIT, f"{config.upbit.base_url} answers in {took_ms:.0f} ms")]
        found.append(_skew(theirs, clock()))
        found += await markets(config.trading, venue.client)
        if venue.keys is None:
            if config.trading.mode == "paper":
                found.append(note(KEY, "none given; paper trading needs none"))
            return found
        return found + await _key(venue)


def _skew(theirs: datetime, ours: datetime) -> Finding:
    skew_s = (ours - theirs).total_seconds()
    said = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the exchange's"
    mend = "set this machine's clock: `timedatectl set-ntp true`"
    if abs(skew_s) > WORST_SKEW_S:
        return fault(CLOCK, said, mend)
    if abs(skew_s) > OFTEN_SKEW_S:
        return warning(CLOCK, said, mend)
    return ok(CLOCK, f"within {OFTEN_SKEW_S:g} s of the exchange's")


async def _key(venue: Venue) -> list[Finding]:
    """What the key may do; when it is not accepted at all, only that."""
    try:
        keys = await venue.client.api_keys()
    except Unauthorized as error:
        return [fault(KEY, f"not accepted: {error.name}", _mend(error))]
    found = [
        _expiry(key.expire_at, venue.clock()) for key in keys if _is_ours(venue, key.access_key)
    ]
    found.append(await _may("view assets", venue.client.accounts))
    found.append(await _may("view orders", lambda: venue.client.chance("KRW-BTC")))
    found.append(await _may("make orders", lambda: venue.client.test_order(_small_order())))
    found.append(await _withdrawals(venue))
    return found


def _is_ours(venue: Venue, access_key: str) -> bool:
    return venue.keys is not None and venue.keys.access_key == access_key


def _expiry(expire_at: datetime, now: datetime) -> Finding:
    left = expire_at - now
    said = f"expires {expire_at.date().isoformat()}, in {max(left.days, 0)} days"
    mend = f"issue a new key at {MY_PAGE}; it cannot be extended"
    if left <= timedelta(days=URGENT_DAYS):
        return fault(KEY, said, mend)
    return warning(KEY, said, mend) if left <= timedelta(days=RENEW_DAYS) else ok(KEY, said)


async def _may(right: str, call: Callable[[], Awaitable[object]]) -> Finding:
    """Whether the key has a right; a refusal for any other reason proves that it has."""
    try:
        await call()
    except Unauthorized as error:
        return fault(KEY, f"may not {right}: {error.name}", _mend(error))
    except JobError as error:
        if not name_of(error):
            raise
    return ok(KEY, f"may {right}")


def _small_order() -> OrderRequest:
    """An order far below the market, for the test endpoint: it creates nothing."""
    price, volume = SMALL_ORDER
    return OrderRequest(
        market="KRW-BTC",
        side="bid",
        ord_type="limit",
        identifier=uuid.uuid4().hex,
        price=price,
        volume=volume,
    )


async def _withdrawals(venue: Venue) -> Finding:
    """Whether the key could withdraw. Nothing is ever withdrawn."""
    try:
        may = await venue.client.may_withdraw()
    except JobError as error:
        if isinstance(error, Unauthorized):
            raise
        may = None
    sees = await _sees_withdrawals(venue)
    if may or (may is None and sees):
        said = "may withdraw" if may else "reaches withdrawals"
        return fault(
            KEY,
            f"{said}: whoever steals it could empty the account",
            f"issue a key without any withdrawal right at {MY_PAGE}, and delete this one",
        )
    if may is None:
        said = "whether it may withdraw is unknown: Upbit's answer does not tell"
        return warning(KEY, said, f"look at the key's rights at {MY_PAGE}")
    if sees:
        said = "may not withdraw, but see withdrawals, which nothing here needs"
        return warning(KEY, said, f"issue a key without any withdrawal right at {MY_PAGE}")
    return ok(KEY, "may not withdraw or see withdrawals, as it should be")


async def _sees_withdrawals(venue: Venue) -> bool:
    """Whether the key may read the list of withdrawals."""
    call = Call(
        method="GET", path="/v1/withdraws", group="default", params=[("limit", "1")], signed=True
    )
    try:
        await venue.sender.json(call)
    except Unauthorized as error:
        if error.name == "out_of_scope":
            return False
        raise
    return True


def _mend(error: Unauthorized) -> str:
    return MENDS.get(error.name, f"look at the key at {MY_PAGE}")


async def gemini(config: Config, clock: Clock) -> list[Finding]:
    """Whether Gemini takes the key and knows the model, and what calls would cost."""
    section, key = config.gemini, config.secrets.gemini_api_key
    if config.signals.source != "gemini":
        return [note(GEMINI, f"not used: signals.source is {config.signals.source!r}")]
    found = _old_sdk(config)
    if not section.price_table().knows(section.model):
        mend = f'add "{section.model}" = {{input = ..., output = ...}} to [gemini.prices]'
        said = f"{section.model} has no price and counts as the dearest model"
        found.append(warning(GEMINI, said, mend))
    if section.daily_budget_usd == 0:
        mend = "set gemini.daily_budget_usd"
        found.append(warning(GEMINI, "the daily budget is 0: no call is ever made", mend))
    if key is None:
        return found
    connection = Connection(
        sdk=section.sdk,
        model=section.model,
        api_key=key.get_secret_value(),
        base_url=section.base_url,
        api_version=section.api_version,
        timeout_s=section.timeout.total_seconds(),
    )
    return [*found, await _probe(connection, clock)]


async def _probe(connection: Connection, clock: Clock) -> Finding:
    try:
        async with open_model(connection, gates=Gates(clock), clock=clock) as model:
            await model.probe()
    except ImportError as error:
        mend = "in the program's folder `pip install -e '.[legacy-gemini]'`, or set gemini.sdk"
        return fault(GEMINI, f"{connection.sdk} cannot be loaded: {error}", mend)
    except Unauthorized as error:
        mend = "make a key at https://aistudio.google.com/apikey and set GEMINI_API_KEY"
        said = f"the key is not accepted: {error.name}"
        return fault(GEMINI, said, advice_on(error) or mend)
    except JobError as error:
        advice = advice_on(error)
        if name_of(error):
            said = f"{connection.model} is refused: {name_of(error)}"
            return fault(GEMINI, said, advice or "set gemini.model to one that `models.list` names")
        if advice is None:
            raise
        why = error.context.get("why")
        return fault(GEMINI, f"{error.args[0]}: {why}" if why else str(error.args[0]), advice)
    return ok(GEMINI, f"takes the key and knows {connection.model}")


def _old_sdk(config: Config) -> list[Finding]:
    if config.gemini.sdk == "google-genai":
        return []
    return [
        warning(
            GEMINI,
            "google-generativeai is out of support since 2025 and hides what thinking costs",
            'set gemini.sdk = "google-genai"',
        )
    ]
