"""What a person may have done to the books, by the running daemon or by the command itself."""

from collections.abc import Callable, Mapping
from typing import Any

from daemon.requests.order_commands import Account
from daemon.requests.queue import Answer, Handler, Refusal
from jobs.orders.settle_position import (
    Difference,
    UnknownMarket,
    find_difference,
    settle_position,
)


def handlers(account: Account, on_change: Callable[[], None]) -> Mapping[str, Handler]:
    """Return who carries out each command on `account`; `on_change` is called after a change."""

    async def settles(arguments: Mapping[str, Any]) -> Answer:
        answer = await settle(account, str(arguments["market"]), by=arguments.get("by"))
        on_change()
        return answer

    return {"settle": settles}


async def settle(account: Account, market: str, *, by: str | None) -> Answer:
    """Write a position down to what the exchange holds in the name of `by`; without a name only
    compare. Sales that others made are booked on the way in either case.

    Raises Refusal for a market in which nothing was ever held.
    """
    try:
        if by is None:
            found = await find_difference(account.desk, account.view, market)
        else:
            found = await settle_position(account.desk, account.view, market, by=by)
    except UnknownMarket:
        raise Refusal(f"nothing was ever held in {market}: see `upbitd positions --all`") from None
    return _as_answer(found, is_written=by is not None)


def _as_answer(found: Difference, *, is_written: bool) -> Answer:
    return {
        "ok": True,
        "market": found.market,
        "before": format(found.before, "f"),
        "after": format(found.after, "f"),
        "price": format(found.price, "f"),
        "realized_krw": format(found.realized_krw, "f"),
        "foreign_sale_booked": found.booked,
        "settled": is_written and not found.is_none,
    }
