"""A market's visible offers, and how much of each the account has already taken."""

from collections.abc import Iterator
from decimal import Decimal

from jobs.upbit.wire import Orderbook, Side

ZERO = Decimal(0)


class Depth:
    """An order book that gets thinner as the account trades against it.

    Sides are named by the account's order: the side `bid` meets the asks, best price first.
    """

    def __init__(self, book: Orderbook) -> None:
        self.book = book
        self._offers: dict[Side, dict[Decimal, Decimal]] = {
            "bid": {u.ask_price: u.ask_size for u in book.units if u.ask_price and u.ask_size},
            "ask": {u.bid_price: u.bid_size for u in book.units if u.bid_price and u.bid_size},
        }

    def best(self, side: Side) -> Decimal | None:
        """The price that an order on `side` meets first; None when nobody offers."""
        return next(self.prices(side), None)

    def prices(self, side: Side) -> Iterator[Decimal]:
        """The prices an order on `side` meets that have something left, best first."""
        return (price for price, left in self._offers[side].items() if left > 0)

    def left(self, side: Side, price: Decimal) -> Decimal:
        """The volume that is left at `price`."""
        return self._offers[side].get(price, ZERO)

    def take(self, side: Side, price: Decimal, volume: Decimal) -> None:
        """Use up `volume` at `price`."""
        self._offers[side][price] -= volume

    def volume(self, side: Side) -> Decimal:
        """Everything that is visible to an order on `side`, in base currency."""
        return sum(self._offers[side].values(), ZERO)

    def funds(self, side: Side) -> Decimal:
        """What everything visible to an order on `side` costs, in quote currency."""
        return sum((price * left for price, left in self._offers[side].items()), ZERO)
