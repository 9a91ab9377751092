"""Queries of `job_controls`: what people ask of jobs, and the follow-up runs that are promised.

A change of `paused` or `runs_asked` is told on the channel `job_controls`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Executable, func, select, update
from sqlalchemy.dialects.postgresql import insert

from jobs.store.db import Database
from jobs.store.tables import job_controls

CHANNEL = "job_controls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What is asked of one job. `follow_up_at` is when a deferred run is due once more.

    `paused_at` is since when it is paused, None for a pause that was made by hand.
    """

    job: str
    paused: bool
    runs_asked: int
    runs_done: int
    follow_up_at: datetime | None
    updated_at: datetime
    updated_by: str
    paused_at: datetime | None = None


async def read(db: Database) -> dict[str, Control]:
    """Return what is asked of each job; a job that nobody ever touched is not there."""
    async with db.begin() as tx:
        rows = (await tx.execute(select(job_controls))).mappings().all()
    return {row["job"]: Control(**row) for row in rows}


async def pause(db: Database, jobs: Sequence[str], *, paused: bool, by: str) -> list[str]:
    """Pause or resume jobs for good; return those that this changed."""
    now = func.clock_timestamp()
    change = {
        "paused": paused,
        "paused_at": now if paused else None,
        "updated_by": by,
        "updated_at": now,
    }
    query: Executable
    if paused:
        new = insert(job_controls).values(
            [{"job": job, "paused": paused, "paused_at": now, "updated_by": by} for job in jobs]
        )
        query = new.on_conflict_do_update(
            index_elements=["job"], set_=change, where=~job_controls.c.paused
        ).returning(job_controls.c.job)
    else:  # a job without a row was never paused
        held = (job_controls.c.job.in_(jobs), job_controls.c.paused)
        query = update(job_controls).where(*held).values(change).returning(job_controls.c.job)
    async with db.begin() as tx:
        return sorted((await tx.execute(query)).scalars())


async def ask_run(db: Database, job: str, *, by: str) -> None:
    """Ask for one extra run, now; asking again before it began changes nothing."""
    new = insert(job_controls).values(job=job, runs_asked=1, updated_by=by)
    upsert = new.on_conflict_do_update(
        index_elements=["job"],
        set_={
            "runs_asked": job_controls.c.runs_asked + 1,
            "updated_by": by,
            "updated_at": func.clock_timestamp(),
        },
    )
    async with db.begin() as tx:
        await tx.execute(upsert)


async def take_run(db: Database, job: str) -> bool:
    """Return whether a run is asked for, once for however many askings."""
    take = (
        update(job_controls)
        .where(job_controls.c.job == job, job_controls.c.runs_done < job_controls.c.runs_asked)
        .values(runs_done=job_controls.c.runs_asked)
        .returning(job_controls.c.job)
    )
    async with db.begin() as tx:
        return (await tx.execute(take)).first() is not None


async def promise(db: Database, job: str, at: datetime) -> None:
    """Store when a deferred run is due once more, so that a restart keeps to it."""
    new = insert(job_controls).values(job=job, follow_up_at=at)
    upsert = new.on_conflict_do_update(
        index_elements=["job"], set_={"follow_up_at": new.excluded.follow_up_at}
    )
    async with db.begin() as tx:
        await tx.execute(upsert)


async def keep(db: Database, job: str, until: datetime) -> None:
    """Forget a promise that came due by `until`."""
    done = (
        update(job_controls)
        .where(job_controls.c.job == job, job_controls.c.follow_up_at <= until)
        .values(follow_up_at=None)
    )
    async with db.begin() as tx:
        await tx.execute(done)
