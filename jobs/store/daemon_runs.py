"""Queries of `daemon_runs`: when each daemon began and how it ended."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, or_, select, update

from jobs.store.db import Database
from jobs.store.tables import daemon_runs as table

KILLED = -1
"""The exit code of a run that could not write one."""
CRASHED = 1
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonRun:
    """One run of the daemon. `process` names its process on its host, for all time."""

    session: str
    instance: str
    host: str
    process: str
    version: str
    mode: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UncleanEnd:
    """A run that did not stop in order. `ended_at` is None when it was killed."""

    session: str
    process: str
    started_at: datetime
    ended_at: datetime | None
    exit_code: int


async def begin(db: Database, run: DaemonRun) -> None:
    """Note that a run begins, and forget those of long ago."""
    old = table.c.is_told & (table.c.started_at < run.started_at - KEPT)
    async with db.begin() as conn:
        await conn.execute(insert(table).values(asdict(run)))
        await conn.execute(delete(table).where(old))


async def take_unclean(
    db: Database, run: DaemonRun, is_alive: Callable[[str], bool]
) -> Sequence[UncleanEnd]:
    """Return the runs of the same instance and host that ended badly, each once.

    `is_alive` tells of a run without an end whether its process still works: a standby on the same
    host does.
    """
    mine = (table.c.instance == run.instance, table.c.host == run.host, ~table.c.is_told)
    bad = or_(table.c.ended_at.is_(None), table.c.exit_code == CRASHED)
    query = select(table).where(*mine, bad, table.c.session != run.session)
    async with db.begin() as conn:
        rows = (await conn.execute(query.order_by(table.c.started_at).with_for_update())).all()
        found = [row for row in rows if row.ended_at is not None or not is_alive(row.process)]
        ended = {
            "is_told": True,
            "ended_at": func.coalesce(table.c.ended_at, func.clock_timestamp()),
            "exit_code": func.coalesce(table.c.exit_code, KILLED),
        }
        sessions = [row.session for row in found]
        await conn.execute(update(table).where(table.c.session.in_(sessions)).values(ended))
    return [
        UncleanEnd(
            session=row.session,
            process=row.process,
            started_at=row.started_at,
            ended_at=row.ended_at,
            exit_code=KILLED if row.exit_code is None else row.exit_code,
        )
        for row in found
    ]


async def end(db: Database, session: str, at: datetime, exit_code: int) -> None:
    """Note how a run ended. One that stopped in order has nothing to tell."""
    values = {"ended_at": at, "exit_code": exit_code, "is_told": exit_code != CRASHED}
    async with db.begin() as conn:
        await conn.execute(update(table).where(table.c.session == session).values(values))
