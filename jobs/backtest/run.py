"""A replay from the first instant to the last: slots of signals and passes of orders, in order.

    jobs.signals every `every`, `offset` after it     the newest finished candles → signals
    jobs.orders at 0, 10, 20, 30, 40 and 50 s         exits, signals, worth

What has no effect is left out: a pass in a minute whose prices reach no exit and in which no signal
waits changes nothing but the account's worth, and is only asked for that.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jobs.backtest.candle_history import Tape
from jobs.backtest.simulated_market import ReplayVenue
from jobs.backtest.trader import EQUITY_EVERY, Trader
from jobs.core.errors import BadData
from jobs.domain.portfolio import SignalFact
from jobs.domain.settings import Settings
from jobs.matching.rules import Rules

MINUTE = timedelta(minutes=1)
PASS = timedelta(seconds=10)
PASSES = MINUTE // PASS
LAST_PASS = MINUTE - PASS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Feed = Callable[[datetime, Trader], Awaitable[list[SignalFact]]]
"""The signals that one slot brings; it may look at what the trader holds."""

Progress = Callable[[int, int], None]
"""Told of the minutes done and of all there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is replayed. [since, until) are whole minutes; slots of signals come `every`, and
    `offset` later. `slippage_bps` are hundredths of a per cent between the price and the offers.
    """

    since: datetime
    until: datetime
    settings: Settings = field(default_factory=Settings)
    start_krw: Decimal = Decimal(10_000_000)
    slippage_bps: Decimal = Decimal(5)
    rules: Rules = field(default_factory=Rules)
    every: timedelta = timedelta(minutes=5)
    offset: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        if self.until - self.since < MINUTE:
            raise BadData("nothing to replay", since=self.since, until=self.until)
        if any((at - EPOCH) % MINUTE for at in (self.since, self.until)):
            raise BadData("a replay goes from minute to minute", since=self.since)

    @property
    def minutes(self) -> int:
        """How many minutes are replayed."""
        return (self.until - self.since) // MINUTE


async def play(tape: Tape, plan: Plan, feed: Feed, *, progress: Progress | None = None) -> Trader:
    """Trade what `feed` says from `plan.since` to `plan.until`; return the trader at the end."""
    venue = ReplayVenue(start_krw=plan.start_krw, slippage_bps=plan.slippage_bps, rules=plan.rules)
    trader = Trader(venue=venue, settings=plan.settings)
    stage = _Stage(tape=tape, trader=trader)
    due = _next_slot(plan, plan.since)
    for number in range(plan.minutes):
        begin = plan.since + number * MINUTE
        stage.begin(begin)
        if due > begin + LAST_PASS and stage.is_quiet:
            stage.skip()
        else:
            for step in range(PASSES):
                now = begin + step * PASS
                while due <= now:
                    trader.hear(await feed(due, trader))
                    due = _next_slot(plan, due + timedelta(microseconds=1))
                stage.pass_at(now)
        if progress is not None:
            progress(number + 1, plan.minutes)
    return trader


def _next_slot(plan: Plan, at: datetime) -> datetime:
    """The first slot at or after `at`; slots lie on a grid from the epoch, as the scheduler's."""
    return at + (plan.offset - (at - EPOCH)) % plan.every


@dataclass(slots=True, kw_only=True)
class _Stage:
    """One minute at a time: which passes matter, and what a quiet one leaves behind."""

    tape: Tape
    trader: Trader
    _cannot_leave: bool = False
    _now: datetime = EPOCH

    def begin(self, minute: datetime) -> None:
        """A new minute: nothing is known of it yet."""
        self._now = minute
        self._cannot_leave = self._is_out_of_reach()

    def pass_at(self, now: datetime) -> None:
        """One pass of the orders job."""
        self._now = now
        trader = self.trader
        if not self.is_quiet:
            trader.run(now, self._price, self._recent)
            self._cannot_leave = self._is_out_of_reach()
            return
        for market in trader.books.held:
            if (price := self._price(market)) is not None:
                trader.see_high(market, price, now)
        if trader.is_equity_due(now):
            trader.mark(now, self._price)

    @property
    def is_quiet(self) -> bool:
        """Whether a pass can do nothing but write the account's worth."""
        trader = self.trader
        is_idle = not trader.pending and not trader.books.waiting and not trader.due
        return self._cannot_leave and is_idle

    def skip(self) -> None:
        """The six passes of a minute that is quiet and brings no signals, at once."""
        begin, trader = self._now, self.trader
        if self.tape.unit > 1:
            for step in range(PASSES):
                self.pass_at(begin + step * PASS)
            return
        for market in trader.books.held:  # the passes of one minute see both of its extremes
            trader.see_high(market, self._range(market)[1], begin)
        points = trader.books.equity
        due = points[-1].at + EQUITY_EVERY if points else begin
        step = max(0, -((begin - due) // PASS))
        if step < PASSES:
            self._now = begin + step * PASS
            trader.mark(self._now, self._price)

    def _price(self, market: str) -> Decimal | None:
        return self.tape.price(market, self._now)

    def _recent(self, market: str) -> Decimal | None:
        """What the market cost a moment before: the last minute's close, as the market job knows
        it two seconds later; with larger candles the price as this minute began.
        """
        if self.tape.unit == 1:
            return self.tape.reels[market].close_before(self._now - timedelta(seconds=1))
        return self.tape.price(market, self._now.replace(second=0, microsecond=0))

    def _is_out_of_reach(self) -> bool:
        """Whether no price of the present candles reaches an exit of anything held."""
        return not any(
            self.trader.may_leave(*self._range(market), holding)
            for market, holding in self.trader.books.held.items()
        )

    def _range(self, market: str) -> tuple[Decimal, Decimal]:
        return self.tape.range(market, self._now)


def fixed(signals: Sequence[SignalFact]) -> Feed:
    """A feed of signals that are known beforehand, each at the instant it was created."""
    by_instant: dict[datetime, list[SignalFact]] = {}
    for signal in signals:
        by_instant.setdefault(signal.created_at, []).append(signal)

    async def feed(now: datetime, _trader: Trader) -> list[SignalFact]:
        return by_instant.get(now, [])

    return feed
