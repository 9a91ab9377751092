"""What becomes of orders that were sent: looking, adopting, burying, cancelling.

`tend` takes an order in any open state one step further by evidence alone. It may be called any
number of times, by a process that did not send the order as well.
"""

from datetime import datetime

from loguru import logger

from jobs.core.errors import JobError, Refused
from jobs.core.job import Incident
from jobs.domain import order_states
from jobs.domain.exit_rules import rests_at_most_s
from jobs.domain.order_states import State
from jobs.orders.account import TradingAccount
from jobs.orders.placement import doubt, unknown_incident_key, withdraw
from jobs.orders.settlement import CLOCK_MARGIN, Settled, settle
from jobs.store import order_events
from jobs.store import orders as order_store
from jobs.store.order_events import Note
from jobs.store.orders import NEVER_ARRIVED, OrderRow
from jobs.upbit.wire import Order

CANCEL_AGAIN_S = 30
FLATTEN_GRACE_S = 60
"""How long an intent of a person's `flatten`, which another process runs, is left alone."""


async def tend(desk: TradingAccount, order: OrderRow, *, timeout_s: float) -> int:
    """Take an open order as far as evidence goes; return how many rows that wrote.

    An intent here has nobody who will send it: it is withdrawn. A `sent` order's sender is gone:
    it is unknown until seen. A waiting order older than `timeout_s` is asked to cancel.
    """
    if order.state is State.INTENT:
        return await _orphan(desk, order)
    rows = 0
    if order.state is State.SENT:
        order = await doubt(desk, order, None)
        rows += 1
    if order.state is State.UNKNOWN:
        return rows + await investigate(desk, order)
    settled = await follow(desk, order)
    if settled is None:
        return rows
    rows += settled.rows
    if settled.order.state is State.WAIT and _is_overdue(settled.order, desk.clock(), timeout_s):
        rows += await cancel(desk, settled.order)
    return rows


async def follow(desk: TradingAccount, order: OrderRow) -> Settled | None:
    """Look at an order that the venue has accepted and write what the look proves.

    None when the venue does not know it any more; a person hears of that.
    """
    seen = await _ask(desk, order)
    if seen is None:
        await _note(desk, order, "look.lost", {}, fold=True)
        await desk.notifier.notify(_lost(order, "the venue accepted it and does not know it now"))
        return None
    settled = await settle(desk, order.id, seen)
    if seen.state in {"done", "cancel"} and not settled.is_complete:
        logger.bind(
            event="order.incomplete", identifier=order.identifier, market=order.market
        ).warning("The venue ended an order without showing all of its fills")
    return settled


async def investigate(desk: TradingAccount, order: OrderRow) -> int:
    """Look for an unknown order; adopt it when found, bury it when it can be nowhere.

    Buried means: not found by its identifier on enough looks over enough time, all of them stored,
    and then in neither the open nor the closed list.
    """
    if (seen := await _ask(desk, order)) is None:
        await _note(desk, order, "look.absent", {"by": "identifier"})
        async with desk.db.begin() as conn:
            looks = await order_events.looks(conn, order.id)
        if not desk.patience.is_over(looks):
            return 0
        if (seen := await _listed(desk, order)) is None:
            return await _bury(desk, order, looks)
    settled = await settle(desk, order.id, seen)
    await _resolved(desk, order)
    return settled.rows


async def cancel(desk: TradingAccount, order: OrderRow) -> int:
    """Ask the venue to cancel, then look what became of the order; return rows written.

    A refusal is no failure: the order has ended by itself, as the look tells.
    """
    kind, detail = "cancel.accepted", {}
    try:
        await desk.exchange.cancel(uuid=order.uuid, identifier=order.identifier)
    except Refused as exc:
        kind, detail = "cancel.refused", {"name": exc.name}
    except JobError as exc:
        await _note(desk, order, "cancel.failed", _failure(exc), fold=True)
        raise
    at = desk.clock()
    async with desk.db.begin() as conn:
        if kind == "cancel.accepted":
            await order_store.set_cancel_requested(conn, order.id, at)
        await order_events.note(conn, order.id, Note(kind=kind, at=at, detail=detail), fold=True)
    settled = await follow(desk, order)
    return 1 if settled is None else 1 + settled.rows


async def _orphan(desk: TradingAccount, order: OrderRow) -> int:
    age_s = (desk.clock() - order.created_at).total_seconds()
    if order.purpose == "flatten" and age_s < FLATTEN_GRACE_S:
        return 0
    await withdraw(desk, order, "interrupted before sending")
    return 1


async def _ask(desk: TradingAccount, order: OrderRow) -> Order | None:
    """One look at an order by the best name it has; a failed look stands in its story."""
    try:
        if order.uuid is not None:
            return await desk.exchange.order(uuid=order.uuid)
        return await desk.exchange.order(identifier=order.identifier)
    except JobError as exc:
        await _note(desk, order, "look.failed", _failure(exc), fold=True)
        raise


async def _listed(desk: TradingAccount, order: OrderRow) -> Order | None:
    """The order from the open or closed lists, with its trades."""
    listed = await desk.exchange.open_orders(order.market)
    listed += await desk.exchange.closed_orders(order.market, order.created_at - CLOCK_MARGIN)
    found = next((seen for seen in listed if seen.identifier == order.identifier), None)
    await _note(desk, order, "look.lists", {"listed": len(listed), "found": found is not None})
    if found is None:
        return None
    return await desk.exchange.order(uuid=found.uuid) or found


async def _bury(desk: TradingAccount, order: OrderRow, looks: list[datetime]) -> int:
    over_s = (looks[-1] - looks[0]).total_seconds()
    reason = (
        f"{NEVER_ARRIVED}: not found in {len(looks)} looks over {over_s:.0f} s, "
        "nor in the open and closed lists"
    )
    note = Note(kind="buried", at=desk.clock(), detail={"reason": reason})
    async with desk.db.begin() as conn:
        order = await order_store.move(conn, order, order_states.bury, note, reason=reason)
    logger.bind(
        event="order.state",
        order_id=order.id,
        identifier=order.identifier,
        market=order.market,
        side=order.side,
        from_state="unknown",
        state=order.state.value,
        reason=reason,
    ).info("Order changed state")
    await _resolved(desk, order)
    return 1


async def _resolved(desk: TradingAccount, order: OrderRow) -> None:
    """Close the market's incident once no order of it is unknown."""
    async with desk.db.begin() as conn:
        left = await order_store.unfinished(conn, desk.mode)
    if not any(o.market == order.market and o.state is State.UNKNOWN for o in left):
        await desk.notifier.resolve(unknown_incident_key(order.market))


def _is_overdue(order: OrderRow, now: datetime, timeout_s: float) -> bool:
    if order.cancel_requested_at is not None:
        return (now - order.cancel_requested_at).total_seconds() >= CANCEL_AGAIN_S
    limit_s = rests_at_most_s(order.side, timeout_s)
    return (now - order.created_at).total_seconds() >= limit_s


async def _note(
    desk: TradingAccount,
    order: OrderRow,
    kind: str,
    detail: dict[str, object],
    *,
    fold: bool = False,
) -> None:
    async with desk.db.begin() as conn:
        line = Note(kind=kind, at=desk.clock(), detail=detail)
        await order_events.note(conn, order.id, line, fold=fold)


def _failure(exc: JobError) -> dict[str, object]:
    return {"error_type": type(exc).__name__, "error": exc.args[0]}


def _lost(order: OrderRow, why: str) -> Incident:
    return Incident(
        kind="reconcile_mismatch",
        severity="critical",
        incident=f"reconcile_mismatch:order:{order.identifier}",
        title=f"Order {order.identifier} is missing at the venue",
        message=f"{order.identifier} in {order.market}: {why}",
        job="orders",
        market=order.market,
        order_id=order.id,
        identifier=order.identifier,
    )
