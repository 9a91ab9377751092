"""Queries on exits that are due: one row a market, from the first look that asks to the sale."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.due_exits import DueExit
from jobs.domain.portfolio import Mode
from jobs.store.tables import due_exits as table


async def read(conn: AsyncConnection, mode: str) -> dict[str, DueExit]:
    """Every exit of `mode` that is due, by market."""
    rows = await conn.execute(select(table).where(table.c.mode == mode))
    return {row.market: _as_exit(row) for row in rows}


async def save(conn: AsyncConnection, mode: Mode, market: str, due: DueExit) -> None:
    """Store how the exit of `market` stands."""
    values = asdict(due)
    statement = upsert(table).values(mode=mode, market=market, **values)
    await conn.execute(
        statement.on_conflict_do_update(index_elements=[table.c.mode, table.c.market], set_=values)
    )


async def remove(conn: AsyncConnection, mode: Mode, market: str) -> bool:
    """Forget the exit of `market`; tell whether there was one."""
    statement = delete(table).where(table.c.mode == mode, table.c.market == market)
    return (await conn.execute(statement)).rowcount > 0


def _as_exit(row: Row[Any]) -> DueExit:
    values = dict(row._mapping)
    return DueExit(**{key: values[key] for key in values if key not in ("mode", "market")})
