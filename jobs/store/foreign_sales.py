"""Queries on sales that others made with the daemon's coins: orders of the purpose `foreign`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.ledger import ZERO, Fill
from jobs.domain.order_states import State
from jobs.domain.portfolio import Mode
from jobs.store import order_events
from jobs.store.order_events import Note
from jobs.store.orders import OrderRow, as_row
from jobs.store.tables import orders
from jobs.upbit.wire import Order

FOREIGN = "sold outside of the daemon"
"""The reason of such an order."""

ORD_TYPES = frozenset({"limit", "price", "market", "best"})
_SUMMED = ("volume", "funds", "fee")
_LONGEST_IDENTIFIER = 32


async def insert(
    conn: AsyncConnection,
    sale: Order,
    fills: Sequence[Fill],
    *,
    mode: Mode,
    epoch: int,
    at: datetime,
) -> OrderRow | None:
    """Write a sale that others made with the daemon's coins, as far as `fills` say; None when it
    is there already. It is no order of the daemon: `purpose` says so, and no limit counts it.
    """
    sums = [sum((getattr(fill, name) for fill in fills), ZERO) for name in _SUMMED]
    statement = (
        upsert(orders)
        .values(
            mode=mode,
            identifier=sale.uuid.replace("-", "")[:_LONGEST_IDENTIFIER],
            uuid=sale.uuid,
            purpose="foreign",
            market=sale.market,
            side=sale.side,
            ord_type=sale.ord_type if sale.ord_type in ORD_TYPES else "market",
            price=sale.price or None,
            volume=sale.volume or None,
            state=State.DONE,
            executed_volume=sums[0],
            executed_funds=sums[1],
            paid_fee=sums[2],
            reason=FOREIGN,
            epoch=epoch,
            created_at=sale.created_at,
            updated_at=at,
        )
        .on_conflict_do_nothing()
        .returning(orders)
    )
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        return None
    detail = {"uuid": sale.uuid, "identifier": sale.identifier, "sold": str(sale.executed_volume)}
    note = Note(kind="foreign", at=at, detail={**detail, "booked": str(sums[0])})
    await order_events.write(conn, row.id, note, to_state=State.DONE)
    return as_row(row)


async def known_names(
    conn: AsyncConnection, *, uuids: Sequence[str], identifiers: Sequence[str]
) -> set[str]:
    """Those uuids and identifiers that the table has, of whatever mode."""
    statement = select(orders.c.uuid, orders.c.identifier).where(
        or_(orders.c.uuid.in_(uuids), orders.c.identifier.in_(identifiers))
    )
    return {name for row in await conn.execute(statement) for name in row if name is not None}
