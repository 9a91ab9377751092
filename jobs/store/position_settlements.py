"""Queries on positions that a person had written down to what the exchange holds: an audit."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.portfolio import Mode
from jobs.store.tables import position_settlements


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A position before and after. What left it is valued at `price`, as if it was sold there."""

    mode: Mode
    market: str
    volume_before: Decimal
    volume_after: Decimal
    price: Decimal
    realized_krw: Decimal
    settled_by: str
    settled_at: datetime


async def add(conn: AsyncConnection, settlement: Settlement) -> None:
    """Write who had which position written down, and when."""
    names = Settlement.__dataclass_fields__
    values = {name: getattr(settlement, name) for name in names}
    await conn.execute(insert(position_settlements).values(values))


async def of_mode(conn: AsyncConnection, mode: Mode) -> list[Settlement]:
    """All of them, the oldest first."""
    names = [position_settlements.c[name] for name in Settlement.__dataclass_fields__]
    statement = (
        select(*names)
        .where(position_settlements.c.mode == mode)
        .order_by(position_settlements.c.id)
    )
    return [Settlement(**row._mapping) for row in await conn.execute(statement)]
