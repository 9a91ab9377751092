"""What the venue shows of an order → the tables, in one transaction, any number of times.

A look may adopt an unknown order, book new fills with their fees, move the position and end the
order. The same look again changes nothing; an older look than the newest one changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import BadData
from jobs.domain import ledger, order_states
from jobs.domain.ledger import EXACT, ZERO, Fill
from jobs.domain.order_states import FINAL, State
from jobs.orders.account import TradingAccount
from jobs.store import order_events
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.order_events import Note
from jobs.store.orders import OrderRow
from jobs.store.positions import StoredFill
from jobs.upbit.wire import Order, Trade

CLOCK_MARGIN = timedelta(minutes=10)
"""How far the venue's clock may be behind ours when "created after our intent" is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An order after a look. `is_complete`: every fill that the venue counts is stored."""

    before: OrderRow
    order: OrderRow
    fills: tuple[Fill, ...] = ()
    is_complete: bool = True

    @property
    def rows(self) -> int:
        """How many rows the look wrote, as far as a run counts."""
        return len(self.fills) + (self.before.state is not self.order.state)


async def settle(desk: TradingAccount, order_id: int, seen: Order) -> Settled:
    """Write what `seen` proves.

    Raises BadData when `seen` cannot be that order; then nothing is written.
    """
    at = desk.clock()
    async with desk.db.begin() as conn:
        before = await order_store.lock(conn, order_id)
        settled = await _settle(conn, before, seen, at)
        await _close_signal(conn, settled, is_twin=desk.is_twin)
    _tell(settled)
    return settled


def contradiction(order: OrderRow, seen: Order) -> str | None:
    """Why `seen` cannot be what became of `order`; None when it can."""
    pairs: Sequence[tuple[str, object, object]] = (
        ("identifier", order.identifier, seen.identifier),
        ("uuid", order.uuid, seen.uuid),
        ("market", order.market, seen.market),
        ("side", order.side, seen.side),
        ("ord_type", order.ord_type, seen.ord_type),
        ("price", order.price, seen.price),
        ("volume", order.volume, seen.volume),
    )
    for name, ours, theirs in pairs:
        if ours is not None and theirs is not None and ours != theirs:
            return f"{name} is {theirs}, not {ours}"
    if seen.created_at < order.created_at - CLOCK_MARGIN:
        return f"it was created at {seen.created_at.isoformat()}, before the intent"
    return None


async def _settle(conn: AsyncConnection, before: OrderRow, seen: Order, at: datetime) -> Settled:
    if before.state in FINAL:
        return Settled(before=before, order=before)
    if (why := contradiction(before, seen)) is not None:
        raise BadData("not the order that was sent", identifier=before.identifier, why=why)
    order = await _take_over(conn, before, seen, at)
    order, fresh, is_complete = await _book(conn, order, seen, at)
    if is_complete and seen.state in {"done", "cancel"}:
        order = await _finish(conn, order, seen, at)
    elif order.state is before.state and not fresh:
        await order_events.note(conn, order.id, _note("look", seen, at), fold=True)
    return Settled(before=before, order=order, fills=fresh, is_complete=is_complete)


async def _take_over(conn: AsyncConnection, order: OrderRow, seen: Order, at: datetime) -> OrderRow:
    """The venue has it: from `sent` or `unknown` to `wait`."""
    if order.state is State.WAIT:
        return order
    arrow = order_states.accept if order.state is State.SENT else order_states.adopt
    return await order_store.move(
        conn, order, arrow, _note(f"{arrow.name}ed", seen, at), uuid=seen.uuid
    )


async def _close_signal(conn: AsyncConnection, settled: Settled, *, is_twin: bool) -> None:
    """A signal is executed once the venue has its order."""
    order = settled.order
    was_taken_over = settled.before.state not in FINAL and settled.before.state is not State.WAIT
    if was_taken_over and order.signal_id is not None:
        reason = f"order {order.identifier}"
        await order_store.close_signal(conn, order.signal_id, "executed", reason, is_twin=is_twin)


async def _finish(conn: AsyncConnection, order: OrderRow, seen: Order, at: datetime) -> OrderRow:
    arrow = order_states.complete if seen.state == "done" else order_states.end
    reason = None
    if seen.state == "cancel" and order.cancel_requested_at is not None:
        reason = "cancelled by the daemon"
    return await order_store.move(conn, order, arrow, _note("final", seen, at), reason=reason)


async def _book(
    conn: AsyncConnection, order: OrderRow, seen: Order, at: datetime
) -> tuple[OrderRow, tuple[Fill, ...], bool]:
    """Store the fills that are new, spread the fee anew over all, move the position."""
    stored = await position_store.fills_of(conn, order.id)
    trades = {trade.uuid: trade for trade in seen.trades or () if trade.volume > 0}
    if _is_outdated(stored, trades.keys(), seen.paid_fee):
        return order, (), False
    known = {each.fill.uuid for each in stored}
    new = [trade for trade in trades.values() if trade.uuid not in known]
    new.sort(key=lambda trade: trade.ts)  # of one instant: as the venue lists them
    funds = [*(each.fill.funds for each in stored), *(trade.funds for trade in new)]
    fees = ledger.split_fee(seen.paid_fee, funds)
    fresh = tuple(
        _fill(order, trade, fee) for trade, fee in zip(new, fees[len(stored) :], strict=True)
    )
    await _move_position(conn, order, stored, fees, fresh, at)
    if fresh:
        await order_events.note(conn, order.id, _note("fills", seen, at))
    volume = _sum([*(e.fill.volume for e in stored), *(t.volume for t in new)])
    sums = (volume, _sum(funds), _sum(fees))
    if sums != (order.executed_volume, order.executed_funds, order.paid_fee):
        order = await order_store.set_executed(
            conn, order, volume=sums[0], funds=sums[1], fee=sums[2]
        )
    return order, fresh, volume == seen.executed_volume


def _is_outdated(stored: list[StoredFill], seen: Collection[str], paid_fee: Decimal) -> bool:
    """Whether more is stored than this look shows: then it is older, or has no trades at all."""
    fees = _sum([each.fill.fee for each in stored])
    return fees > paid_fee or any(each.fill.uuid not in seen for each in stored)


async def _move_position(
    conn: AsyncConnection,
    order: OrderRow,
    stored: list[StoredFill],
    fees: list[Decimal],
    fresh: tuple[Fill, ...],
    at: datetime,
) -> None:
    changed = [(e, fee) for e, fee in zip(stored, fees, strict=False) if e.fill.fee != fee]
    if not changed and not fresh:
        return
    holding = await position_store.lock(conn, order.mode, order.market, at)
    for each, fee in changed:
        realized = EXACT.add(each.realized_krw, EXACT.subtract(each.fill.fee, fee))
        await position_store.set_fee(conn, each.id, fee=fee, realized=realized)
        holding = ledger.refee(holding, before=each.fill.fee, after=fee)
    for fill in fresh:
        holding, realized = ledger.book(holding, fill)
        await position_store.add_fill(conn, order.id, fill, realized)
    await position_store.save(conn, order.mode, order.market, holding, at=at)


def _fill(order: OrderRow, trade: Trade, fee: Decimal) -> Fill:
    return Fill(
        uuid=trade.uuid,
        side=order.side,  # whatever side took, it is our order that was filled
        price=trade.price,
        volume=trade.volume,
        funds=trade.funds,
        fee=fee,
        ts=trade.ts,
    )


def _sum(amounts: list[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def _note(kind: str, seen: Order, at: datetime) -> Note:
    detail = {
        "uuid": seen.uuid,
        "state": seen.state,
        "executed_volume": str(seen.executed_volume),
        "paid_fee": str(seen.paid_fee),
        "trades": None if seen.trades is None else len(seen.trades),
    }
    return Note(kind=kind, at=at, detail=detail)


def _tell(settled: Settled) -> None:
    order = settled.order
    bound = logger.bind(
        order_id=order.id, identifier=order.identifier, market=order.market, side=order.side
    )
    for fill in settled.fills:
        bound.bind(
            event="order.fill",
            price=str(fill.price),
            volume=str(fill.volume),
            funds=str(fill.funds),
            fee=str(fill.fee),
        ).info("Order filled")
    if settled.before.state is not order.state:
        bound.bind(
            event="order.state",
            from_state=settled.before.state.value,
            state=order.state.value,
            executed_volume=str(order.executed_volume),
        ).info("Order changed state")
