"""Upbit's semantics as one table: what is given, what must come of it, to the last digit.

Each case names the rule and is tried on the code that trades: ticks, ledger and matching on the
engine that sandbox and paper share, answers and requests on the client over a scripted line.
"""

import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

import httpx
import jwt
import pytest

from daemon.alerting.key_expiry import KeyExpiryMonitor
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError, Refused
from jobs.core.job import Incident
from jobs.domain.risk import day_start
from jobs.matching.engine import Engine, VenueError
from jobs.upbit import ticks
from jobs.upbit.client import UpbitClient
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.signing import Keys, Signer, query_hash
from jobs.upbit.wire import Account, ApiKey, Level, Orderbook, OrderRequest, parse_order

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
SECRET = "x" * 40
KEYS = Keys("ACCESS-KEY-FOR-TEST", SECRET)
UUID = "cdd92199-2897-4e14-9448-f923320408ad"


@dataclass(frozen=True, slots=True)
class Case:
    """One rule: `given` goes through the section's check, `expected` must come out."""

    section: str
    rule: str
    given: Any
    expected: str


def order(text: str, **fields: Any) -> OrderRequest:
    """An order from "side ord_type", with numbers as text."""
    side, ord_type = text.split()
    numbers: dict[str, Any] = {
        name: Decimal(fields.pop(name)) for name in ("price", "volume") if name in fields
    }
    values: dict[str, Any] = {"market": "KRW-BTC", "identifier": "", **fields, **numbers}
    return OrderRequest(side=cast(Any, side), ord_type=cast(Any, ord_type), **values)


def body(**changes: Any) -> dict[str, Any]:
    """An order object as the venue shows it."""
    return {
        "uuid": UUID,
        "market": "KRW-BTC",
        "side": "bid",
        "ord_type": "limit",
        "state": "wait",
        "created_at": "2026-11-20T12:00:00+09:00",
        "identifier": "upd-1",
        "trades_count": 0,
        **changes,
    }


def error(name: object, message: str = "") -> dict[str, Any]:
    return {"error": {"name": name, "message": message}}


# -- the checks ------------------------------------------------------------------------------------

Check = Callable[[Any], str | Awaitable[str]]


def tick(given: tuple[str, str]) -> str:
    """The tick at a price."""
    return f"{ticks.tick_size(given[0], Decimal(given[1])):f}"


def rounding(given: tuple[str, str, Any]) -> str:
    """A price rounded to a valid one."""
    return f"{ticks.round_price(given[0], Decimal(given[1]), given[2]):f}"


def totals(given: str) -> str:
    """Least and greatest total of an order."""
    greatest = ticks.max_total(given)
    return f"{ticks.min_total(given):f} {'-' if greatest is None else f'{greatest:f}'}"


Pairs = tuple[tuple[str, str], ...]
ASKS: Pairs = (("100001000", "0.5"), ("100002000", "1"))
BIDS: Pairs = (("100000000", "0.5"), ("99999000", "1"))


def book(asks: Pairs = ASKS, bids: Pairs = BIDS) -> Orderbook:
    empty = ("0", "0")
    units = tuple(
        Level(
            ask_price=Decimal(a[0]),
            ask_size=Decimal(a[1]),
            bid_price=Decimal(b[0]),
            bid_size=Decimal(b[1]),
        )
        for a, b in itertools.zip_longest(asks, bids, fillvalue=empty)
    )
    return Orderbook(market="KRW-BTC", ts=NOW, units=units)


def engine(krw: str = "100000000", coins: str = "10") -> Engine:
    numbers = itertools.count(1)
    held = [("KRW", krw), ("BTC", coins)]
    rows = [
        Account(currency=c, balance=Decimal(b), locked=Decimal(0), avg_buy_price=Decimal(0))
        for c, b in held
    ]
    return Engine(rows, new_uuid=lambda: f"uuid-{next(numbers)}")


def shown(made: Engine, uuid: str, *names: str) -> str:
    seen = made.order(uuid=uuid)
    assert seen is not None
    values = (getattr(seen, name) for name in names)
    return " ".join(f"{v.normalize():f}" if isinstance(v, Decimal) else str(v) for v in values)


LEDGER = ("state", "executed_volume", "paid_fee", "remaining_fee", "locked")


def ledger(given: tuple[OrderRequest, Pairs, Pairs]) -> str:
    """State, executed volume, paid fee, remaining fee and lock after meeting a book."""
    request, asks, bids = given
    made = engine()
    placed = made.place(request, now=NOW, book=book(asks, bids))
    made.fill_due(NOW)
    return shown(made, placed.uuid, *LEDGER)


def locks(given: OrderRequest) -> str:
    """Reserved fee and lock of an order that was just accepted."""
    made = engine()
    return shown(made, made.place(given, now=NOW, book=book()).uuid, "reserved_fee", "locked")


def cancelled(given: tuple[OrderRequest, str]) -> str:
    """What a cancel leaves of an order that was filled in part."""
    request, share = given
    made = engine()
    placed = made.place(request, now=NOW, book=book(), share=Decimal(share))
    made.fill_due(NOW)
    made.cancel(uuid=placed.uuid, now=NOW)
    made.fill_due(NOW)
    return shown(made, placed.uuid, *LEDGER)


def refusal(given: tuple[str, OrderRequest]) -> str:
    """Status and name by which an account with so much money is refused."""
    krw, request = given
    made = engine(krw=krw, coins="0.001")
    try:
        made.place(request, now=NOW, book=book())
    except VenueError as exc:
        return f"{exc.status} {exc.name}"
    return "accepted"


def twice(given: tuple[OrderRequest, OrderRequest]) -> str:
    """What becomes of a second order with the same identifier."""
    made = engine(krw="1000000")
    for each in given:
        try:
            made.place(each, now=NOW, book=book())
        except VenueError as exc:
            last = f"{exc.status} {exc.name}"
        else:
            last = "accepted"
    return last


def smp(given: str | None) -> str:
    """Own resting ask, own crossing bid with this smp_type: state and prevented volume of both."""
    made, wide = engine(), book((("101000000", "1"),), (("99000000", "1"),))
    resting = made.place(order("ask limit", price="100000000", volume="0.02"), now=NOW, book=wide)
    made.fill_due(NOW)
    bid = order("bid limit", price="100000000", volume="0.01", smp_type=given)
    taker = made.place(bid, now=NOW, book=wide)
    made.fill_due(NOW)
    states = [shown(made, each.uuid, "state", "executed_volume") for each in (resting, taker)]
    return " / ".join(states)


class Line(httpx.AsyncBaseTransport):
    """A venue that answers from a script and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, content = self.answers.pop(0)
        if isinstance(content, str):
            return httpx.Response(status, text=content)
        return httpx.Response(status, json=content)

    async def ask(self, call: Callable[[UpbitClient], Awaitable[Any]]) -> Any:
        async with httpx.AsyncClient(transport=self) as http:
            limiter = Limiter(limits={group: Limit(1000) for group in LIMITS})
            client = UpbitClient(
                http,
                base_url="http://venue",
                keys=KEYS,
                gates=Gates(lambda: NOW),
                limiter=limiter,
                clock=lambda: NOW,
            )
            return await call(client)


REQUEST = order("bid limit", price="100000000", volume="0.001", identifier="upd-1")
CALLS: Mapping[str, Callable[[UpbitClient], Awaitable[Any]]] = {
    "place": lambda client: client.place(REQUEST),
    "order": lambda client: client.order(identifier="upd-1"),
    "cancel": lambda client: client.cancel(uuid=UUID),
    "tickers": lambda client: client.tickers(["KRW-XXX"]),
    "candles": lambda client: client.candles("KRW-XXX", 1),
    "test": lambda client: client.test_order(REQUEST),
    "accounts": lambda client: client.accounts(),
}


async def answer(given: tuple[str, int, Any]) -> str:
    """What a call makes of an answer: the error's class, its name, the wait it asks for."""
    call, status, content = given
    try:
        got = await Line((status, content)).ask(CALLS[call])
    except Refused as exc:
        return f"{type(exc).__name__} {exc.name}"
    except JobError as exc:
        wait_s = getattr(exc, "retry_after_s", None)
        return type(exc).__name__ + ("" if wait_s is None else f" {wait_s:g} s")
    return "None" if got is None else str(getattr(got, "state", got))


def order_row(given: dict[str, Any]) -> str:
    """An order object as we read it."""
    seen = parse_order(body(**given))
    trades = "-" if seen.trades is None else len(seen.trades)
    return f"{seen.state} {seen.executed_volume:f} {trades} {seen.created_at:%d %H:%M:%S}"


def korean_day(given: str) -> str:
    """The instant (UTC) at which the Korean day of an instant begins."""
    return f"{day_start(datetime.fromisoformat(given)):%Y-%m-%dT%H:%MZ}"


def hashed(given: list[tuple[str, str]]) -> str:
    """The beginning of the hash of a query or body."""
    return query_hash(given)[:16]


def token(given: str) -> str:
    """The signed token without parameters, by its last 16 characters."""
    nonce = "00000000-0000-4000-8000-000000000000"
    signer = Signer(KEYS, algorithm=cast(Any, given), new_nonce=lambda: nonce)
    return signer.token()[-16:]


async def _sent(call: str, content: Any) -> httpx.Request:
    line = Line((200 if call != "place" else 201, content))
    await line.ask(CALLS[call])
    return line.asked[0]


async def wire(given: str) -> str:
    """What really goes out."""
    request = await _sent("place", body())
    claims = jwt.decode(
        request.headers["authorization"].removeprefix("Bearer "),
        options={"verify_signature": False},
    )
    told = json.loads(request.content)
    joined = "&".join(f"{name}={value}" for name, value in told.items())
    facts = {
        "origin header": str(request.headers.get("origin")),
        "content type": request.headers["content-type"],
        "numbers": f"{told['price']!r} {told['volume']!r}",
        "hash of the body": str(
            claims["query_hash"] == hashlib.sha512(joined.encode()).hexdigest()
        ),
        "claims": " ".join(sorted(claims)),
    }
    return facts[given]


async def small_volume(given: str) -> str:
    """A volume that `str` would write with an exponent."""
    line = Line((201, body()))
    small = replace(REQUEST, volume=Decimal(given))
    await line.ask(lambda client: client.place(small))
    return str(json.loads(line.asked[0].content)["volume"])


async def nonces(given: int) -> str:
    """How many different nonces so many attempts of one request carry."""
    line = Line(*[(500, error("server_error"))] * given)
    seen: set[str] = set()
    for _ in range(given):
        with pytest.raises(JobError):
            await line.ask(CALLS["accounts"])
    for request in line.asked:
        raw = request.headers["authorization"].removeprefix("Bearer ")
        seen.add(jwt.decode(raw, options={"verify_signature": False})["nonce"])
    return str(len(seen))


class Told:
    """A person who hears of incidents."""

    severity = "-"

    async def notify(self, incident: Incident) -> None:
        self.severity = incident.severity

    async def resolve(self, incident: str) -> None:
        self.severity = "-"


async def key_expiry(given: int) -> str:
    """How a key is warned of that expires in so many days."""
    told = Told()
    keys = [ApiKey(access_key=KEYS.access_key, expire_at=NOW + timedelta(days=given))]

    async def listed() -> list[ApiKey]:
        return keys

    async def may_withdraw() -> bool:
        return False

    watch = KeyExpiryMonitor(
        access_key=KEYS.access_key,
        list_keys=listed,
        may_withdraw=may_withdraw,
        notifier=told,
        clock=lambda: NOW,
    )
    await watch.look()
    return told.severity


async def pages(given: tuple[int, ...]) -> str:
    """Open orders from pages of such numbers: how many, and how many questions."""
    answers = []
    for first in given:
        size = 100 if first != given[-1] else 3
        answers.append((200, [body(uuid=f"uuid-{first + n}") for n in range(size)]))
    line = Line(*answers)
    found = await line.ask(lambda client: client.open_orders())
    return f"{len(found)} in {len(line.asked)}"


async def windows(given: float) -> str:
    """The windows asked for closed orders so many days back: first start, last end, and lengths."""
    line = Line(*[(200, [])] * 10)
    start = NOW - timedelta(days=given)
    await line.ask(lambda client: client.closed_orders("KRW-BTC", start))
    spans = []
    for request in line.asked:
        query = dict(parse_qsl(unquote(request.url.query.decode()).replace("+", "%2B")))
        begin, end = (datetime.fromisoformat(query[f"{name}_time"]) for name in ("start", "end"))
        spans.append((end - begin).total_seconds() / 86400)
    return f"{len(spans)}: {' '.join(f'{span:.2f}' for span in spans)}"


CHECKS: Mapping[str, Check] = {
    "tick": tick,
    "round": rounding,
    "totals": totals,
    "ledger": ledger,
    "locks": locks,
    "cancel": cancelled,
    "refusal": refusal,
    "identifier": twice,
    "smp": smp,
    "answer": answer,
    "order row": order_row,
    "Korean day": korean_day,
    "hash": hashed,
    "token": token,
    "wire": wire,
    "volume": small_volume,
    "nonce": nonces,
    "key": key_expiry,
    "pages": pages,
    "windows": windows,
}

# -- the table -------------------------------------------------------------------------------------

POST_ONLY = order("bid limit", price="100000000", volume="0.1", time_in_force="post_only")
MARKET_BUY = order("bid price", price="6000")
QUERY = [("market", "KRW-BTC"), ("states[]", "wait"), ("states[]", "watch"), ("limit", "10")]
BODY = [
    ("market", "KRW-BTC"),
    ("side", "bid"),
    ("volume", "0.001"),
    ("price", "50000000"),
    ("ord_type", "limit"),
]
AT_158: Pairs = (("160594000", "1"),)
BID_1375: Pairs = (("1375", "10"),)
TWO = order("bid limit", price="100001000", volume="0.01", identifier="upd-1")

GOLDEN = [
    *(
        Case("tick", f"KRW from {price}", ("KRW-BTC", price), expected)
        for price, expected in (
            ("2500000", "1000"),
            ("1000000", "1000"),
            ("658000", "500"),
            ("500000", "500"),
            ("134000", "100"),
            ("50000", "50"),
            ("37990", "10"),
            ("6180", "5"),
            ("2663", "1"),
            ("100", "1"),
            ("41.1", "0.1"),
            ("1", "0.01"),
            ("0.5", "0.001"),
            ("0.0106", "0.0001"),
            ("0.001", "0.00001"),
            ("0.0001", "0.000001"),
            ("0.00001", "0.0000001"),
            ("0.000009", "0.00000001"),
        )
    ),
    Case("tick", "BTC markets have one tick", ("BTC-ETH", "0.05"), "0.00000001"),
    Case("tick", "USDT from 10", ("USDT-BTC", "65000"), "0.01"),
    Case("tick", "USDT under 1", ("USDT-XRP", "0.55"), "0.0001"),
    Case("round", "down within a band", ("KRW-BTC", "155772999", "down"), "155772000"),
    Case("round", "up over a band's edge", ("KRW-ETH", "999999", "up"), "1000000"),
    Case("totals", "KRW", "KRW-BTC", "5000 1000000000"),
    Case("totals", "BTC", "BTC-ETH", "0.00005 10"),
    Case("totals", "USDT: read max_total", "USDT-BTC", "0.5 -"),
    Case(
        "ledger",
        "a market buy of 6,000 ends in cancel, its rest returned",
        (MARKET_BUY, AT_158, BIDS),
        "cancel 0.00003736 2.99989592 0.00010408 0.20826408",
    ),
    Case(
        "ledger",
        "a market sell that fills is done, its fee out of the proceeds",
        (order("ask market", volume="5.377594"), (("1376", "1"),), BID_1375),
        "done 5.377594 3.697095875 0 0",
    ),
    Case(
        "ledger",
        "a limit bid filled at a better price releases the saving with its lock, which it shows",
        (order("bid limit", price="100002000", volume="0.1"), ASKS, BIDS),
        "done 0.1 5000.05 0.05 100.05",
    ),
    Case(
        "ledger",
        "ioc: what crosses is filled, the rest cancelled",
        (order("bid limit", price="100001000", volume="0.6", time_in_force="ioc"), ASKS, BIDS),
        "cancel 0.5 25000.25 5000.05 10005100.05",
    ),
    Case(
        "ledger",
        "fok: all or nothing",
        (order("bid limit", price="100001000", volume="0.6", time_in_force="fok"), ASKS, BIDS),
        "cancel 0 0 30000.3 60030600.3",
    ),
    Case(
        "ledger",
        "post_only that would cross is cancelled",
        (replace(POST_ONLY, price=Decimal(100_001_000)), ASKS, BIDS),
        "cancel 0 0 5000.05 10005100.05",
    ),
    Case(
        "ledger",
        "post_only that does not cross waits",
        (POST_ONLY, ASKS, BIDS),
        "wait 0 0 5000 10005000",
    ),
    Case(
        "ledger",
        "a best sale takes the best level alone",
        (order("ask best", volume="0.6", time_in_force="ioc"), ASKS, BIDS),
        "cancel 0.5 25000 0 0.1",
    ),
    Case(
        "ledger",
        "a limit order deeper than its price rests with the remainder in wait",
        (order("bid limit", price="100001000", volume="0.6"), ASKS, BIDS),
        "wait 0.5 25000.25 5000.05 10005100.05",
    ),
    Case(
        "locks",
        "a limit bid locks amount and fee",
        order("bid limit", price="155772000", volume="0.0001"),
        "7.7886 15584.9886",
    ),
    Case("locks", "a market buy of 6,000 needs 6,003", MARKET_BUY, "3 6003"),
    Case(
        "locks",
        "an ask locks coins and no fee",
        order("ask limit", price="200000000", volume="0.5"),
        "0 0.5",
    ),
    Case(
        "cancel",
        "a cancel keeps what was filled",
        (order("bid limit", price="100001000", volume="0.1"), "0.4"),
        "cancel 0.04 2000.02 3000.03 6003060.03",
    ),
    Case(
        "cancel",
        "nothing filled, nothing paid",
        (order("bid limit", price="90000000", volume="0.1"), "1"),
        "cancel 0 0 4500 9004500",
    ),
    *(
        Case("refusal", rule, (krw, request), expected)
        for rule, krw, request, expected in (
            ("funds", "6002", MARKET_BUY, "400 insufficient_funds_bid"),
            ("funds to the won", "6003", MARKET_BUY, "accepted"),
            ("coins", "0", order("ask market", volume="1"), "400 insufficient_funds_ask"),
            ("least bid", "9999", order("bid price", price="4999"), "400 under_min_total_bid"),
            ("least ask", "0", order("ask market", volume="0.00004"), "400 under_min_total_ask"),
            (
                "tick of a bid",
                "9999999",
                order("bid limit", price="100000500", volume="0.01"),
                "400 invalid_price_bid",
            ),
            (
                "tick of an ask",
                "0",
                order("ask limit", price="100000500", volume="0.001"),
                "400 invalid_price_ask",
            ),
            (
                "nine decimals",
                "9999999",
                order("bid limit", price="100000000", volume="0.000123456"),
                "400 invalid_volume_bid",
            ),
            (
                "greatest total",
                "9999999",
                order("bid price", price="1000000001"),
                "400 over_krw_funds_bid",
            ),
            (
                "market buy with a volume",
                "9999999",
                order("bid price", price="6000", volume="1"),
                "400 create_bid_error",
            ),
            (
                "market sell with a price",
                "0",
                order("ask market", price="6000", volume="0.001"),
                "400 create_ask_error",
            ),
            (
                "best needs ioc or fok",
                "9999999",
                order("bid best", price="6000"),
                "400 invalid_time_in_force",
            ),
            (
                "post_only with smp",
                "9999999",
                order(
                    "bid limit",
                    price="90000000",
                    volume="0.01",
                    time_in_force="post_only",
                    smp_type="reduce",
                ),
                "400 invalid_post_only",
            ),
            (
                "no such market",
                "9999999",
                order("bid price", price="6000", market="NOWHERE"),
                "400 notfoundmarket",
            ),
        )
    ),
    Case("identifier", "used once", (TWO, TWO), "400 duplicated_identifier"),
    Case(
        "identifier",
        "a refused order has used it, too",
        (order("bid price", price="1000", identifier="upd-1"), TWO),
        "400 duplicated_identifier",
    ),
    Case("smp", "by default the resting order gives way", None, "cancel 0 / wait 0"),
    Case("smp", "cancel_taker: the new one does", "cancel_taker", "wait 0 / cancel 0"),
    Case("smp", "reduce takes the overlap from both", "reduce", "wait 0 / cancel 0"),
    Case("smp", "none lets both trade", "none", "wait 0.01 / done 0.01"),
    *(
        Case("answer", rule, (call, status, content), expected)
        for rule, call, status, content, expected in (
            ("201 waits", "place", 201, body(), "wait"),
            ("malformed 201", "place", 201, '{"uuid": "cdd9', "Ambiguous"),
            ("201 about another order", "place", 201, body(identifier="else"), "Ambiguous"),
            ("500", "place", 500, error("server_error"), "Ambiguous"),
            ("502 of a gateway", "place", 502, "<html>Bad Gateway</html>", "Ambiguous"),
            ("400 of a gateway", "place", 400, "<html>Bad Request</html>", "Ambiguous"),
            ("engine busy", "place", 400, error("too_many_request_order"), "Ambiguous"),
            (
                "duplicate",
                "place",
                400,
                error("duplicated_identifier"),
                "Refused duplicated_identifier",
            ),
            (
                "funds",
                "place",
                400,
                error("insufficient_funds_bid"),
                "Refused insufficient_funds_bid",
            ),
            ("maintenance", "place", 403, error("market_offline"), "MarketOffline market_offline"),
            ("429 as JSON", "place", 429, error("too_many_requests"), "RateLimited 1 s"),
            ("429 as text", "place", 429, "Too many API requests.", "RateLimited 1 s"),
            ("429 of quotation", "tickers", 429, error(429), "RateLimited 1 s"),
            ("418 in seconds", "order", 418, error(418, "blocked for 90 seconds"), "Banned 90 s"),
            ("418 in Korean", "order", 418, error(418, "3분 후 이용"), "Banned 180 s"),
            ("418 without a time", "order", 418, "", "Banned 60 s"),
            ("no such order", "order", 404, error("order_not_found"), "None"),
            ("cancel too late", "cancel", 404, error("order_not_found"), "Refused order_not_found"),
            ("quotation's numbers", "candles", 404, error(404, "Code not found"), "Refused 404"),
            ("nonce", "order", 401, error("nonce_used"), "Unauthorized nonce_used"),
            (
                "expired key",
                "order",
                401,
                error("expired_access_key"),
                "Unauthorized expired_access_key",
            ),
            (
                "address",
                "order",
                401,
                error("no_authorization_ip"),
                "Unauthorized no_authorization_ip",
            ),
            (
                "address of old",
                "order",
                401,
                error("no_authorization_i_p"),
                "Unauthorized no_authorization_i_p",
            ),
            ("scope as 401", "order", 401, error("out_of_scope"), "Unauthorized out_of_scope"),
            ("scope as 403", "order", 403, error("out_of_scope"), "Unauthorized out_of_scope"),
            (
                "a test in maintenance",
                "test",
                403,
                error("market_offline"),
                "MarketOffline market_offline",
            ),
        )
    ),
    Case("order row", "absent keys", {}, "wait 0 - 20 03:00:00"),
    Case(
        "order row",
        "null keys",
        {"price": None, "volume": None, "executed_volume": None, "trades": None},
        "wait 0 - 20 03:00:00",
    ),
    Case(
        "order row",
        "cancel with fills",
        {
            "state": "cancel",
            "executed_volume": "0.00003736",
            "trades": [
                {
                    "market": "KRW-BTC",
                    "uuid": "t1",
                    "price": "160594000",
                    "volume": "0.00003736",
                    "funds": "5999.79184",
                    "created_at": "2026-11-20T12:00:00.123456+09:00",
                    "side": "bid",
                }
            ],
        },
        "cancel 0.00003736 1 20 03:00:00",
    ),
    Case(
        "order row",
        "the sample with a broken offset",
        {"created_at": "2026-11-20T12:00:00+09:0"},
        "wait 0 - 20 03:00:00",
    ),
    Case("Korean day", "an hour before midnight", "2026-11-20T14:00:00+00:00", "2026-11-19T15:00Z"),
    Case("Korean day", "at midnight", "2026-11-20T15:00:00+00:00", "2026-11-20T15:00Z"),
    Case("Korean day", "a second before", "2026-11-20T14:59:59+00:00", "2026-11-19T15:00Z"),
    Case("hash", "of a query with arrays", QUERY, "e3cfc649139c595e"),
    Case("hash", "of a body", BODY, "7a1eb1d7da6191e6"),
    Case("token", "HS256 without parameters", "HS256", "_BG_Zqv-IJCXbtBw"),
    Case("wire", "no Origin: it costs the quota", "origin header", "None"),
    Case("wire", "JSON in UTF-8", "content type", "application/json; charset=utf-8"),
    Case("wire", "numbers are strings", "numbers", "'100000000' '0.001'"),
    Case("wire", "the body is what is hashed", "hash of the body", "True"),
    Case("wire", "claims", "claims", "access_key nonce query_hash query_hash_alg"),
    Case("volume", "never an exponent", "0.00000001", "0.00000001"),
    Case("nonce", "a fresh one for every attempt", 4, "4"),
    *(
        Case("key", rule, left, expected)
        for rule, left, expected in (
            ("a year", 365, "-"),
            ("two weeks", 14, "warning"),
            ("two days", 2, "critical"),
            ("over", -1, "critical"),
        )
    ),
    Case("pages", "rows that come twice count once", (0, 60, 150), "160 in 3"),
    Case("pages", "one page", (0,), "3 in 1"),
    Case("windows", "a day", 1, "1: 1.00"),
    Case("windows", "seven days at most", 16, "3: 7.00 7.00 2.00"),
]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case.section}: {case.rule}")
async def test_upbit_is_so(case: Case) -> None:
    found = CHECKS[case.section](case.given)
    assert (found if isinstance(found, str) else await found) == case.expected


def test_there_are_enough_cases_and_every_check_is_used() -> None:
    assert len(GOLDEN) >= 60
    assert {case.section for case in GOLDEN} == set(CHECKS)
    names = [(case.section, case.rule) for case in GOLDEN]
    assert len(set(names)) == len(names)
