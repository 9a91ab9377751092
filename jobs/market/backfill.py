"""Candles of the past, page by page, newest first; what is stored or proven empty is not asked for.

Killed at any point and run again it goes on where it was: a page is stored, then noted as proven.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Protocol

from jobs.candles.backlog import PAGE, Span, floor, merged, within, without
from jobs.core.errors import Transient
from jobs.core.job import Clock, Sleep
from jobs.store import candle_proofs, partitions
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.wire import Candle

MINUTE = timedelta(minutes=1)
LATE = timedelta(minutes=30)
"""So much later nobody expects a candle any more."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Waits after failures in a row, unless the exchange asks for another; then it is given up."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Quotation(Protocol):
    """Who has candles: up to `count` that start before `to`, newest first."""

    async def candles(
        self, market: str, unit: int, *, to: datetime | None = None, count: int = PAGE
    ) -> list[Candle]:
        """Ask for one page."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How far it is: minutes that are done of those that were missing, and what it took.

    `unproven` minutes are done without a proof: the exchange showed no later candle, or fewer than
    asked for.
    """

    minutes: int
    total: int
    rows: int = 0
    requests: int = 0
    unproven: int = 0


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
    clock: Clock = utc_now

    async def run(self, told: Callable[[Done], None]) -> Done:
        """Fetch and store what is missing; raises Transient when the exchange does not answer."""
        await self._make_room()
        left = await self._missing()
        done = Done(minutes=0, total=_minutes(left))
        told(done)
        newest = (await candle_store.newest(self.db, [self.market], self.unit)).get(self.market)
        while left:
            to = left[-1][1]
            page = await self._ask(to)
            kept = [each for each in page if each.ts >= self.since]
            rows = await candle_store.upsert(self.db, kept)
            proof = await self._prove(page, to, newest)
            # nothing at all: as far as it is known, there is nothing older
            since = max(self.since, page[-1].ts) if page else self.since
            unproven = without(within(left, since, to), *proof)
            left = without(left, since, to)
            newest = max((each for each in (newest, *(c.ts for c in page)) if each), default=None)
            done = Done(
                minutes=done.total - _minutes(left),
                total=done.total,
                rows=done.rows + rows,
                requests=done.requests + 1,
                unproven=done.unproven + _minutes(unproven),
            )
            told(done)
        return done

    async def _prove(self, page: Sequence[Candle], to: datetime, newest: datetime | None) -> Span:
        """Note for ever what the page proves: candles may be late, a short answer may be cut."""
        if len(page) < PAGE:
            return to, to
        end = to
        if newest is None or newest < to:  # no later candle is known
            settled = floor(self.clock() - LATE, self.unit)
            end = max(page[0].ts + self.unit * MINUTE, min(to, settled))
        since = max(self.since, page[-1].ts)
        if since < end:
            await candle_proofs.add(self.db, self.market, self.unit, since, end)
        return since, max(since, end)

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
        """The candles before `to`, newest first, whatever the order in which they come."""
        found = await self._answer(to)
        inside = (each for each in found if each.ts < to and each.market == self.market)
        return sorted(inside, key=attrgetter("ts"), reverse=True)

    async def _answer(self, to: datetime) -> list[Candle]:
        for wait_s in (*WAITS_S, None):
            try:
                return await self.client.candles(self.market, self.unit, to=to, count=PAGE)
            except Transient as exc:
                if wait_s is None:
                    raise
                await self.sleep(max(wait_s, exc.retry_after_s or 0.0))
        raise AssertionError("the last failure was raised")


def _minutes(spans: list[Span]) -> int:
    return sum((until - since) // MINUTE for since, until in spans)
