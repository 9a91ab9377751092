"""The signals job: stored candles → features → one verdict of the chosen source → signals.

Source:  Gemini, the rules, or a user's own (jobs/decisions.py).
Key:     (source, market, candle). Running twice for the same candle writes and asks nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger

from jobs import features
from jobs.decisions import Decision, Holding, Inputs, MarketInput, Source, Verdict
from jobs.errors import ModelRejected
from jobs.spec import Clock, Slot
from jobs.store import candles as candle_store
from jobs.store import llm_calls, market_data, positions
from jobs.store import signals as signal_store
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.store.signals import NewSignal
from jobs.trading.ledger import Holding as Position
from jobs.trading.portfolio import Mode
from jobs.upbit.wire import Candle

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsJob:
    """Everything the job needs.

    `markets` tells which markets to decide about and what the exchange calls each. `unit` is the
    candles' length in minutes. A market is left out while its newest snapshot is older than
    `max_data_age_s`, or its newest finished candle ended longer ago than that.
    """

    db: Database
    source: Source
    source_name: str
    markets: Callable[[], Awaitable[Mapping[str, str]]]
    mode: Mode
    clock: Clock
    unit: int = 1
    max_data_age_s: float = 180.0

    async def run(self, slot: Slot) -> int:
        """Decide about every market with a new candle; return how many signals were stored."""
        inputs = await self._gather(slot)
        if not inputs.markets:
            return 0
        verdict = await self.source.decide(inputs)
        return await self._store(inputs, verdict)

    async def _gather(self, slot: Slot) -> Inputs:
        now, names = self.clock(), await self.markets()
        windows = await candle_store.window(
            self.db, list(names), self.unit, features.WINDOW + 1, now
        )
        finished = {market: self._finished(found, now) for market, found in windows.items()}
        snapshots = await market_data.latest(self.db, list(names))
        left_out = dict(self._left_out(names, finished, snapshots, now))
        newest = {name: finished[name][-1].ts for name in names if name not in left_out}
        for market in await signal_store.already_decided(self.db, self.source_name, newest):
            left_out[market] = "its newest candle has a signal"
        async with self.db.begin() as tx:
            held = await positions.held(tx, self.mode)
        if left_out:
            logger.bind(event="signals.left_out", markets=left_out).debug("Markets left out")
        chosen = [name for name in names if name not in left_out]
        computed = await asyncio.to_thread(_features, [finished[name] for name in chosen])
        return Inputs(
            slot=slot,
            now=now,
            markets=tuple(
                _input(names[each.market], finished[each.market], each, snapshots, held)
                for each in computed
            ),
        )

    def _finished(self, found: Sequence[Candle], now: datetime) -> Sequence[Candle]:
        return [candle for candle in found if candle.ts + self.unit * MINUTE <= now]

    def _left_out(
        self,
        names: Mapping[str, str],
        finished: Mapping[str, Sequence[Candle]],
        snapshots: Mapping[str, Snapshot],
        now: datetime,
    ) -> Iterator[tuple[str, str]]:
        limit = timedelta(seconds=self.max_data_age_s)
        for name in names:
            snapshot = snapshots.get(name)
            if snapshot is None or now - snapshot.ts > limit:
                yield name, "no fresh snapshot"
            elif not finished.get(name):
                yield name, "no finished candle"
            elif now - (finished[name][-1].ts + self.unit * MINUTE) > limit:
                yield name, "newest candle is old"

    async def _store(self, inputs: Inputs, verdict: Verdict) -> int:
        asked = {market.market: market for market in inputs.markets}
        _check(verdict, asked)
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


def _input(
    name: str,
    window: Sequence[Candle],
    computed: features.Features,
    snapshots: Mapping[str, Snapshot],
    held: Mapping[str, Position],
) -> MarketInput:
    snapshot = snapshots[computed.market]
    return MarketInput(
        market=computed.market,
        name=name,
        market_data_id=snapshot.id,
        price=snapshot.price,
        change_rate=snapshot.change_rate,
        value_24h=snapshot.value_24h,
        candles=tuple(window),
        features=computed,
        holding=_relative(held.get(computed.market), snapshot.price, computed.candle_ts),
    )


def _relative(position: Position | None, price: Decimal, at: datetime) -> Holding | None:
    """A position as shares and minutes; what it is worth stays here."""
    if position is None or position.avg_price <= 0:
        return None
    since = position.opened_at or at
    return Holding(
        return_pct=(price / position.avg_price - 1) * 100,
        held_minutes=max(0, (at - since) // MINUTE),
    )


def _check(verdict: Verdict, asked: Mapping[str, MarketInput]) -> None:
    """A source that names other markets than it was asked about, or one twice, is not believed."""
    named = [decision.market for decision in verdict.decisions]
    if len(set(named)) != len(named) or not set(named) <= set(asked):
        raise ModelRejected("the source named a market twice or one it was not asked about")


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
