"""Queries of `gates`: a server's wait outlives the process that was told of it."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from jobs.gates import Closed
from jobs.store.db import Database
from jobs.store.tables import gates


async def save(db: Database, closed: Closed) -> None:
    """Store a closing; one that is stored already and lasts longer stays."""
    new = insert(gates).values(
        name=closed.name,
        closed_until=closed.until,
        source=closed.source,
        reason=closed.reason,
    )
    upsert = new.on_conflict_do_update(
        index_elements=["name"],
        set_={name: new.excluded[name] for name in ("closed_until", "source", "reason")},
        where=gates.c.closed_until < new.excluded.closed_until,
    )
    async with db.begin() as tx:
        await tx.execute(upsert)


async def load(db: Database, now: datetime) -> list[Closed]:
    """Return the closings that are still in force and forget the others."""
    async with db.begin() as tx:
        await tx.execute(delete(gates).where(gates.c.closed_until <= now))
        rows = (await tx.execute(select(gates))).all()
    return [
        Closed(name=row.name, until=row.closed_until, source=row.source, reason=row.reason)
        for row in rows
    ]
