"""Spans of missed slots: kept until each slot has its row, written many at a time by Postgres.

A row for every ten seconds of three months is 780,000 rows: made one by one in Python they took
minutes before anything else could begin, and 160 MB of log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg.rows import class_row
from sqlalchemy import text

from jobs.store.db import Database

_ADD: Final = text("""
INSERT INTO missed_spans (job, after, until, reason, mark, repeats, began)
VALUES (:job, :after, :until, :reason, :mark, :repeats, :after)
ON CONFLICT (job, after, until) DO NOTHING
""")
_ACCOUNTED: Final = text("SELECT job, max(until) FROM missed_spans GROUP BY job")
_OLDEST: Final = """
SELECT id, job, after, until, reason, mark, repeats, began, slots
FROM missed_spans ORDER BY id LIMIT 1
"""
_WRITE: Final = """
INSERT INTO job_runs (job, scheduled_at, run_id, finished_at, outcome, reason)
SELECT :job, due + CASE WHEN due <= CAST(:mark AS timestamptz) THEN :repeats ELSE 0 END
           * interval '1 microsecond',
       replace(gen_random_uuid()::text, '-', ''), :at, 'skipped', :reason
FROM {due} AS due
ON CONFLICT (job, scheduled_at) DO NOTHING
"""
# in microseconds: an interval of days would follow the session's time zone
_SERIES: Final = text(
    _WRITE.format(
        due="(SELECT CAST(:first AS timestamptz)"
        " + n * CAST(:period_us AS bigint) * interval '1 microsecond' AS due"
        " FROM generate_series(0, :count - 1) AS n)"
    )
)
_NAMED: Final = text(_WRITE.format(due="unnest(CAST(:instants AS timestamptz[]))"))
_PROGRESS: Final = text(
    "UPDATE missed_spans SET after = :after, slots = slots + :slots WHERE id = :id"
)
_DONE: Final = text("DELETE FROM missed_spans WHERE id = :id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The slots of `job` later than `after` and not later than `until`, which nobody ran.

    Instants up to `mark` come for another time: their keys are `repeats` microseconds later
    (daemon/scheduling/slot_clock.py).
    """

    job: str
    after: datetime
    until: datetime
    reason: str
    mark: datetime | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending(Span):
    """A span that is not written whole: `slots` rows since `began` are."""

    id: int
    began: datetime
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The next instants of a span: `instants`, or `count` of them from `first` every `period`."""

    until: datetime
    instants: Sequence[datetime] = ()
    first: datetime | None = None
    period: timedelta = timedelta()
    count: int = 0


async def add(db: Database, spans: Sequence[Span]) -> None:
    """Keep spans; one that is kept already is not kept twice."""
    if not spans:
        return
    async with db.begin() as tx:
        for span in spans:
            await tx.execute(_ADD, {name: getattr(span, name) for name in Span.__slots__})


async def accounted_until(db: Database) -> dict[str, datetime]:
    """Until when the spans that are kept account for each job."""
    async with db.begin() as tx:
        return {row[0]: row[1] for row in await tx.execute(_ACCOUNTED)}


async def oldest(db: Database) -> Pending | None:
    """The span to go on with, None when every missed slot has its row."""
    async with (
        db.connection() as connection,
        connection.cursor(row_factory=class_row(Pending)) as cursor,
    ):
        await cursor.execute(_OLDEST.encode())
        return await cursor.fetchone()


async def write(db: Database, span: Pending, part: Part, at: datetime) -> int:
    """Write the rows of the next part of `span` in one transaction; return how many were new."""
    given = {
        "job": span.job,
        "reason": span.reason,
        "mark": span.mark,
        "repeats": span.repeats,
        "at": at,
    }
    async with db.begin() as tx:
        if part.instants:
            written = await tx.execute(_NAMED, {**given, "instants": list(part.instants)})
        elif part.first is not None and part.count:
            period_us = part.period // timedelta(microseconds=1)
            series = {"first": part.first, "period_us": period_us, "count": part.count}
            written = await tx.execute(_SERIES, {**given, **series})
        else:
            written = None
        slots = 0 if written is None else written.rowcount
        if part.until >= span.until:
            await tx.execute(_DONE, {"id": span.id})
        else:
            await tx.execute(_PROGRESS, {"id": span.id, "after": part.until, "slots": slots})
    return slots
