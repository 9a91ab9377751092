"""Which markets take orders: tried before this process's first purchase there, and after a pause.

The venue checks an order through `orders/test` without creating it. A market in maintenance
refuses with `market_offline`: it is paused, and probed the same way until it takes orders again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger

from jobs.core.errors import Refused
from jobs.domain.order_form import smp_type
from jobs.orders.account import TradingAccount
from jobs.store.orders import OrderRow, request_of
from jobs.upbit import ticks
from jobs.upbit.wire import OrderRequest

OFFLINE = "market_offline"


@dataclass(slots=True, kw_only=True)
class Clearance:
    """What one process knows of markets. A paused one is probed every `probe_every`.

    `on_refusal` hears the name of every refusal.
    """

    probe_every: timedelta = timedelta(seconds=30)
    on_refusal: Callable[[str, str | None], None] = lambda _market, _name: None
    _cleared: set[str] = field(default_factory=set)
    _paused: dict[str, datetime] = field(default_factory=dict)

    async def first_fault(self, desk: TradingAccount, intent: OrderRow) -> str | None:
        """Why the purchase `intent` must not be sent; None when the venue would take it.

        Asked once for each market; raises what `Exchange.test_order` raises but a refusal.
        """
        if intent.market in self._cleared or intent.side == "ask":
            return None
        request = request_of(intent, smp_type(intent.time_in_force))
        if (name := await _refusal(desk, request)) is not None:
            self.learn(intent.market, name, desk.clock())
            return f"refused in a test: {name}"
        self._cleared.add(intent.market)
        return None

    async def why_paused(self, desk: TradingAccount, market: str) -> str | None:
        """Why `market` takes no orders now; None when it does. Probes when that is due."""
        asked_at = self._paused.get(market)
        if asked_at is None:
            return None
        now = desk.clock()
        if now - asked_at >= self.probe_every:
            self._paused[market] = now
            if await _refusal(desk, _probe(market)) != OFFLINE:
                self._resume(market)
                return None
        return "the market is offline (maintenance) and is probed until it takes orders again"

    def learn(self, market: str, name: str | None, now: datetime) -> None:
        """Take note of a refusal by name: `market_offline` pauses the market."""
        self.on_refusal(market, name)
        if name != OFFLINE or market in self._paused:
            return
        self._paused[market] = now
        self._cleared.discard(market)
        logger.bind(event="market.offline", market=market).warning(
            "The market takes no orders: paused, and probed"
        )

    def _resume(self, market: str) -> None:
        del self._paused[market]
        logger.bind(event="market.online", market=market).info("The market takes orders again")


def _probe(market: str) -> OrderRequest:
    """The smallest purchase; what it is refused for does not matter, as long as it is checked."""
    least = ticks.min_total(market)
    return OrderRequest(
        market=market, side="bid", ord_type="price", identifier="", price=Decimal(least)
    )


async def _refusal(desk: TradingAccount, request: OrderRequest) -> str | None:
    try:
        await desk.exchange.test_order(request)
    except Refused as exc:
        return exc.name
    return None
