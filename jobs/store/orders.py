"""Queries on orders, their events and the signals they came from.

Every write of a state names the state it expects: whoever comes second changes nothing and gets
`Overtaken`. Every query that chooses among orders names the mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Transient
from jobs.domain.order_states import OPEN, Arrow, State
from jobs.domain.portfolio import Mode, Purpose, SignalFact, Wish
from jobs.domain.risk import Approved
from jobs.store import order_events
from jobs.store.order_events import Note
from jobs.store.tables import order_events as events_table
from jobs.store.tables import orders, signals
from jobs.upbit.wire import OrderRequest, OrdType, Side

NEVER_SENT = "never sent"
"""How the reason of an order begins whose request certainly never reached the venue."""

NEVER_ARRIVED = "never arrived"
"""How the reason of an order begins whose request was looked for, and found nowhere."""


class Overtaken(Transient):
    """Another process or run moved the order first; what it is now stands in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order as the table has it."""

    id: int
    mode: Mode
    identifier: str
    uuid: str | None
    signal_id: int | None
    purpose: Purpose
    market: str
    side: Side
    ord_type: OrdType
    time_in_force: str | None
    price: Decimal | None
    volume: Decimal | None
    reserved_krw: Decimal
    state: State
    executed_volume: Decimal
    executed_funds: Decimal
    paid_fee: Decimal
    reason: str | None
    epoch: int
    cancel_requested_at: datetime | None
    created_at: datetime
    updated_at: datetime


def as_row(row: Row[Any]) -> OrderRow:
    """A row of the table, typed."""
    return OrderRow(**{**row._mapping, "state": State(row.state)})


async def insert_intent(
    conn: AsyncConnection, wish: Wish, approved: Approved, *, mode: Mode, epoch: int, at: datetime
) -> OrderRow:
    """Write the intent and the first line of its story; the risk is reserved once this commits."""
    request = approved.request
    statement = insert(orders).values(
        mode=mode,
        identifier=request.identifier,
        signal_id=None if wish.signal is None else wish.signal.id,
        purpose=wish.purpose,
        market=request.market,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        price=request.price,
        volume=request.volume,
        reserved_krw=approved.reserved_krw,
        epoch=epoch,
        created_at=at,
        updated_at=at,
    )
    row = as_row((await conn.execute(statement.returning(orders))).one())
    detail = {"why": wish.reason, "verdict": approved.reason, "smp_type": request.smp_type}
    await order_events.write(
        conn, row.id, Note(kind="intent", at=at, detail=detail), to_state=State.INTENT
    )
    return row


async def move(
    conn: AsyncConnection,
    order: OrderRow,
    arrow: Arrow,
    note: Note,
    *,
    uuid: str | None = None,
    reason: str | None = None,
) -> OrderRow:
    """Take one arrow of the state machine and write it into the order's story.

    Raises Overtaken when the row is not in the state that `order` shows.
    """
    target = arrow(order.state)
    values: dict[str, object] = {"state": target.value, "updated_at": note.at}
    if uuid is not None:
        values["uuid"] = uuid
    if reason is not None:
        values["reason"] = reason
    statement = (
        update(orders)
        .where(orders.c.id == order.id, orders.c.state == arrow.source.value)
        .values(**values)
        .returning(orders)
    )
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        raise Overtaken("the order has moved on", identifier=order.identifier, arrow=arrow.name)
    await order_events.write(conn, order.id, note, from_state=order.state, to_state=target)
    return as_row(row)


async def set_executed(
    conn: AsyncConnection, order: OrderRow, *, volume: Decimal, funds: Decimal, fee: Decimal
) -> OrderRow:
    """Store the sums of an order's fills."""
    statement = (
        update(orders)
        .where(orders.c.id == order.id)
        .values(executed_volume=volume, executed_funds=funds, paid_fee=fee)
        .returning(orders)
    )
    return as_row((await conn.execute(statement)).one())


async def set_cancel_requested(conn: AsyncConnection, order_id: int, at: datetime) -> None:
    """Remember that the venue was asked to cancel."""
    await conn.execute(
        update(orders).where(orders.c.id == order_id).values(cancel_requested_at=at, updated_at=at)
    )


async def lock(conn: AsyncConnection, order_id: int) -> OrderRow:
    """Read an order and keep everybody else from changing it until the transaction ends."""
    statement = select(orders).where(orders.c.id == order_id).with_for_update()
    return as_row((await conn.execute(statement)).one())


async def unfinished(conn: AsyncConnection, mode: Mode) -> list[OrderRow]:
    """Every order that may still change the account, oldest first."""
    statement = (
        select(orders)
        .where(orders.c.state.in_([state.value for state in OPEN]), orders.c.mode == mode)
        .order_by(orders.c.created_at, orders.c.id)
    )
    return [as_row(row) for row in await conn.execute(statement)]


async def by_identifier(
    conn: AsyncConnection, mode: Mode, identifiers: Sequence[str]
) -> dict[str, OrderRow]:
    """The orders of `mode` that have one of `identifiers`."""
    statement = select(orders).where(orders.c.identifier.in_(identifiers), orders.c.mode == mode)
    found = [as_row(row) for row in await conn.execute(statement)]
    return {row.identifier: row for row in found}


async def doubted_markets(conn: AsyncConnection, mode: Mode, since: datetime) -> dict[str, bool]:
    """Markets with an order made since then that was ever unknown, and whether one still is."""
    statement = (
        select(orders.c.market, func.bool_or(orders.c.state == State.UNKNOWN).label("still"))
        .join(events_table, events_table.c.order_id == orders.c.id)
        .where(
            orders.c.mode == mode,
            orders.c.created_at >= since,
            events_table.c.to_state == State.UNKNOWN,
        )
        .group_by(orders.c.market)
    )
    return {row.market: row.still for row in await conn.execute(statement)}


async def buried(conn: AsyncConnection, mode: Mode, since: datetime) -> list[OrderRow]:
    """Orders given up since then because they were found nowhere."""
    statement = select(orders).where(
        orders.c.mode == mode,
        orders.c.created_at >= since,
        orders.c.state == State.REFUSED,
        orders.c.reason.startswith(NEVER_ARRIVED),
    )
    return [as_row(row) for row in await conn.execute(statement)]


async def newest_sale(conn: AsyncConnection, mode: Mode, market: str) -> OrderRow | None:
    """The newest order that was to sell in `market`; None when there was none."""
    statement = (
        select(orders)
        .where(orders.c.mode == mode, orders.c.market == market, orders.c.side == "ask")
        .order_by(orders.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(statement)).one_or_none()
    return None if row is None else as_row(row)


async def count_since(conn: AsyncConnection, mode: Mode, since: datetime) -> int:
    """How many orders the venue took since then, or may have taken; refused ones do not count.

    An exit that is refused again and again must not use up the day's entries (fault A1).
    """
    statement = (
        select(func.count())
        .select_from(orders)
        .where(
            orders.c.mode == mode,
            orders.c.created_at >= since,
            orders.c.purpose != "foreign",
            orders.c.state != State.REFUSED,
        )
    )
    return (await conn.execute(statement)).scalar_one()


async def last_order_at(conn: AsyncConnection, mode: Mode, market: str) -> datetime | None:
    """When the newest order of `market` was made that the venue has seen, or may have."""
    statement = (
        select(orders.c.created_at)
        .where(
            orders.c.market == market,
            orders.c.mode == mode,
            _not_given_up(NEVER_SENT, NEVER_ARRIVED),
        )
        .order_by(orders.c.created_at.desc())
        .limit(1)
    )
    return (await conn.execute(statement)).scalar_one_or_none()


async def exit_refused_at(conn: AsyncConnection, mode: Mode, market: str) -> datetime | None:
    """When the newest sale of `market` was refused, if the newest sale was."""
    statement = (
        select(orders.c.state, orders.c.updated_at)
        .where(
            orders.c.market == market,
            orders.c.mode == mode,
            orders.c.side == "ask",
            _not_given_up(NEVER_SENT, NEVER_ARRIVED),
        )
        .order_by(orders.c.created_at.desc())
        .limit(1)
    )
    row = (await conn.execute(statement)).one_or_none()
    return row.updated_at if row is not None and row.state == State.REFUSED else None


async def unseen_cost(conn: AsyncConnection, mode: Mode, since: datetime) -> Decimal:
    """The most that bids can cost which balances of the instant `since` do not show yet."""
    hidden = or_(
        orders.c.state.in_([State.INTENT, State.SENT, State.UNKNOWN]),
        and_(orders.c.created_at >= since, orders.c.state != State.REFUSED),
    )
    statement = select(func.coalesce(func.sum(orders.c.reserved_krw), 0)).where(
        orders.c.mode == mode, orders.c.side == "bid", hidden
    )
    return Decimal((await conn.execute(statement)).scalar_one())


def _not_given_up(*beginnings: str) -> ColumnElement[bool]:
    """All orders but those refused for a reason that begins so."""
    reason = func.coalesce(orders.c.reason, "")
    given_up = or_(*(reason.startswith(beginning) for beginning in beginnings))
    return not_(and_(orders.c.state == State.REFUSED, given_up))


async def new_signals(conn: AsyncConnection) -> list[SignalFact]:
    """Signals nobody has acted on, newest first, one a market: a newer one replaces an older."""
    statement = (
        select(
            signals.c.id,
            signals.c.market,
            signals.c.action,
            signals.c.confidence,
            signals.c.created_at,
        )
        .where(signals.c.status == "new")
        .order_by(signals.c.created_at.desc(), signals.c.id.desc())
    )
    return [SignalFact(**row._mapping) for row in await conn.execute(statement)]


async def new_for_twin(conn: AsyncConnection, since: datetime) -> list[SignalFact]:
    """Signals made since then that the paper twin has not acted on, newest first."""
    c = signals.c
    statement = (
        select(c.id, c.market, c.action, c.confidence, c.created_at)
        .where(c.created_at >= since, c.shadow_status.is_(None))
        .order_by(c.created_at.desc(), c.id.desc())
    )
    return [SignalFact(**row._mapping) for row in await conn.execute(statement)]


async def close_signal(
    conn: AsyncConnection, signal_id: int, status: str, reason: str, *, is_twin: bool = False
) -> None:
    """Give a new signal its end: `executed`, `refused` or `expired`; one that has it keeps it.

    A twin's end stands beside the account's own.
    """
    if is_twin:
        await conn.execute(
            update(signals)
            .where(signals.c.id == signal_id, signals.c.shadow_status.is_(None))
            .values(shadow_status=status, shadow_reason=reason)
        )
        return
    await conn.execute(
        update(signals)
        .where(signals.c.id == signal_id, signals.c.status == "new")
        .values(status=status, status_reason=reason)
    )


async def has_order(conn: AsyncConnection, mode: Mode, signal_id: int) -> bool:
    """Whether an order of this signal is under way or was accepted; refused ones do not count."""
    statement = (
        select(orders.c.id)
        .where(
            orders.c.signal_id == signal_id,
            orders.c.mode == mode,
            orders.c.state != State.REFUSED,
        )
        .limit(1)
    )
    return (await conn.execute(statement)).first() is not None


def request_of(order: OrderRow, smp_type: str | None) -> OrderRequest:
    """The request that `order` stands for, from its row alone."""
    return OrderRequest(
        market=order.market,
        side=order.side,
        ord_type=order.ord_type,
        identifier=order.identifier,
        price=order.price,
        volume=order.volume,
        time_in_force=order.time_in_force,
        smp_type=smp_type,
    )
