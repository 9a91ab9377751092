"""Months of missed slots: kept at once, written bit by bit, told in one line."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text

from daemon.scheduling.catch_up import DOWN, CatchUp, Memory
from daemon.scheduling.missed_spans import SERIES, MissedSpans
from daemon.scheduling.scheduler import Schedule
from daemon.scheduling.slot_clock import Past, SlotClock
from daemon.scheduling.slot_ledger import SlotLedger
from daemon.telemetry.metrics import JobMetric
from jobs.store import missed_spans as store
from jobs.store.db import Database
from jobs.store.missed_spans import Span
from jobs.store.tables import job_runs

if TYPE_CHECKING:
    from loguru import Record

S, DAY = timedelta(seconds=1), timedelta(days=1)
NOW = datetime(2026, 11, 20, 12, 0, 3, tzinfo=UTC)
SCHEDULES = {
    "orders": Schedule.every(10 * S),
    "market": Schedule.every(60 * S, 2 * S),
    "upkeep": Schedule.cron("*/15 * * * *", ZoneInfo("America/New_York")),
}


def now() -> datetime:
    return NOW


async def last_ran(db: Database, at: datetime) -> None:
    """Every job ran for the last time at its newest instant until then."""
    ledger = SlotLedger(db, lambda _: None, now)
    for job, schedule in SCHEDULES.items():
        ledger.skip(job, [schedule.last_until(at)], "ran")
    await ledger.flush()


async def account(db: Database, clock: SlotClock | None = None) -> tuple[MissedSpans, list[str]]:
    """Account for the absence as a start does; who wrote spans, and the jobs of metric lines."""
    told: list[str] = []

    def tell(metric: JobMetric) -> None:
        told.append(metric.job)

    memory = Memory()
    spans = MissedSpans(db, SCHEDULES, now, memory.spans)
    absence = CatchUp(
        database=db,
        ledger=SlotLedger(db, tell, now),
        schedules=SCHEDULES,
        spans=spans,
        memory=memory,
    )
    assert await absence.run(clock or SlotClock(now, lambda: 0.0, lambda: 0.0)) == NOW
    assert memory.spans == []
    return spans, told


async def written(db: Database, job: str) -> list[datetime]:
    async with db.begin() as tx:
        query = select(job_runs.c.scheduled_at).where(
            job_runs.c.job == job, job_runs.c.reason == DOWN, job_runs.c.outcome == "skipped"
        )
        return list((await tx.execute(query.order_by(job_runs.c.scheduled_at))).scalars())


async def until_done(
    db: Database,
    spans: MissedSpans,
    *,
    parts: int | None = None,
    is_told: Callable[[], bool] = lambda: True,
) -> None:
    """Let the rows be written; at most so many portions, and then it is stopped."""
    task = asyncio.create_task(spans.run())
    seen: set[tuple[int, datetime]] = set()
    async with asyncio.timeout(100):
        while (span := await store.oldest(db)) is not None or not is_told():
            if span is not None:
                seen.add((span.id, span.after))
            if parts is not None and len(seen) > parts:
                break
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def summaries(log_records: "list[Record]") -> list[dict[str, Any]]:
    return [each["extra"] for each in log_records if each["extra"].get("event") == "slots.missed"]


async def test_twelve_days_are_kept_at_once_and_written_whole_across_stops(
    database: Database, log_records: "list[Record]"
) -> None:
    since = NOW - 12 * DAY
    await last_ran(database, since)
    spans, told = await account(database)
    assert told == [], "no line a slot"
    assert await written(database, "orders") == []
    for _ in range(3):
        await until_done(database, spans, parts=2)
        spans, told = await account(database)  # the next start: nothing is kept twice
        assert told == []
    await until_done(database, spans, is_told=lambda: len(summaries(log_records)) == len(SCHEDULES))
    for job, schedule in SCHEDULES.items():
        newest = schedule.last_until(since)
        assert await written(database, job) == list(schedule.between(newest, NOW))
    assert len(await written(database, "orders")) > 3 * SERIES
    lines = summaries(log_records)
    assert {line["job"]: line["slots"] for line in lines} == {
        job: len(await written(database, job)) for job in SCHEDULES
    }
    assert len(lines) == len(SCHEDULES)
    assert all(line["after"] < line["until"] for line in lines)


async def test_what_is_older_than_the_ledger_keeps_is_not_written(database: Database) -> None:
    await last_ran(database, NOW - 180 * DAY)
    spans, _ = await account(database)
    async with database.begin() as tx:
        await tx.execute(text("DELETE FROM missed_spans WHERE job <> 'market'"))
    await until_done(database, spans)
    found = await written(database, "market")
    assert found == list(SCHEDULES["market"].between(NOW - 90 * DAY, NOW))


async def test_a_short_absence_is_told_slot_by_slot(database: Database) -> None:
    await last_ran(database, NOW - 1000 * S)
    _, told = await account(database)
    assert told.count("orders") == 100
    assert told.count("market") == len(await written(database, "market"))
    assert await store.oldest(database) is None


@pytest.mark.parametrize("repeats", [0, 3])
async def test_repeated_instants_keep_their_keys(database: Database, repeats: int) -> None:
    """A span that begins inside a repetition (the wall was set back) has keys of its own."""
    mark = NOW - 3 * DAY
    span = Span(
        job="market",
        after=NOW - 4 * DAY,
        until=NOW - 2 * DAY,
        reason=DOWN,
        mark=mark,
        repeats=repeats,
    )
    await store.add(database, [span, span])
    await until_done(database, MissedSpans(database, SCHEDULES, now, []))
    wanted = [
        at + timedelta(microseconds=repeats if at <= mark else 0)
        for at in SCHEDULES["market"].between(span.after, span.until)
    ]
    assert await written(database, "market") == wanted


async def test_a_span_of_a_job_that_is_no_more_ends(database: Database) -> None:
    span = Span(job="gone", after=NOW - 4 * DAY, until=NOW, reason=DOWN)
    await store.add(database, [span])
    await until_done(database, MissedSpans(database, SCHEDULES, now, []))
    assert await written(database, "gone") == []


async def test_an_absence_of_sixty_days_after_a_step_back(database: Database) -> None:
    """The ledger is sixty days ahead of the wall: nothing was missed, and nothing is written."""
    ahead = SlotClock(now, lambda: 0.0, lambda: 0.0, Past(newest=NOW + 60 * DAY, repeats=0))
    await last_ran(database, NOW + 60 * DAY)
    _, told = await account(database, ahead)
    assert told == []
    assert await store.oldest(database) is None
