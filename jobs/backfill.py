"""Candles of the past, page by page, newest first; what is stored or proven empty is not asked for.

Killed at any point and run again it goes on where it was: a page is stored, then noted as proven.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.candle_plan import PAGE, Span, merged, without
from jobs.errors import Transient
from jobs.spec import Sleep
from jobs.store import candle_proofs, partitions
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.wire import Candle

WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Waits after failures in a row, unless the exchange asks for another; then it is given up."""


class Quotation(Protocol):
    """Who has candles: up to `count` that start before `to`, newest first."""

    async def candles(
        self, market: str, unit: int, *, to: datetime | None = None, count: int = PAGE
    ) -> list[Candle]:
        """Ask for one page."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How far it is: minutes that are complete now of those that were missing, and what it took."""

    minutes: int
    total: int
    rows: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Fills the candles of one market in [since, until), on the grid of `unit` minutes."""

    client: Quotation
    db: Database
    sleep: Sleep
    market: str
    unit: int
    since: datetime
    until: datetime

    async def run(self, told: Callable[[Done], None]) -> Done:
        """Fetch and store what is missing; raises Transient when the exchange does not answer."""
        await self._make_room()
        left = await self._missing()
        total = _minutes(left)
        done = Done(minutes=0, total=total, rows=0, requests=0)
        told(done)
        while left:
            to = left[-1][1]
            page = await self._ask(to)
            candles = [each for each in page if self.since <= each.ts < to]
            # fewer than asked for: there is nothing older
            since = self.since if len(page) < PAGE else max(self.since, page[-1].ts)
            rows = await candle_store.upsert(self.db, candles)
            await candle_proofs.add(self.db, self.market, self.unit, since, to)
            left = without(left, since, to)
            done = Done(
                minutes=total - _minutes(left),
                total=total,
                rows=done.rows + rows,
                requests=done.requests + 1,
            )
            told(done)
        return done

    async def _make_room(self) -> None:
        """Make the months' partitions before there are rows to be moved into them."""
        month, months = partitions.month_of(self.since), set()
        while month < self.until:
            months.add(month)
            month = partitions.later(month, 1)
        await partitions.make(self.db, months, self.until)

    async def _missing(self) -> list[Span]:
        wanted = (self.market, self.unit, self.since, self.until)
        gaps = await candle_store.gaps(self.db, *wanted)
        for since, until in await candle_proofs.spans(self.db, *wanted):
            gaps = without(gaps, since, until)
        return merged(gaps)

    async def _ask(self, to: datetime) -> list[Candle]:
        for wait_s in (*WAITS_S, None):
            try:
                return await self.client.candles(self.market, self.unit, to=to, count=PAGE)
            except Transient as exc:
                if wait_s is None:
                    raise
                await self.sleep(max(wait_s, exc.retry_after_s or 0.0))
        raise AssertionError("the last failure was raised")


def _minutes(spans: list[Span]) -> int:
    return sum((until - since) // timedelta(minutes=1) for since, until in spans)
