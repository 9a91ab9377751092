"""From what a person asked for to a report: recording, settings, source, replay, shuffles."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from daemon.config.load import Config
from daemon.resources import GEMINI, Foundation, open_resources
from daemon.scheduling.pace import market_pace
from daemon.wiring.data_jobs import BUILTIN
from jobs.backtest import recorded_answers
from jobs.backtest.candle_history import Tape
from jobs.backtest.days import LONGEST_QUIET, TapeDays
from jobs.backtest.permutation_test import judge, null_returns
from jobs.backtest.recordings import read_files, read_table, stored_span
from jobs.backtest.report import Report, build
from jobs.backtest.run import MINUTE, Plan, play
from jobs.backtest.signal_feed import SourceFeed
from jobs.candles.days import DAY, day_of
from jobs.candles.resample import larger
from jobs.core.cooldowns import Gates
from jobs.core.errors import BadData, Transient
from jobs.core.job import Clock, Incident, Sleep
from jobs.domain.halt import NOT_HALTED
from jobs.domain.settings import HALTED, Settings, Value
from jobs.signals.protocol import Inputs, Source, Verdict
from jobs.signals.registry import load_source
from jobs.signals.rule_source import RulesSource
from jobs.signals.strategy_source import StrategySource
from jobs.store import llm_calls
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.upbit.wire import DAY_UNIT, Candle

HISTORY = timedelta(days=6)
"""How much before the first instant is read, for indicators and the day's figures."""

ASKED_AGAIN = 3
MOST_HOLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for. None stands for the most there is, or for the configured value.

    `data` is a folder of recordings, None the daemon's own table. `ask` lets a model be asked
    anew, within `budget_usd` and the day's budget.
    """

    source: str
    since: datetime | None = None
    until: datetime | None = None
    markets: tuple[str, ...] = ()
    data: Path | None = None
    slippage_bps: Decimal = Decimal(5)
    start_krw: Decimal | None = None
    shuffles: int = 20
    overrides: Mapping[str, Value] = field(default_factory=dict)
    ask: bool = False
    budget_usd: Decimal | None = None

    @property
    def needs_database(self) -> bool:
        """Whether candles or answers come from the daemon's tables."""
        return self.data is None or self.source == GEMINI


@dataclass(slots=True)
class Pace:
    """How long the replay itself took, without reading and without shuffles."""

    took_s: float = 0.0


class Watch:
    """Told how far the work is; this one tells nobody."""

    def stage(self, name: str, total: int) -> None:
        """A new stage of so many steps begins."""

    def step(self, done: int) -> None:
        """So many steps of the stage are done."""

    def warn(self, line: str) -> None:
        """Something that a person should know of the result."""


async def make_report(
    config: Config, wanted: Wanted, db: Database | None, *, watch: Watch, pace: Pace
) -> Report:
    """Replay what is wanted. Raises BadData when there is nothing to replay."""
    tape = Tape(await _recording(config, wanted, db))
    plan = await _plan(config, wanted, db, tape)
    holes = list(_holes(tape, plan, is_stored=wanted.data is None))
    for line in holes[:MOST_HOLES]:
        watch.warn(line)
    if len(holes) > MOST_HOLES:
        watch.warn(f"and {len(holes) - MOST_HOLES} more such stretches")
    names = {market: market for market in _order(config, wanted, tape)}
    days = await _days(config, wanted, db, tape)
    async with _source(config, wanted, db, plan) as source:
        units = _longer_units(config, source, tape.unit)
        feed = SourceFeed(
            tape=tape,
            source=source,
            names=names,
            longer_units=units,
            pace=market_pace(config),
            days=days,
        )
        watch.stage("replaying", plan.minutes)
        begin = time.perf_counter()
        trader = await play(tape, plan, feed, progress=lambda done, _all: watch.step(done))
        pace.took_s = time.perf_counter() - begin
    trader.finish(tape, plan.until)
    watch.stage("shuffling", wanted.shuffles)
    signals = [each.signal for each in feed.said]
    returns = await null_returns(
        tape, plan, signals, count=wanted.shuffles if signals else 0, progress=watch.step
    )
    own = float(trader.books.equity[-1].total_krw / plan.start_krw - 1) * 100
    return build(tape, plan, feed, trader, source=wanted.source, null=judge(returns, own))


async def _recording(
    config: Config, wanted: Wanted, db: Database | None
) -> Mapping[str, list[Candle]]:
    since = None if wanted.since is None else wanted.since - _history(config, wanted)
    if wanted.data is not None:
        markets = wanted.markets or config.trading.markets.names or ()
        found = await asyncio.to_thread(
            read_files, wanted.data, markets, since=since, until=wanted.until
        )
        if not found and not wanted.markets:
            found = await asyncio.to_thread(
                read_files, wanted.data, (), since=since, until=wanted.until
            )
    else:
        assert db is not None, "opened whenever it is needed"  # noqa: S101
        unit = min(config.jobs.market.candle_units)
        spans = await stored_span(db, unit)
        markets = wanted.markets or config.trading.markets.names or tuple(spans)
        found = await read_table(
            db,
            markets,
            unit,
            since=since or datetime(1970, 1, 1, tzinfo=UTC),
            until=wanted.until or datetime.now(UTC),
        )
    if not wanted.markets:
        found = {name: each for name, each in found.items() if name not in config.trading.exclude}
    if missing := [market for market in wanted.markets if market not in found]:
        raise BadData("there is no recording of these markets in that time", markets=missing)
    if not found:
        raise BadData("there is no recording of that time", since=wanted.since, until=wanted.until)
    return found


def _history(config: Config, wanted: Wanted) -> timedelta:
    """How much before the first instant is read: days are made of a file's minutes alone."""
    if wanted.data is None or wanted.source in BUILTIN:
        return HISTORY
    return max(HISTORY, (config.jobs.market.days + 1) * DAY)


async def _days(config: Config, wanted: Wanted, db: Database | None, tape: Tape) -> TapeDays | None:
    """The days that a strategy is shown live; none to sources that would not look at them."""
    count = config.jobs.market.days
    if not count or wanted.source in BUILTIN:
        return None
    recorded: Mapping[str, list[Candle]] = {}
    if wanted.data is None and db is not None:
        since = day_of(tape.first) - count * DAY
        recorded = await read_table(db, tuple(tape.reels), DAY_UNIT, since=since, until=tape.end)
    return TapeDays(tape=tape, count=count, recorded=recorded)


def _holes(tape: Tape, plan: Plan, *, is_stored: bool) -> Iterator[str]:
    """The long stretches without a candle: minutes without a trade, or minutes not recorded."""
    for market, reel in tape.reels.items():
        for begin, end in reel.holes(LONGEST_QUIET):
            if end <= plan.since or begin >= plan.until:
                continue
            mend = f": upbitd backfill --market {market} --from {begin:%FT%H:%MZ}"
            yield (
                f"{market} has no candle from {begin:%F %H:%M} to {end:%F %H:%M} UTC; it is "
                f"played as time without a trade{mend if is_stored else ''}"
            )


async def _plan(config: Config, wanted: Wanted, db: Database | None, tape: Tape) -> Plan:
    settings = Settings()
    if wanted.data is None and db is not None:
        async with db.begin() as tx:
            settings = config.limits.ceilings().bound(await settings_store.read(tx))
    changes = {k: v for k, v in wanted.overrides.items() if k != HALTED}
    signals = config.jobs.signals
    return Plan(
        since=_whole(wanted.since or tape.first),
        until=_whole(wanted.until or tape.end),
        settings=replace(settings, halt=NOT_HALTED, **changes),  # type: ignore[arg-type]  # checked by parse_value
        start_krw=wanted.start_krw or config.trading.paper_balance_krw,
        slippage_bps=wanted.slippage_bps,
        every=signals.every or timedelta(minutes=5),
        offset=signals.offset,
    )


def _longer_units(config: Config, source: Source, unit: int) -> tuple[int, ...]:
    """The larger candles that are told live; none to those that would not look at them."""
    if isinstance(source, RulesSource | StrategySource | recorded_answers.RecordedSource):
        return ()
    return larger(unit, (*config.jobs.market.candle_units, *config.signals.longer_units))


def _whole(at: datetime) -> datetime:
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % MINUTE


def _order(config: Config, wanted: Wanted, tape: Tape) -> list[str]:
    """The markets there are, in the order that was asked for or configured."""
    asked = wanted.markets or config.trading.markets.names or ()
    named = [market for market in asked if market in tape.reels]
    return [*named, *(market for market in sorted(tape.reels) if market not in named)]


@asynccontextmanager
async def _source(
    config: Config, wanted: Wanted, db: Database | None, plan: Plan
) -> AsyncIterator[Source]:
    """The source by its name; Gemini repeats what it said, unless it is to be asked anew."""
    if wanted.source != GEMINI:
        yield load_source(wanted.source, {"rules": RulesSource})
        return
    assert db is not None, "opened whenever it is needed"  # noqa: S101
    if not wanted.ask:
        yield await recorded_answers.load(db, GEMINI, since=plan.since - HISTORY, until=plan.until)
        return
    async with _asking(config, wanted, db) as source:
        yield source


@asynccontextmanager
async def _asking(config: Config, wanted: Wanted, db: Database) -> AsyncIterator[Source]:
    def clock() -> datetime:
        return datetime.now(UTC)

    budget = config.gemini.daily_budget_usd
    if wanted.budget_usd is not None:
        budget = min(budget, wanted.budget_usd)
    changed = config.model_copy(
        update={
            "gemini": config.gemini.model_copy(update={"daily_budget_usd": budget}),
            "signals": config.signals.model_copy(update={"source": GEMINI}),
        }
    )
    base = Foundation(
        config=changed, database=db, clock=clock, notifier=Silent(), gates=Gates(clock)
    )
    async with open_resources(base) as resources:
        yield Patient(source=resources.source, db=db, clock=clock, sleep=asyncio.sleep)


class Silent:
    """A notifier that tells nobody: the person who replays is looking."""

    async def notify(self, incident: Incident) -> None:
        """Do nothing."""

    async def resolve(self, incident: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A model that is asked now: waits as long as it asks for, and settles what each call cost."""

    source: Source
    db: Database
    clock: Clock
    sleep: Sleep

    async def decide(self, inputs: Inputs) -> Verdict:
        """What the source decides, asked up to three times; its cost is stored before."""
        verdict = await self._ask(inputs)
        if verdict.llm_call_id is not None and verdict.settlement is not None:
            async with self.db.begin() as tx:
                await llm_calls.settle(tx, verdict.llm_call_id, verdict.settlement, self.clock())
        return verdict

    async def _ask(self, inputs: Inputs) -> Verdict:
        for _attempt in range(ASKED_AGAIN - 1):
            try:
                return await self.source.decide(inputs)
            except Transient as exc:
                await self.sleep(exc.retry_after_s or 1.0)
        return await self.source.decide(inputs)
