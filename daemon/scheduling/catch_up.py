"""What came due while nobody ran it, between one leadership and the next."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from loguru import logger

from daemon.scheduling.missed_spans import MissedSpans
from daemon.scheduling.scheduler import Schedule
from daemon.scheduling.slot_clock import SlotClock
from daemon.scheduling.slot_ledger import SlotLedger
from jobs.store import job_controls, runs
from jobs.store.db import Database
from jobs.store.missed_spans import Span

DOWN = "not running then"
ONE_BY_ONE = 1000
"""The most slots of one absence that are told one by one; more become a span."""

REPEATED_SINCE = timedelta(hours=1)


@dataclass(slots=True)
class Memory:
    """What one leadership leaves to the next in the same process: until when it handed over, and
    up to which instant it was doing so for another time (None: it was not). `spans` are those that
    the database has not taken yet.
    """

    left_at: datetime | None = None
    repeating_until: datetime | None = None
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """Accounts for absences."""

    database: Database
    ledger: SlotLedger
    schedules: Mapping[str, Schedule]
    spans: MissedSpans
    memory: Memory

    async def run(self, clock: SlotClock) -> datetime:
        """Account for the slots that came due while nobody ran them; return until when.

        Those of a short absence are written now, those of a long one are kept as spans.
        """
        until = clock.look()
        newest = await runs.newest(self.database)
        for job, at in (await self.spans.accounted_until()).items():
            newest[job] = max(at, newest.get(job, at))
        repeated = await runs.newest_repeated(
            self.database, clock.past.repeats, until - REPEATED_SINCE, until
        )
        for job, schedule in self.schedules.items():
            if job in newest:
                for gap in _gaps(self.memory, clock, newest[job], repeated.get(job), until):
                    await self._account(job, schedule, clock, *gap)
        await self.spans.keep()  # before any newer slot has a row: nobody looks further back
        await self._skip_promises(until)
        return until

    async def _account(
        self, job: str, schedule: Schedule, clock: SlotClock, after: datetime, until: datetime
    ) -> None:
        missed = list(islice(schedule.between(after, until), ONE_BY_ONE + 1))
        if len(missed) <= ONE_BY_ONE:
            await self._skip(job, [clock.label(each) for each in missed])
            return
        mark, repeats = clock.labelling()
        self.spans.add(
            Span(job=job, after=after, until=until, reason=DOWN, mark=mark, repeats=repeats)
        )

    async def _skip(self, job: str, missed: list[datetime]) -> None:
        written = await self.ledger.skip_missed(job, missed, DOWN)
        await asyncio.sleep(0)
        if written:
            logger.bind(event="slots.missed", job=job, slots=written).warning(
                "Slots came due while the daemon was not running"
            )

    async def _skip_promises(self, until: datetime) -> None:
        for job, each in (await job_controls.read(self.database)).items():
            if each.follow_up_at is not None and each.follow_up_at <= until:
                await self.ledger.skip_missed(job, [each.follow_up_at], DOWN)
                await job_controls.keep(self.database, job, until)


def _gaps(
    memory: Memory,
    clock: SlotClock,
    newest: datetime,
    repeated: datetime | None,
    until: datetime,
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the spans in which a job's slots came due and nobody ran them."""
    if clock.is_repeating():  # the wall was set back: the newest slot is from before that
        known = [each for each in (repeated, memory.left_at) if each is not None]
        if known and max(known) <= until:
            yield max(known), until
        return
    if memory.left_at is not None and memory.repeating_until is not None:
        yield memory.left_at, min(memory.repeating_until, until)  # the rest of the repetition
    if newest <= until:
        yield newest, until
