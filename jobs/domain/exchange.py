"""What trading needs of a venue: one Protocol, two sides, the exchange itself and the paper one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from jobs.upbit.wire import Account, Chance, Order, Orderbook, OrderRequest, Ticker


class Exchange(Protocol):
    """The account's side of a venue.

    Every call may raise Unavailable, RateLimited, Banned, Unauthorized and BadData; what an error
    of `place` proves about the order stands there.
    """

    async def place(self, request: OrderRequest) -> Order:
        """Send one order, exactly once, and return it as the venue first shows it.

        Raises:
            Refused: a named 4xx: not created. `duplicated_identifier` alone means that the
                identifier was used before, so that an order may exist under it.
            NotSent: the connection was never established: not created.
            RateLimited, Banned: 429 or 418, or a closed gate: not created.
            Ambiguous: anything else after sending (time-out, reset, 5xx, unparsable answer,
                `too_many_request_order`): nobody has said what became of it.
        """
        ...

    async def order(
        self, *, identifier: str | None = None, uuid: str | None = None
    ) -> Order | None:
        """Return the order with its trades, or None when the venue knows none by that name."""
        ...

    async def cancel(self, *, identifier: str | None = None, uuid: str | None = None) -> None:
        """Ask for a cancel. Returning means accepted, not done: only a later look tells.

        Raises Refused (`order_not_found`) for an unknown and for a finished order.
        """
        ...

    async def open_orders(self, market: str | None = None) -> list[Order]:
        """Every open order of the account, whoever made it, each once; without trades."""
        ...

    async def closed_orders(self, market: str, start: datetime) -> list[Order]:
        """Finished orders of `market` created since `start`, each once; without trades."""
        ...

    async def accounts(self) -> list[Account]:
        """The balance of every currency held."""
        ...

    async def chance(self, market: str) -> Chance:
        """Fees, minimum totals and order types of `market` for this account."""
        ...

    async def test_order(self, request: OrderRequest) -> None:
        """Have the venue check `request` without creating anything; raises as `place` does."""
        ...


class Quotes(Protocol):
    """The public side of a venue."""

    async def tickers(self, markets: Sequence[str]) -> list[Ticker]:
        """The last price of each of `markets` that the venue has; one that is gone is left out."""
        ...

    async def orderbooks(self, markets: Sequence[str]) -> list[Orderbook]:
        """The order book of each of `markets` that the venue has, best level first."""
        ...
