"""Queries on fills and positions, and the portfolio they add up to.

Every query names the mode: a paper position never mixes with a live one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain import accounting
from jobs.domain.accounting import Books, portfolio_of, prices_of, profit, worth
from jobs.domain.ledger import EXACT, ZERO, Fill, Holding
from jobs.domain.order_states import OPEN
from jobs.domain.portfolio import Mode, Money, OpenOrder, Portfolio
from jobs.domain.risk import day_start
from jobs.store import equity as equity_store
from jobs.store import orders as order_store
from jobs.store.db import Database
from jobs.store.tables import fills, orders, positions
from jobs.store.tables import position_settlements as down


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFill:
    """A fill as the table has it, with the profit it realized."""

    id: int
    fill: Fill
    realized_krw: Decimal


async def fills_of(conn: AsyncConnection, order_id: int) -> list[StoredFill]:
    """The stored fills of an order, in the order they were booked."""
    statement = (
        select(fills, orders.c.side)
        .join(orders, orders.c.id == fills.c.order_id)
        .where(fills.c.order_id == order_id)
        .order_by(fills.c.id)
    )
    return [
        StoredFill(
            id=row.id,
            realized_krw=row.realized_krw,
            fill=Fill(
                uuid=row.uuid,
                side=row.side,
                price=row.price,
                volume=row.volume,
                funds=row.funds,
                fee=row.fee,
                ts=row.ts,
            ),
        )
        for row in await conn.execute(statement)
    ]


async def add_fill(conn: AsyncConnection, order_id: int, fill: Fill, realized: Decimal) -> None:
    """Store a fill with the profit it realized; the same fill twice is refused by its key."""
    await conn.execute(
        insert(fills).values(
            order_id=order_id,
            uuid=fill.uuid,
            price=fill.price,
            volume=fill.volume,
            funds=fill.funds,
            fee=fill.fee,
            realized_krw=realized,
            ts=fill.ts,
        )
    )


async def set_fee(conn: AsyncConnection, fill_id: int, *, fee: Decimal, realized: Decimal) -> None:
    """Correct the fee of a fill once the venue has stated more of it."""
    await conn.execute(
        update(fills).where(fills.c.id == fill_id).values(fee=fee, realized_krw=realized)
    )


async def lock(conn: AsyncConnection, mode: Mode, market: str, at: datetime) -> Holding:
    """Read a position and keep everybody else from changing it until the transaction ends."""
    await conn.execute(
        upsert(positions)
        .values(mode=mode, market=market, volume=0, avg_price=0, updated_at=at)
        .on_conflict_do_nothing()
    )
    statement = (
        select(positions)
        .where(positions.c.mode == mode, positions.c.market == market)
        .with_for_update()
    )
    return as_holding((await conn.execute(statement)).one())


async def save(
    conn: AsyncConnection, mode: Mode, market: str, holding: Holding, *, at: datetime
) -> None:
    """Store a position that `lock` has read."""
    await conn.execute(
        update(positions)
        .where(positions.c.mode == mode, positions.c.market == market)
        .values(
            volume=holding.volume,
            avg_price=holding.avg_price,
            realized_krw=holding.realized_krw,
            high_price=holding.high_price,
            opened_at=holding.opened_at,
            updated_at=at,
        )
    )


async def raise_high(conn: AsyncConnection, mode: Mode, market: str, price: Decimal) -> bool:
    """Remember a price that is the highest since the position was opened; tell whether it was."""
    statement = (
        update(positions)
        .where(
            positions.c.mode == mode,
            positions.c.market == market,
            positions.c.volume > 0,
            positions.c.high_price < price,
        )
        .values(high_price=price)
    )
    return (await conn.execute(statement)).rowcount > 0


async def held(conn: AsyncConnection, mode: Mode) -> dict[str, Holding]:
    """Every open position by market."""
    return (await _held(conn, mode))[0]


async def is_known(conn: AsyncConnection, mode: Mode, market: str) -> bool:
    """Whether anything was ever held in `market`."""
    statement = select(positions.c.market).where(
        positions.c.mode == mode, positions.c.market == market
    )
    return (await conn.execute(statement)).first() is not None


async def moved_markets(conn: AsyncConnection, mode: Mode, since: datetime) -> list[str]:
    """Markets that are held, or whose books changed since then."""
    statement = select(positions.c.market).where(
        positions.c.mode == mode, or_(positions.c.volume > 0, positions.c.updated_at >= since)
    )
    return list((await conn.execute(statement)).scalars())


async def missing(conn: AsyncConnection, mode: Mode, money: Money) -> dict[str, Decimal]:
    """What the books hold and the venue did not have at `money.at`, by market."""
    holdings, moved_at = await _held(conn, mode)
    return accounting.missing(holdings, money, moved_at)


async def _held(
    conn: AsyncConnection, mode: Mode
) -> tuple[dict[str, Holding], dict[str, datetime]]:
    """Every open position by market, and when its books last changed."""
    statement = select(positions).where(positions.c.mode == mode, positions.c.volume > 0)
    rows = (await conn.execute(statement)).all()
    holdings = {row.market: as_holding(row) for row in rows}
    return holdings, {row.market: row.updated_at for row in rows}


async def engaged_markets(db: Database, modes: Collection[Mode]) -> frozenset[str]:
    """The markets in which any of `modes` holds something or has an unfinished order."""
    holding = select(positions.c.market).where(positions.c.mode.in_(modes), positions.c.volume > 0)
    ordered = select(orders.c.market).where(
        orders.c.mode.in_(modes), orders.c.state.in_([state.value for state in OPEN])
    )
    async with db.begin() as conn:
        return frozenset((await conn.execute(holding.union(ordered))).scalars())


async def ledger_differences(conn: AsyncConnection, mode: Mode) -> dict[str, Decimal]:
    """Markets whose position is not the sum of its fills, less what a person had written down,
    with the difference; none when well.

    Reads every fill of the mode.
    """
    signed = func.sum(fills.c.volume).filter(orders.c.side == "bid")
    sold = func.sum(fills.c.volume).filter(orders.c.side == "ask")
    booked = (
        select(
            orders.c.market,
            (func.coalesce(signed, 0) - func.coalesce(sold, 0)).label("volume"),
        )
        .join(fills, fills.c.order_id == orders.c.id)
        .where(orders.c.mode == mode)
        .group_by(orders.c.market)
        .subquery()
    )
    settled = (
        select(
            down.c.market,
            func.sum(down.c.volume_before - down.c.volume_after).label("volume"),
        )
        .where(down.c.mode == mode)
        .group_by(down.c.market)
        .subquery()
    )
    kept = select(positions).where(positions.c.mode == mode).subquery()
    statement = select(
        func.coalesce(kept.c.market, booked.c.market).label("market"),
        (
            func.coalesce(kept.c.volume, 0)
            - func.coalesce(booked.c.volume, 0)
            + func.coalesce(settled.c.volume, 0)
        ).label("off"),
    ).select_from(
        kept.join(booked, kept.c.market == booked.c.market, full=True).outerjoin(
            settled, settled.c.market == func.coalesce(kept.c.market, booked.c.market)
        )
    )
    return {row.market: row.off for row in await conn.execute(statement) if row.off}


async def portfolio(
    conn: AsyncConnection,
    mode: Mode,
    market: str,
    *,
    money: Money,
    prices: Mapping[str, Decimal],
    now: datetime,
) -> Portfolio:
    """Everything risk asks before an order in `market`, as this transaction sees it.

    Computed from stored orders, fills and equity, so that a restart resets nothing.
    """
    start = day_start(now)
    newest = await equity_store.newest(conn, mode)
    holdings, moved_at = await _held(conn, mode)
    known = Books(
        holdings=holdings,
        moved_at=moved_at,
        realized_krw=await _realized(conn, mode),
        peak_krw=ZERO if newest is None else newest.peak_krw,
        opened_krw=await equity_store.opened_krw(conn, mode, start),
        unseen_krw=await order_store.unseen_cost(conn, mode, money.at),
        orders_today=await order_store.count_since(conn, mode, start),
        open_orders=tuple(_at_worst(o) for o in await order_store.unfinished(conn, mode)),
        last_order_at=await order_store.last_order_at(conn, mode, market),
        exit_refused_at=await order_store.exit_refused_at(conn, mode, market),
        entries=await _entries(conn, mode, market),
    )
    return portfolio_of(known, market, money=money, prices=prices)


async def _entries(conn: AsyncConnection, mode: Mode, market: str) -> int:
    """How many purchases the position in `market` has had since it was opened."""
    statement = (
        select(func.count(func.distinct(fills.c.order_id)))
        .join(orders, orders.c.id == fills.c.order_id)
        .join(
            positions, (positions.c.mode == orders.c.mode) & (positions.c.market == orders.c.market)
        )
        .where(
            orders.c.mode == mode,
            orders.c.market == market,
            orders.c.side == "bid",
            fills.c.ts >= positions.c.opened_at,
        )
    )
    return (await conn.execute(statement)).scalar_one()


async def add_equity(
    conn: AsyncConnection, mode: Mode, *, money: Money, prices: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Store what the account is worth at `money.at`; positions without a price count at cost.

    Coins that the venue does not have count in nothing; returns how many are missing, by market.
    """
    known, moved_at = await _held(conn, mode)
    absent = accounting.missing(known, money, moved_at)
    holdings = accounting.covered(known, absent)
    valued = prices_of(holdings, prices)
    pnl = profit(holdings, valued, await _realized(conn, mode))
    await equity_store.add(
        conn,
        mode,
        at=money.at,
        cash_krw=money.total_krw,
        positions_krw=worth(holdings, valued),
        pnl_krw=pnl,
    )
    return absent


async def _realized(conn: AsyncConnection, mode: Mode) -> Decimal:
    statement = select(func.coalesce(func.sum(positions.c.realized_krw), 0)).where(
        positions.c.mode == mode
    )
    return Decimal((await conn.execute(statement)).scalar_one())


def as_holding(row: Row[Any]) -> Holding:
    """A row of the table as what it holds."""
    return Holding(
        volume=row.volume,
        avg_price=row.avg_price,
        realized_krw=row.realized_krw,
        high_price=row.high_price,
        opened_at=row.opened_at,
    )


def _at_worst(order: order_store.OrderRow) -> OpenOrder:
    spent = EXACT.add(order.executed_funds, order.paid_fee)
    left = ZERO if order.volume is None else EXACT.subtract(order.volume, order.executed_volume)
    return OpenOrder(
        identifier=order.identifier,
        market=order.market,
        side=order.side,
        state=order.state,
        reserved_krw=max(EXACT.subtract(order.reserved_krw, spent), ZERO),
        volume=max(left, ZERO),
    )
