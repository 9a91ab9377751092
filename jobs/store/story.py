"""One order's whole story, from the price its signal saw to the ledger: five lookups by index."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.ledger import Holding
from jobs.store import order_events
from jobs.store import positions as position_store
from jobs.store.db import Database
from jobs.store.order_events import Event
from jobs.store.orders import OrderRow, as_row
from jobs.store.positions import StoredFill
from jobs.store.tables import equity, market_data, orders, positions, signals

MOST_DIGITS = 18
"""Longer numbers are no id of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMarket:
    """The snapshot that a signal was made from."""

    id: int
    ts: datetime
    price: Decimal
    volume_24h: Decimal
    change_rate: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSignal:
    """The signal that an order came from."""

    id: int
    action: str
    confidence: Decimal
    reason: str
    source: str
    model: str
    llm_call_id: int | None
    candle_ts: datetime
    status: str
    status_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books after it: the market's position now, and what the account was worth next."""

    holding: Holding
    equity_at: datetime | None
    equity_krw: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is stored about one order. `signal` is None for exits and flatten."""

    order: OrderRow
    signal: MadeSignal | None
    market: SeenMarket | None
    events: tuple[Event, ...]
    fills: tuple[StoredFill, ...]
    ledger: Ledger


async def story(db: Database, name: str) -> Story | None:
    """The story of the order with this id, identifier or uuid of the venue; None without one."""
    async with db.begin() as conn:
        order = await find(conn, name)
        return None if order is None else await _story(conn, order)


async def find(conn: AsyncConnection, name: str) -> OrderRow | None:
    """The order with this id, identifier or uuid of the venue; None without one."""
    for which in _names(name):
        row = (await conn.execute(select(orders).where(which))).one_or_none()
        if row is not None:
            return as_row(row)
    return None


def _names(name: str) -> list[ColumnElement[bool]]:
    """What `name` may be, one index each, so that none of them is a scan."""
    names = [orders.c.identifier == name, orders.c.uuid == name]
    if name.isascii() and name.isdigit() and len(name) <= MOST_DIGITS:
        names.insert(0, orders.c.id == int(name))
    return names


async def _story(conn: AsyncConnection, order: OrderRow) -> Story:
    signal, market = None, None
    if order.signal_id is not None:
        signal, market = await _origin(conn, order.signal_id)
    return Story(
        order=order,
        signal=signal,
        market=market,
        events=tuple(await order_events.events(conn, order.id)),
        fills=tuple(await position_store.fills_of(conn, order.id)),
        ledger=await _ledger(conn, order),
    )


async def _origin(conn: AsyncConnection, signal_id: int) -> tuple[MadeSignal, SeenMarket]:
    wanted = select(*(signals.c[name] for name in (*MadeSignal.__slots__, "market_data_id")))
    row = (await conn.execute(wanted.where(signals.c.id == signal_id))).one()
    made = {name: getattr(row, name) for name in MadeSignal.__slots__}
    seen = select(*(market_data.c[name] for name in SeenMarket.__slots__))
    at = (await conn.execute(seen.where(market_data.c.id == row.market_data_id))).one()
    return MadeSignal(**made), SeenMarket(**at._mapping)


async def _ledger(conn: AsyncConnection, order: OrderRow) -> Ledger:
    held = select(positions).where(
        positions.c.mode == order.mode, positions.c.market == order.market
    )
    row = (await conn.execute(held)).one_or_none()
    holding = Holding() if row is None else position_store.as_holding(row)
    worth = (
        select(equity.c.ts, (equity.c.cash_krw + equity.c.positions_krw).label("krw"))
        .where(equity.c.mode == order.mode, equity.c.ts >= order.updated_at)
        .order_by(equity.c.ts)
        .limit(1)
    )
    after = (await conn.execute(worth)).one_or_none()
    return Ledger(
        holding=holding,
        equity_at=None if after is None else after.ts,
        equity_krw=None if after is None else after.krw,
    )
