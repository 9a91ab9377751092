"""What a person is told of an exit that is due and not done: the cause, and what can be done."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from jobs.core.job import Incident
from jobs.domain.due_exits import DueExit
from jobs.domain.order_states import FINAL
from jobs.store.orders import OrderRow

_SELL_BY_HAND = "sell it in the exchange's own app, or wait: the daemon goes on trying"
_ADVICE: Mapping[str, str] = {
    "volume_too_large": "the order book is too thin for the position: the daemon goes on with "
    "smaller orders; sell a part in the exchange's own app if it must be faster",
    "market_offline": "the market is in maintenance: see the exchange's notices; the daemon sells "
    "as soon as it takes orders again",
    "insufficient_funds_ask": "the exchange holds fewer coins than the books: cancel your own "
    "sales of this coin, or `upbitd positions settle MARKET` when you sold it yourself",
}


def key(market: str) -> str:
    """The key under which the blocked exit of `market` is told."""
    return f"exit_blocked:{market}"


def cause_of(order: OrderRow, refusal: str | None) -> str:
    """Why the order that was just sent may not end the exit."""
    if refusal is not None:
        return f"the exchange refused the sale: {refusal}"
    if order.state in FINAL and order.executed_volume == order.volume:
        return "more is held than one order sells"
    return "the order book does not buy all of it at the price of the last order"


def blocked(market: str, due: DueExit, order: OrderRow | None, *, at: datetime) -> Incident:
    """A due exit that was not done after two attempts or one minute."""
    waited_s = (at - due.since).total_seconds()
    advice = _ADVICE.get(due.refusal or "", _SELL_BY_HAND)
    noun = "attempt" if due.attempts == 1 else "attempts"
    return Incident(
        kind="exit_blocked",
        severity="critical",
        incident=key(market),
        title=f"The exit from {market} is blocked",
        message=f"The {due.purpose} exit from {market} has been due for {waited_s:.0f} s and is "
        f"not done after {due.attempts} {noun}: {due.cause or 'no attempt was possible'} "
        f"({due.reason})",
        job="orders",
        market=market,
        order_id=None if order is None else order.id,
        identifier=None if order is None else order.identifier,
        advice=advice.replace("MARKET", market),
    )


def dust(market: str, volume: Decimal, run_id: str | None) -> Incident:
    """A remainder that the exchange's minimum keeps from being sold."""
    return Incident(
        kind="exit_blocked",
        severity="warning",
        incident=key(market),
        title=f"What is left in {market} is too small to sell",
        message=f"The remaining {volume:f} in {market} is worth less than the exchange's minimum "
        "order: neither a stop-loss nor a person can sell it alone",
        job="orders",
        run_id=run_id,
        market=market,
        advice="leave it (it takes no place among max_open_positions and goes with the next sale), "
        "or buy in the exchange's own app until it is worth the minimum, and sell",
    )
