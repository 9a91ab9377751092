"""From a wish to an answered request: intent committed, `sent` committed, one POST.

A request is sent once. What its answer proves is written down; when it proves nothing the order is
`unknown`, and only evidence (jobs/orders/tracking.py) resolves it. A process that dies anywhere in
between leaves a row that says how far it came.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import (
    Banned,
    JobError,
    NotSent,
    RateLimited,
    Refused,
    Unauthorized,
)
from jobs.core.job import Incident
from jobs.domain import order_states
from jobs.domain.order_form import smp_type
from jobs.domain.order_states import State
from jobs.domain.portfolio import Money, Rules, Wish
from jobs.domain.risk import Refusal, assess
from jobs.domain.settings import Settings
from jobs.orders.account import TradingAccount
from jobs.orders.settlement import contradiction, settle
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.order_events import Note
from jobs.store.orders import NEVER_SENT, OrderRow

if TYPE_CHECKING:
    from loguru import Logger

DUPLICATED = "duplicated_identifier"
BY_VENUE = "refused by the venue: "
NONCE_USED = "nonce_used"
"""The token was seen before: something replayed our request, so an order may exist."""


async def reserve(
    desk: TradingAccount, wish: Wish, rules: Rules, *, money: Money, prices: Mapping[str, Decimal]
) -> OrderRow | Refusal:
    """Judge `wish` and commit the intent, with its risk reserved, in one serializable step.

    A final refusal closes the wish's signal in the same step. Nothing has been sent yet.
    """
    now = desk.clock()

    async def work(conn: AsyncConnection) -> OrderRow | Refusal:
        signal = wish.signal
        if signal is not None and await order_store.has_order(conn, desk.mode, signal.id):
            return Refusal(limit="signal", reason="the signal has its order", final=False)
        lenient = Settings() if wish.side == "ask" else None  # a bad row must not bar an exit
        settings = await settings_store.read(conn, fallback=lenient)
        settings = desk.in_force(settings)
        portfolio = await position_store.portfolio(
            conn, desk.mode, wish.market, money=money, prices=prices, now=now
        )
        verdict = assess(wish, portfolio, settings, rules, now=now)
        if isinstance(verdict, Refusal):
            if signal is not None and verdict.final:
                await order_store.close_signal(
                    conn, signal.id, "refused", verdict.reason, is_twin=desk.is_twin
                )
            return verdict
        return await order_store.insert_intent(
            conn, wish, verdict, mode=desk.mode, epoch=desk.epoch, at=now
        )

    result = await desk.db.serializable(work)
    _tell_reserved(wish, result)
    return result


async def send(desk: TradingAccount, intent: OrderRow) -> OrderRow:
    """Send the order of a committed intent, once, and write down what the answer proves.

    Returns the order as the table has it then (`unknown` included). Raises NotSent, RateLimited
    and Banned once the order is refused as never sent, Unauthorized once it is refused.
    """
    order = await _mark_sent(desk, intent)
    if order.state is not State.SENT:
        return order
    try:
        seen = await desk.exchange.place(
            order_store.request_of(order, smp_type(order.time_in_force))
        )
    except (NotSent, RateLimited, Banned) as exc:
        await _refuse(desk, order, f"{NEVER_SENT}: {exc}")
        raise
    except Refused as exc:
        return await _refused(desk, order, exc)
    except JobError as exc:
        return await doubt(desk, order, exc)
    except Exception as exc:
        await doubt(desk, order, exc)
        raise
    return (await settle(desk, order.id, seen)).order


def refused_as(order: OrderRow) -> str | None:
    """The name by which the venue refused the order, if it did."""
    reason = order.reason or ""
    return reason.removeprefix(BY_VENUE) if reason.startswith(BY_VENUE) else None


async def withdraw(desk: TradingAccount, order: OrderRow, why: str) -> OrderRow:
    """Give up an intent that was never sent. Its signal stays new."""
    async with desk.db.begin() as conn:
        order = await _withdraw(desk, conn, order, why)
    _tell_state(order, "intent")
    return order


async def doubt(desk: TradingAccount, order: OrderRow, exc: Exception | None) -> OrderRow:
    """Nobody has said what became of a sent order: it is `unknown`, and a person hears of it."""
    at = desk.clock()
    cause = "the process that sent it stopped" if exc is None else f"{type(exc).__name__}: {exc}"
    async with desk.db.begin() as conn:
        note = Note(kind="post.unknown", at=at, detail={"cause": cause})
        order = await order_store.move(conn, order, order_states.doubt, note)
    _tell_state(order, "sent")
    await desk.notifier.notify(unknown_incident(order, f"was sent: {cause}"))
    return order


def unknown_incident_key(market: str) -> str:
    """The key under which unknown orders of `market` are told."""
    return f"order_unknown:{market}"


def unknown_incident(order: OrderRow, what: str) -> Incident:
    """What a person hears of an unknown order; those of one market are one alert."""
    market = order.market
    return Incident(
        kind="order_unknown",
        severity="warning",
        incident=unknown_incident_key(market),
        title=f"An order in {market} is unanswered",
        message=f"{order.identifier} {what}; no new exposure in {market} until the venue has shown "
        "what became of it",
        job="orders",
        market=market,
        order_id=order.id,
        identifier=order.identifier,
    )


async def _mark_sent(desk: TradingAccount, intent: OrderRow) -> OrderRow:
    """Commit `sent`, unless trading was halted since the intent: then withdraw it."""
    at = desk.clock()
    async with desk.db.begin() as conn:
        settings = await settings_store.read(conn, fallback=Settings())
        halted = desk.in_force(settings).halted
        if halted.stops(intent.side) and intent.purpose != "flatten":
            order = await _withdraw(desk, conn, intent, "halted")
        else:
            note = Note(kind="post", at=at, detail=_request_detail(intent))
            order = await order_store.move(conn, intent, order_states.send, note)
    if order.state is State.SENT:
        _bound(order).bind(event="order.sent").info("Sending an order")
    else:
        _tell_state(order, "intent")
    return order


async def _refused(desk: TradingAccount, order: OrderRow, exc: Refused) -> OrderRow:
    """A named refusal, except for the names that say something else."""
    if exc.name == DUPLICATED:
        return await _duplicated(desk, order, exc)
    if exc.name == NONCE_USED:
        return await doubt(desk, order, exc)
    order = await _refuse(desk, order, f"{BY_VENUE}{exc.name}")
    if isinstance(exc, Unauthorized):
        raise exc
    return order


async def _duplicated(desk: TradingAccount, order: OrderRow, exc: Refused) -> OrderRow:
    """Something exists under our identifier: adopt it if it is ours, else look again later."""
    try:
        seen = await desk.exchange.order(identifier=order.identifier)
    except JobError as trouble:
        return await doubt(desk, order, trouble)
    if seen is None:
        return await doubt(desk, order, exc)
    if (why := contradiction(order, seen)) is not None:
        return await _refuse(desk, order, f"the identifier belongs to another order: {why}")
    return (await settle(desk, order.id, seen)).order


async def _refuse(desk: TradingAccount, order: OrderRow, reason: str) -> OrderRow:
    """Write a refusal; the signal ends with it, unless the request never left."""
    at = desk.clock()
    async with desk.db.begin() as conn:
        present = await order_store.lock(conn, order.id)
        arrow = order_states.bury if present.state is State.UNKNOWN else order_states.reject
        note = Note(kind="post.refused", at=at, detail={"reason": reason})
        present = await order_store.move(conn, present, arrow, note, reason=reason)
        if present.signal_id is not None and not reason.startswith(NEVER_SENT):
            await order_store.close_signal(
                conn, present.signal_id, "refused", reason, is_twin=desk.is_twin
            )
    _tell_state(present, "sent")
    return present


async def _withdraw(
    desk: TradingAccount, conn: AsyncConnection, order: OrderRow, why: str
) -> OrderRow:
    reason = f"{NEVER_SENT}: {why}"
    note = Note(kind="withdrawn", at=desk.clock(), detail={"reason": reason})
    return await order_store.move(conn, order, order_states.withdraw, note, reason=reason)


def _request_detail(order: OrderRow) -> dict[str, object]:
    return {
        "ord_type": order.ord_type,
        "time_in_force": order.time_in_force,
        "price": None if order.price is None else str(order.price),
        "volume": None if order.volume is None else str(order.volume),
        "smp_type": smp_type(order.time_in_force),
    }


def _bound(order: OrderRow) -> "Logger":
    return logger.bind(
        order_id=order.id,
        identifier=order.identifier,
        market=order.market,
        side=order.side,
        purpose=order.purpose,
    )


def _tell_reserved(wish: Wish, result: OrderRow | Refusal) -> None:
    if isinstance(result, Refusal):
        logger.bind(
            event="risk.refused",
            market=wish.market,
            side=wish.side,
            purpose=wish.purpose,
            signal_id=None if wish.signal is None else wish.signal.id,
            limit=result.limit,
            reason=result.reason,
            final=result.final,
        ).info("Risk refused an order")
        return
    _bound(result).bind(
        event="order.intent",
        ord_type=result.ord_type,
        price=None if result.price is None else str(result.price),
        volume=None if result.volume is None else str(result.volume),
        why=wish.reason,
    ).info("Intending an order")


def _tell_state(order: OrderRow, from_state: str) -> None:
    _bound(order).bind(
        event="order.state",
        from_state=from_state,
        state=order.state.value,
        reason=order.reason,
    ).info("Order changed state")
