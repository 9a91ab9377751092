"""Entries that wait in a market which takes none any more: no bid may fill under a warning."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from loguru import logger

from jobs.domain.order_states import State
from jobs.orders.account import TradingAccount
from jobs.orders.tracking import cancel
from jobs.store import orders as order_store

WhyNoEntry = Callable[[str], Awaitable[str | None]]
"""Why a market takes no entry; None when it does."""

Keeping = Callable[[str], AbstractContextManager[None]]
"""Keeps one market's trouble from the others."""


async def cancel_barred(desk: TradingAccount, why_no_entry: WhyNoEntry, keeping: Keeping) -> int:
    """Cancel waiting entries of markets that were barred after they were placed; return rows."""
    rows = 0
    async with desk.db.begin() as conn:
        unfinished = await order_store.unfinished(conn, desk.mode)
    for order in unfinished:
        waits = order.state is State.WAIT and order.cancel_requested_at is None
        if not waits or order.side != "bid":
            continue
        with keeping(order.market):
            if (why := await why_no_entry(order.market)) is None:
                continue
            logger.bind(
                event="order.barred", market=order.market, order_id=order.id, reason=why
            ).warning("An entry waits in a market that takes none any more: cancelling it")
            rows += await cancel(desk, order)
    return rows
