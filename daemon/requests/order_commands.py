"""What a person may order: `flatten` and `cancel`, by the running daemon or by the command itself.

Both work on the same desk as the orders job, through the same protocol.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from daemon.config.load import Config
from daemon.requests.queue import Answer, Handler, Refusal
from daemon.resources import Foundation, exchange_of, upbit_keys
from jobs.core.cooldowns import Gates
from jobs.core.job import current_lane
from jobs.domain.exchange import Exchange
from jobs.domain.order_states import OPEN, State
from jobs.orders import flatten as closing
from jobs.orders.account import TradingAccount
from jobs.orders.quotes import MarketView
from jobs.orders.tracking import cancel, tend
from jobs.store.orders import OrderRow
from jobs.store.story import find
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import Limiter

SHARE = 0.3
"""Of the exchange's quota, for a command beside a daemon."""
LOOKS = 10
PAUSE_S = 0.5
NEVER_S = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account to give orders to."""

    desk: TradingAccount
    view: MarketView


Opened = Callable[[], AbstractAsyncContextManager[Account]]
"""Opens the account for an order that no server's wait may stop."""


def handlers(account: Account, open_forced: Opened) -> Mapping[str, Handler]:
    """Return who carries out each command on `account`."""

    async def flattens(arguments: Mapping[str, Any]) -> Answer:
        if not arguments.get("force"):
            return await flatten(account, arguments.get("market"))
        async with open_forced() as forced:
            return await flatten(forced, arguments.get("market"))

    async def cancels(arguments: Mapping[str, Any]) -> Answer:
        return await cancel_order(account, str(arguments["order"]))

    return {"flatten": flattens, "cancel": cancels}


async def flatten(account: Account, market: str | None) -> Answer:
    """Cancel the open orders and sell what is held, in `market` or everywhere."""
    result = await closing.flatten(account.desk, account.view, sleep=asyncio.sleep, only=market)
    return {
        "ok": result.is_flat,
        "cancelled": result.cancelled,
        "sold": {each: format(volume, "f") for each, volume in result.sold.items()},
        "left": result.left,
        "gone": result.gone,
        "is_flat": result.is_flat,
    }


async def cancel_order(account: Account, name: str) -> Answer:
    """Cancel one open order of the daemon's, and wait until it is seen to have ended.

    Raises Refusal when there is no such order, or it has ended already.
    """
    desk = account.desk
    order = await _find(desk, name)
    if order.state not in OPEN:
        raise Refusal(f"order {order.identifier} has ended already: {order.state}")
    if order.state is State.WAIT:
        await cancel(desk, order)
    for _ in range(LOOKS):
        order = await _find(desk, str(order.id))
        if order.state not in OPEN:
            break
        if order.state is State.WAIT and order.cancel_requested_at is None:
            await cancel(desk, order)  # it was unknown before
        else:
            await asyncio.sleep(PAUSE_S)
            await tend(desk, order, timeout_s=NEVER_S)
    return {
        "ok": order.state not in OPEN and order.state is not State.DONE,
        "identifier": order.identifier,
        "market": order.market,
        "state": order.state.value,
        "executed_volume": format(order.executed_volume, "f"),
    }


async def _find(desk: TradingAccount, name: str) -> OrderRow:
    async with desk.db.begin() as conn:
        order = await find(conn, name)
    if order is None:
        raise Refusal(f"there is no order {name}: see `upbitd orders`")
    if order.mode != desk.mode:
        raise Refusal(f"order {order.identifier} is a {order.mode} order, this is {desk.mode}")
    return order


@asynccontextmanager
async def open_account(base: Foundation) -> AsyncIterator[Account]:
    """Open the account with a client of its own, which obeys the gates of `base`."""
    current_lane.set("orders")
    config = base.config
    async with open_client(
        base_url=config.upbit.base_url,
        keys=upbit_keys(config),
        gates=base.gates,
        limiter=Limiter(share=SHARE),
        clock=base.clock,
        timeout_s=config.upbit.timeout.total_seconds(),
    ) as upbit:
        yield _account(base, exchange_of(base, base.database, upbit), upbit)


def _account(base: Foundation, exchange: Exchange, upbit: UpbitClient) -> Account:
    desk = TradingAccount(
        db=base.database,
        exchange=exchange,
        clock=base.clock,
        notifier=base.notifier,
        mode=base.config.trading.mode,
    )
    view = MarketView(db=base.database, exchange=exchange, quotes=upbit, clock=base.clock)
    return Account(desk=desk, view=view)


def forced(base: Foundation, desk: TradingAccount, guard: Callable[[Exchange], Exchange]) -> Opened:
    """Return how to open `desk`'s account beside every closed gate; `guard` fences the venue."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Account]:
        async with open_account(replace(base, gates=Gates(base.clock))) as account:
            exchange = guard(account.desk.exchange)
            yield Account(
                desk=replace(desk, exchange=exchange),
                view=replace(account.view, exchange=exchange),
            )

    return opened


def needs_keys(config: Config) -> bool:
    """Whether orders need keys that this process has not."""
    return config.trading.mode == "live" and upbit_keys(config) is None


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)
