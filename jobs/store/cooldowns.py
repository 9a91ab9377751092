"""Queries of `gates`: a server's wait outlives the process that was told of it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from jobs.core.cooldowns import Closed
from jobs.store.db import Database
from jobs.store.tables import gates


async def save(db: Database, closed: Closed) -> None:
    """Store a closing; one that is stored already and lasts longer stays."""
    new = insert(gates).values(
        name=closed.name,
        closed_until=closed.until,
        source=closed.source,
        reason=closed.reason,
        **({} if closed.closed_at is None else {"updated_at": closed.closed_at}),
    )
    names = ("closed_until", "source", "reason", "updated_at")
    upsert = new.on_conflict_do_update(
        index_elements=["name"],
        set_={name: new.excluded[name] for name in names},
        where=gates.c.closed_until < new.excluded.closed_until,
    )
    async with db.begin() as tx:
        await tx.execute(upsert)


async def load(db: Database, now: datetime) -> list[Closed]:
    """Return the closings that are still in force and forget the others."""
    async with db.begin() as tx:
        await tx.execute(delete(gates).where(gates.c.closed_until <= now))
        rows = (await tx.execute(select(gates))).all()
    return [_closed(row) for row in rows]


async def stored(db: Database) -> dict[str, Closed]:
    """Return every stored closing by its name, those that are over included."""
    async with db.begin() as tx:
        rows = (await tx.execute(select(gates).order_by(gates.c.name))).all()
    return {row.name: _closed(row) for row in rows}


async def shorten(db: Database, closed: Closed) -> None:
    """Let a stored closing end when `closed` does."""
    async with db.begin() as tx:
        await tx.execute(
            update(gates)
            .where(gates.c.name == closed.name, gates.c.closed_until > closed.until)
            .values(closed_until=closed.until)
        )


async def lift(db: Database, names: Collection[str], *, now: datetime, by: str) -> list[str]:
    """End the closings of these names now; return those that were in force.

    The rows stay until the next start, so that a running daemon sees what was lifted and by whom.
    """
    lifting = (
        update(gates)
        .where(gates.c.name.in_(names), gates.c.closed_until > now)
        .values(closed_until=now, reason=f"lifted by {by}: " + gates.c.reason)
        .returning(gates.c.name)
    )
    async with db.begin() as tx:
        return sorted((await tx.execute(lifting)).scalars())


def _closed(row: Row[Any]) -> Closed:
    return Closed(
        name=row.name,
        until=row.closed_until,
        source=row.source,
        reason=row.reason,
        closed_at=row.updated_at,
    )
