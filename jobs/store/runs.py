"""Queries of `job_runs`, the slot ledger: one row for every due slot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import BigInteger, Executable, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from jobs.core.job import Slot
from jobs.store.db import Database
from jobs.store.tables import job_runs

KEY = ("job", "scheduled_at")

# Statements that every slot needs are built once: building one costs more than sending it.


async def claim(db: Database, slot: Slot, started_at: datetime) -> bool:
    """Make the slot ours; False when another run has it, so that nobody runs a slot twice.

    Asking again for the same run, after an answer that was lost, is True again.
    """
    values = {
        "job": slot.job,
        "scheduled_at": slot.scheduled_at,
        "run_id": slot.run_id,
        "started_at": started_at,
    }
    async with db.begin() as tx:
        return (await tx.execute(_claiming(), values)).first() is not None


@cache
def _claiming() -> Executable:
    new = insert(job_runs)
    return new.on_conflict_do_update(
        index_elements=KEY,
        set_={"started_at": job_runs.c.started_at},
        where=(job_runs.c.run_id == new.excluded.run_id) & job_runs.c.outcome.is_(None),
    ).returning(job_runs.c.run_id)


async def record(db: Database, rows: Sequence[Mapping[str, object]]) -> None:
    """Store outcomes. A row that already has one keeps it; running this twice changes nothing."""
    if not rows:
        return
    async with db.begin() as tx:
        await tx.execute(_recording(tuple(rows[0])), list(rows))


@cache
def _recording(names: tuple[str, ...]) -> Executable:
    new = insert(job_runs)
    return new.on_conflict_do_update(
        index_elements=KEY,
        set_={name: new.excluded[name] for name in names if name not in KEY},
        where=job_runs.c.outcome.is_(None) & (job_runs.c.run_id == new.excluded.run_id),
    )


async def record_skipped(db: Database, rows: Sequence[Mapping[str, object]]) -> set[datetime]:
    """Store slots of one job that did not run; return the instants that had no row before."""
    if not rows:
        return set()
    new = (
        insert(job_runs)
        .values(list(rows))
        .on_conflict_do_nothing()
        .returning(job_runs.c.scheduled_at)
    )
    async with db.begin() as tx:
        return set((await tx.execute(new)).scalars())


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A slot whose run began and whose process ended before it said how the run went."""

    slot: Slot
    started_at: datetime


async def abandoned(db: Database) -> list[Abandoned]:
    """Return the rows without an outcome, oldest first."""
    open_rows = (
        select(job_runs.c.job, job_runs.c.scheduled_at, job_runs.c.run_id, job_runs.c.started_at)
        .where(job_runs.c.outcome.is_(None))
        .order_by(job_runs.c.scheduled_at)
    )
    async with db.begin() as tx:
        rows = (await tx.execute(open_rows)).all()
    return [
        Abandoned(
            slot=Slot(job=row.job, scheduled_at=row.scheduled_at, run_id=row.run_id),
            started_at=row.started_at,
        )
        for row in rows
    ]


async def close_abandoned(db: Database, run_ids: Sequence[str], reason: str, at: datetime) -> None:
    """Give the named runs, where they have no outcome yet, the outcome `cancelled`."""
    if not run_ids:
        return
    async with db.begin() as tx:
        await tx.execute(
            update(job_runs)
            .where(job_runs.c.run_id.in_(run_ids), job_runs.c.outcome.is_(None))
            .values(outcome="cancelled", reason=reason, finished_at=at)
        )


# Which slot an instant stands for is told by its microseconds within a millisecond: none for the
# first time, below 500 for a repetition, 500 for a slot that no schedule names
# (daemon/scheduling/slot_clock.py).
MARK = func.extract("microseconds", job_runs.c.scheduled_at).cast(BigInteger) % 1000
UNSCHEDULED = 500


async def newest(db: Database) -> dict[str, datetime]:
    """Return the instant of every job's newest slot that a schedule named."""
    # from each job's name to the next: a few index rows, however long the ledger is
    first = select(func.min(job_runs.c.job).label("job")).cte("jobs", recursive=True)
    later = select(func.min(job_runs.c.job)).where(job_runs.c.job > first.c.job)
    names = first.union_all(select(later.scalar_subquery()).where(first.c.job.is_not(None)))
    last = (
        select(func.max(job_runs.c.scheduled_at).label("at"))
        .where(job_runs.c.job == names.c.job, MARK < UNSCHEDULED)
        .lateral("last")
    )
    query = select(names.c.job, last.c.at).where(names.c.job.is_not(None), last.c.at.is_not(None))
    async with db.begin() as tx:
        return {row[0]: row[1] for row in await tx.execute(query)}


async def started_since(db: Database, since: Mapping[str, datetime]) -> frozenset[str]:
    """Return the jobs with a run that began for a slot at or after the job's instant of `since`."""
    if not since:
        return frozenset()
    any_of = or_(
        *((job_runs.c.job == job) & (job_runs.c.scheduled_at >= at) for job, at in since.items())
    )
    query = select(job_runs.c.job).where(any_of, job_runs.c.started_at.is_not(None)).distinct()
    async with db.begin() as tx:
        return frozenset((await tx.execute(query)).scalars())


async def newest_repeated(
    db: Database, repeats: int, since: datetime, until: datetime
) -> dict[str, datetime]:
    """Return every job's newest instant between the two that came for the `repeats`th time
    (none for 0: the first time is no repetition).
    """
    if repeats == 0:
        return {}
    last = (
        select(job_runs.c.job, func.max(job_runs.c.scheduled_at))
        .where(job_runs.c.scheduled_at.between(since, until), MARK.in_([repeats]))
        .group_by(job_runs.c.job)
    )
    async with db.begin() as tx:
        return {row[0]: row[1] for row in await tx.execute(last)}


async def past(db: Database, since: datetime) -> tuple[datetime | None, int]:
    """Return the newest instant that a schedule named, and how often instants later than `since`
    were repeated at most.
    """
    newest_of_all = select(func.max(job_runs.c.scheduled_at)).where(MARK < UNSCHEDULED)
    repeats = select(func.max(MARK)).where(job_runs.c.scheduled_at > since, MARK < UNSCHEDULED)
    async with db.begin() as tx:
        return (await tx.execute(newest_of_all)).scalar(), (await tx.execute(repeats)).scalar() or 0
