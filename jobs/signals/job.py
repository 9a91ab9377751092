"""The signals job: stored candles → features → one verdict of the chosen source → signals.

Source:  Gemini, the rules, or a user's own (jobs/signals/protocol.py).
Key:     (source, market, candle). Running twice for the same candle writes and asks nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger

from jobs.candles import features
from jobs.candles.backlog import floor
from jobs.candles.days import Days
from jobs.candles.freshness import LATE, Holes, Pace, no_holes
from jobs.core.errors import JobError
from jobs.core.job import Clock, Slot
from jobs.domain.portfolio import Mode
from jobs.signals import inputs
from jobs.signals.daily_candles import DailyCandles
from jobs.signals.multi_timeframe import LongerFeatures
from jobs.signals.protocol import Decision, Inputs, MarketInput, Source, Verdict
from jobs.store import candles as candle_store
from jobs.store import llm_calls, market_data, positions
from jobs.store import signals as signal_store
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.store.signals import NewSignal
from jobs.upbit.wire import Candle, Market, Orderbook

MINUTE = timedelta(minutes=1)
LOOK_AGAIN = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsJob:
    """Everything the job needs.

    `markets` tells which markets to decide about and what the exchange calls each. `unit` is the
    candles' length in minutes. A market is left out while its newest snapshot or finished candle is
    older than `pace` allows, or while `holes` knows of one in its window. `again` is asked for one
    more run where a candle is late and the next slot is far. `longer` adds features on larger
    candles, `daily` days, `books` the spread, `marks` what the exchange warns of; without them
    there are none.
    """

    db: Database
    source: Source
    source_name: str
    markets: Callable[[], Awaitable[Mapping[str, str]]]
    mode: Mode
    clock: Clock
    unit: int = 1
    pace: Pace = field(default_factory=Pace)
    holes: Holes = no_holes
    again: Callable[[datetime], Awaitable[None]] | None = None
    longer: LongerFeatures | None = None
    daily: DailyCandles | None = None
    books: Callable[[Sequence[str]], Awaitable[Sequence[Orderbook]]] | None = None
    marks: Callable[[], Awaitable[Mapping[str, Market]]] | None = None

    async def run(self, slot: Slot) -> int:
        """Decide about every market with a new candle; return how many signals were stored."""
        asking = await self._gather(slot)
        if not asking.markets:
            return 0
        verdict = await self.source.decide(asking)
        return await self._store(asking, verdict)

    async def _gather(self, slot: Slot) -> Inputs:
        now, names = self.clock(), await self.markets()
        found = await candle_store.window(self.db, list(names), self.unit, inputs.COUNT, now)
        windows = {name: inputs.finished(found[name], now) for name in names}
        # from Postgres, not through a cache: a decision and its row must not depend on what
        # others can write into a Redis
        snapshots = await market_data.latest(self.db, list(names))
        chosen = await self._choose(windows, snapshots, now)
        async with self.db.begin() as tx:
            held = await positions.held(tx, self.mode)
        computed = await asyncio.to_thread(_features, [windows[name] for name in chosen])
        longer = await self._longer(computed)
        days = await self._days(computed)
        spreads = await self._spreads(chosen)
        marks = await self._marks(chosen)
        return Inputs(
            slot=slot,
            now=now,
            markets=tuple(
                replace(
                    inputs.market_input(
                        names[each.market],
                        windows[each.market],
                        each,
                        snapshots[each.market],
                        held.get(each.market),
                        longer=longer.get(each.market, ()),
                        spread_pct=spreads.get(each.market),
                        marks=marks.get(each.market, ()),
                    ),
                    days=days.get(each.market, Days()),
                )
                for each in computed
            ),
        )

    async def _choose(
        self,
        windows: Mapping[str, Sequence[Candle]],
        snapshots: Mapping[str, Snapshot],
        now: datetime,
    ) -> list[str]:
        """The markets to decide about now; the others are told, and looked at again."""
        left_out = dict(inputs.left_out(windows, snapshots, now=now, pace=self.pace))
        deferred = dict(inputs.holed(windows, self.holes))
        if deferred:
            logger.bind(event="signals.deferred", markets=deferred).info(
                "No decision over candles that may yet come"
            )
        left_out |= deferred
        late = {*left_out, *inputs.late(windows, self.unit, now)}
        if late and self.again is not None and now - floor(now, self.unit) < LATE:
            await self.again(now + LOOK_AGAIN)
        newest = {name: each[-1].ts for name, each in windows.items() if name not in left_out}
        for market in await signal_store.already_decided(self.db, self.source_name, newest):
            left_out[market] = "its newest candle has a signal"
        if left_out:
            logger.bind(event="signals.left_out", markets=left_out).debug("Markets left out")
        return [name for name in windows if name not in left_out]

    async def _longer(
        self, computed: Sequence[features.Features]
    ) -> Mapping[str, tuple[features.Features, ...]]:
        if self.longer is None:
            return {}
        return await self.longer.of(
            {each.market: each.candle_ts + each.unit * MINUTE for each in computed}
        )

    async def _days(self, computed: Sequence[features.Features]) -> Mapping[str, Days]:
        if self.daily is None:
            return {}
        return await self.daily.of({each.market: each.candle_ts for each in computed})

    async def _spreads(self, markets: Sequence[str]) -> Mapping[str, Decimal | None]:
        """Best effort: a decision does not wait for a book that cannot be had."""
        if self.books is None or not markets:
            return {}
        try:
            books = await self.books(markets)
        except JobError as exc:
            logger.bind(event="signals.no_books", error=str(exc)).warning("No order books")
            return {}
        return {book.market: inputs.spread_pct(book) for book in books}

    async def _marks(self, markets: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Best effort: who places orders asks again, and refuses where nobody knows."""
        if self.marks is None or not markets:
            return {}
        try:
            found = await self.marks()
        except JobError as exc:
            logger.bind(event="signals.no_marks", error=str(exc)).warning("No caution marks")
            return {}
        return {name: inputs.marks_of(found[name]) for name in markets if name in found}

    async def _store(self, asking: Inputs, verdict: Verdict) -> int:
        asked = {market.market: market for market in asking.markets}
        inputs.check(verdict, asked)
        now = self.clock()
        rows = [self._signal(asked[each.market], each, verdict, now) for each in verdict.decisions]
        async with self.db.begin() as tx:
            if verdict.llm_call_id is not None and verdict.settlement is not None:
                await llm_calls.settle(tx, verdict.llm_call_id, verdict.settlement, now)
            stored = await signal_store.insert_new(tx, rows)
        for row in rows:
            if row.market in stored:
                _tell(stored[row.market], row)
        return len(stored)

    def _signal(
        self, market: MarketInput, decision: Decision, verdict: Verdict, now: datetime
    ) -> NewSignal:
        return NewSignal(
            market_data_id=market.market_data_id,
            market=market.market,
            action=decision.action,
            confidence=decision.confidence,
            reason=decision.reason,
            source=self.source_name,
            model=verdict.model,
            llm_call_id=verdict.llm_call_id,
            candle_ts=market.features.candle_ts,
            created_at=now,
        )


def _features(windows: Sequence[Sequence[Candle]]) -> list[features.Features]:
    return [features.compute(window) for window in windows]


def _tell(signal_id: int, row: NewSignal) -> None:
    logger.bind(
        event="signal.created",
        signal_id=signal_id,
        market=row.market,
        action=row.action,
        confidence=str(row.confidence),
        source=row.source,
        model=row.model,
        llm_call_id=row.llm_call_id,
        candle_ts=row.candle_ts.isoformat(),
    ).info("Signal was stored")
