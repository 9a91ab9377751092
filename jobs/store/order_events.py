"""The story of each order: every attempt, look, answer and change of state, in their order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.order_states import State
from jobs.store.tables import order_events


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of an order's story: an attempt, a look, an answer or a change of state."""

    id: int
    order_id: int
    at: datetime
    kind: str
    from_state: str | None
    to_state: str | None
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What to write into an order's story. `detail` holds JSON values, never a secret."""

    kind: str
    at: datetime
    detail: Mapping[str, object]


async def note(conn: AsyncConnection, order_id: int, line: Note, *, fold: bool = False) -> None:
    """Add a line to an order's story.

    With `fold` a line that repeats the newest one is counted on it (`again`, `last_at`), so that
    an order that is looked at for days does not fill the table.
    """
    if fold and await _folded(conn, order_id, line):
        return
    await write(conn, order_id, line)


async def _folded(conn: AsyncConnection, order_id: int, line: Note) -> bool:
    newest = (
        select(order_events)
        .where(order_events.c.order_id == order_id)
        .order_by(order_events.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(newest)).one_or_none()
    if row is None or row.kind != line.kind:
        return False
    plain = {k: v for k, v in row.detail.items() if k not in {"again", "last_at"}}
    if plain != dict(line.detail):
        return False
    again = {**plain, "again": row.detail.get("again", 0) + 1, "last_at": line.at.isoformat()}
    await conn.execute(update(order_events).where(order_events.c.id == row.id).values(detail=again))
    return True


async def write(
    conn: AsyncConnection,
    order_id: int,
    line: Note,
    *,
    from_state: State | None = None,
    to_state: State | None = None,
) -> None:
    """Add a line to an order's story, with the change of state it tells, if it tells one."""
    await conn.execute(
        insert(order_events).values(
            order_id=order_id,
            at=line.at,
            kind=line.kind,
            from_state=from_state,
            to_state=to_state,
            detail=dict(line.detail),
        )
    )


async def events(conn: AsyncConnection, order_id: int) -> list[Event]:
    """An order's story, oldest line first."""
    statement = (
        select(order_events).where(order_events.c.order_id == order_id).order_by(order_events.c.id)
    )
    return [Event(**row._mapping) for row in await conn.execute(statement)]


async def looks(conn: AsyncConnection, order_id: int) -> list[datetime]:
    """When the venue said that it knows no such order, oldest first."""
    statement = (
        select(order_events.c.at)
        .where(order_events.c.order_id == order_id, order_events.c.kind == "look.absent")
        .order_by(order_events.c.id)
    )
    return list((await conn.execute(statement)).scalars())
