"""Accounts for long absences beside the work: months of missed slots become rows, bit by bit.

A short absence is told slot by slot before anything runs (catch_up.py). A long one, and a
clock that jumped by days, becomes a span in the database first, so that a stop in the middle loses
nothing; its rows follow in portions, and one `slots.missed` line ends it.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from loguru import logger

from daemon.scheduling.scheduler import Schedule
from jobs.core.errors import Transient
from jobs.core.job import Clock
from jobs.store import missed_spans as store
from jobs.store.db import Database
from jobs.store.missed_spans import Part, Pending, Span

KEPT = timedelta(days=90)
"""Rows of slots are kept so long (jobs/upkeep.py): what is older is counted by nobody."""

SERIES = 2000
NAMED = 500
"""How many rows a statement writes: so few that it is no slow statement and holds nobody up.
Instants of a crontab line are found here, one by one."""

PAUSE_S = 0.02
AGAIN_S = 1.0
AFTER_BUG_S = 60.0


class MissedSpans:
    """Takes spans from the scheduler and writes their rows until cancelled.

    `taken` are the spans that the database has not yet.
    """

    def __init__(
        self, db: Database, schedules: Mapping[str, Schedule], clock: Clock, taken: list[Span]
    ) -> None:
        self._db = db
        self._schedules = schedules
        self._clock = clock
        self._new = taken
        self._wake = asyncio.Event()

    def add(self, span: Span) -> None:
        """Take a span; it is kept in the database as soon as that can be had."""
        self._new.append(span)
        self._wake.set()

    async def keep(self) -> None:
        """Store the spans that were taken. Raises Transient, and loses none then."""
        taken = list(self._new)
        await store.add(self._db, taken)
        del self._new[: len(taken)]

    async def accounted_until(self) -> dict[str, datetime]:
        """Return until when spans account for jobs, whose rows are not all written yet."""
        return await store.accounted_until(self._db)

    async def run(self) -> None:
        """Write what is missing, then wait for more."""
        while True:
            try:
                self._wake.clear()
                await self.keep()
                if (span := await store.oldest(self._db)) is None:
                    await self._wake.wait()
                    continue
                await self._go_on(span)
                await asyncio.sleep(PAUSE_S)
            except Transient as error:
                logger.bind(event="slots.span_waits", error=str(error)).warning(
                    "Rows of missed slots wait for the database"
                )
                await asyncio.sleep(AGAIN_S)
            except Exception:  # noqa: BLE001 - a trigger may raise anything; the work goes on
                logger.bind(event="slots.span_failed").exception("Rows of missed slots fail")
                await asyncio.sleep(AFTER_BUG_S)

    async def _go_on(self, span: Pending) -> None:
        now = self._clock()
        part = self._next_part(span, max(span.after, now - KEPT))
        written = span.slots + await store.write(self._db, span, part, now)
        if part.until >= span.until:
            logger.bind(
                event="slots.missed",
                job=span.job,
                slots=written,
                after=span.began.isoformat(),
                until=span.until.isoformat(),
                reason=span.reason,
            ).warning("Slots came due that nobody ran")

    def _next_part(self, span: Pending, after: datetime) -> Part:
        schedule = self._schedules.get(span.job)
        first = None if schedule is None else schedule.next_after(after)
        if schedule is None or first is None or first > span.until:
            return Part(until=span.until)
        if schedule.period is not None:
            count = min(SERIES, (span.until - first) // schedule.period + 1)
            last = first + (count - 1) * schedule.period
            is_all = last + schedule.period > span.until
            return Part(
                until=span.until if is_all else last,
                first=first,
                period=schedule.period,
                count=count,
            )
        named = list(islice(schedule.between(after, span.until), NAMED))
        is_all = len(named) < NAMED
        return Part(until=span.until if is_all else named[-1], instants=named)
