"""A venue that takes orders only while the leader's lease is in force.

The database refuses a replaced leader's writes by itself (jobs/store/fence.py); the venue cannot,
so the lease is looked at in the last moment before a request leaves.
"""

from collections.abc import Callable
from datetime import datetime

from jobs.core.errors import NotSent
from jobs.domain.exchange import Exchange
from jobs.upbit.wire import Account, Chance, Order, OrderRequest


class FencedExchange:
    """`inner`, except that nothing is placed or cancelled when `holds` is false."""

    def __init__(self, inner: Exchange, holds: Callable[[], bool]) -> None:
        self._inner = inner
        self._holds = holds

    async def place(self, request: OrderRequest) -> Order:
        """As the venue does. Raises NotSent without a lease."""
        self._stand()
        return await self._inner.place(request)

    async def cancel(self, *, identifier: str | None = None, uuid: str | None = None) -> None:
        """As the venue does. Raises NotSent without a lease."""
        self._stand()
        await self._inner.cancel(identifier=identifier, uuid=uuid)

    async def order(
        self, *, identifier: str | None = None, uuid: str | None = None
    ) -> Order | None:
        """As the venue does."""
        return await self._inner.order(identifier=identifier, uuid=uuid)

    async def open_orders(self, market: str | None = None) -> list[Order]:
        """As the venue does."""
        return await self._inner.open_orders(market)

    async def closed_orders(self, market: str, start: datetime) -> list[Order]:
        """As the venue does."""
        return await self._inner.closed_orders(market, start)

    async def accounts(self) -> list[Account]:
        """As the venue does."""
        return await self._inner.accounts()

    async def chance(self, market: str) -> Chance:
        """As the venue does."""
        return await self._inner.chance(market)

    async def test_order(self, request: OrderRequest) -> None:
        """As the venue does."""
        await self._inner.test_order(request)

    def _stand(self) -> None:
        if not self._holds():
            raise NotSent("the leader's lease is over: nothing is sent")
