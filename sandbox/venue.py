"""The venue as a whole: its clock, its markets, the pockets with their orders, and the keys."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jobs.core.job import Clock
from jobs.matching.engine import Engine, Event
from jobs.matching.rules import Rules
from jobs.upbit.ticks import StatedTicks, uniform
from jobs.upbit.wire import Account
from sandbox.auth import Key
from sandbox.options import Options
from sandbox.quotas import Quotas
from sandbox.quotes import Quotes

MAIN = "main"
KEY_LIFE = timedelta(days=365)
ACCESS_KEY = "SANDBOX-ACCESS-KEY-NOT-A-REAL-UPBIT-KEY0"
SECRET_KEY = "SANDBOX-SECRET-KEY-NOT-A-REAL-UPBIT-KEY0"  # noqa: S105 - as it says


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An order event or a change of balances, for the private stream; `number` counts up."""

    number: int
    at: datetime
    event: Event | None = None
    accounts: tuple[Account, ...] = ()


@dataclass(slots=True)
class Pocket:
    """One account: its engine and everything that happened to it."""

    name: str
    engine: Engine
    at: datetime
    happenings: list[Happening] = field(default_factory=list)
    hidden_until: dict[str, datetime] = field(default_factory=dict)
    credited: dict[str, Decimal] = field(default_factory=dict)
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))


class Venue:
    """One exchange. `seed` fixes order uuids and fill delays; `quotes` fixes the market."""

    def __init__(
        self, quotes: Quotes, *, options: Options, clock: Clock = utc_now, seed: int | None = None
    ) -> None:
        self.quotes = quotes
        self.options = options
        self.quotas = Quotas(options)
        self.keys: dict[str, Key] = {}
        self.pockets: dict[str, Pocket] = {}
        self.shift = timedelta(0)
        self._clock = clock
        self._rng = random.Random(seed)  # noqa: S311 - ids and delays of a toy

    def now(self) -> datetime:
        """The venue's present: the machine's clock plus what tests have shifted it by."""
        return self._clock() + self.shift

    def date(self) -> datetime:
        """What the Date header of an answer says; wrong by `date_skew_s`."""
        return self.now() + timedelta(seconds=self.options.date_skew_s)

    def open_pocket(self, name: str, krw: Decimal) -> Pocket:
        """Create an account that holds `krw`."""
        engine = Engine((), new_uuid=self._new_uuid, delay=self._delay, rules=self._rules())
        pocket = self.pockets[name] = Pocket(name, engine, self.now())
        self.credit(pocket, "KRW", krw)
        return pocket

    def credit(self, pocket: Pocket, currency: str, amount: Decimal) -> None:
        """Add `amount` from outside. Raises ValueError when the balance would fall below 0."""
        pocket.engine.ledger.credit(currency, amount)
        pocket.credited[currency] = pocket.credited.get(currency, Decimal(0)) + amount
        self.collect(pocket)

    def add_key(self, key: Key) -> None:
        """Let `key` be used; one with the same access key is replaced."""
        self.keys[key.access_key] = key

    def demo_key(self) -> Key:
        """Add and return the key whose name says what it is."""
        key = Key(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            pocket=MAIN,
            expire_at=(self.now() + KEY_LIFE).replace(microsecond=0),
        )
        self.add_key(key)
        return key

    def apply_options(self, changes: Mapping[str, object]) -> None:
        """Change options. Raises ValueError, changing nothing, when one does not fit."""
        self.options.update(dict(changes))
        for pocket in self.pockets.values():
            pocket.engine.rules = self._rules()

    def advance(self, pocket: Pocket) -> None:
        """Bring the account to the present: every trade since the last time met its orders."""
        now = self.now()
        pocket.at = min(pocket.at, now)  # a test may have turned the clock back
        engine = pocket.engine
        while (step := self._next_step(pocket, now)) is not None:
            for market in {ticket.market for ticket in engine.tickets(is_open=True)}:
                engine.on_book(self.quotes.book(market, step), now=step)
            pocket.at = step
        pocket.at = now
        self.collect(pocket)

    def match_now(self, market: str) -> None:
        """Let every account's orders meet the market's present book (after a forced price)."""
        for pocket in self.pockets.values():
            self.advance(pocket)
            now = self.now()
            pocket.engine.on_book(self.quotes.book(market, now), now=now)
            self.collect(pocket)

    def collect(self, pocket: Pocket) -> None:
        """Move what the engine did to the account's happenings."""
        changes = pocket.engine.drain()
        number = len(pocket.happenings)
        for event in changes.events:
            pocket.happenings.append(Happening(number=number, at=event.at, event=event))
            number += 1
        if changes.accounts:
            happening = Happening(number=number, at=self.now(), accounts=changes.accounts)
            pocket.happenings.append(happening)

    def _next_step(self, pocket: Pocket, now: datetime) -> datetime | None:
        engine = pocket.engine
        markets = {ticket.market for ticket in engine.tickets(is_open=True)}
        found = [self.quotes.next_change(market, pocket.at, now) for market in markets]
        steps = [step for step in (*found, engine.next_due()) if step is not None and step <= now]
        return max(min(steps), pocket.at) if steps else None

    def _rules(self) -> Rules:
        options = self.options
        return replace(
            Rules(),
            default_smp=options.default_smp,
            refuse_crossing_post_only=options.crossing_post_only == "refuse",
            deep_bid_error=options.deep_bid_error,
            deep_ask_error=options.deep_ask_error,
            refusal_burns_identifier=options.refusal_burns_identifier,
            listed=frozenset(self.listed),
            offline=frozenset(options.offline),
            ticks=self.ticks(),
            order_types={m: frozenset(taken) for m, taken in options.order_types.items()},
        )

    @property
    def listed(self) -> list[str]:
        """The markets that are traded: all recorded ones but those a test has delisted."""
        gone = self.options.delisted
        return [market for market in self.quotes.markets if market not in gone]

    def ticks(self) -> dict[str, StatedTicks]:
        """The price steps of those markets where a test has changed them."""
        return {
            market: uniform(market, Decimal(tick)) for market, tick in self.options.ticks.items()
        }

    def _delay(self) -> timedelta:
        low, high = self.options.fill_min_ms, self.options.fill_max_ms
        return timedelta(milliseconds=self._rng.randint(low, max(low, high)))

    def _new_uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
