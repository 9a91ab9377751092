"""What an order book offers: best prices and what is visible down to a price. Pure.

A thin side is padded with zeros by the exchange; a level without price or size offers nothing.
"""

from decimal import Decimal

from jobs.domain.ledger import EXACT, ZERO
from jobs.upbit.wire import Orderbook

_HUNDRED = Decimal(100)


def best_ask(book: Orderbook | None) -> Decimal | None:
    """The lowest price at which somebody sells; None when nobody does."""
    units = () if book is None else book.units
    return min((u.ask_price for u in units if u.ask_price > 0 and u.ask_size > 0), default=None)


def best_bid(book: Orderbook | None) -> Decimal | None:
    """The highest price at which somebody buys; None when nobody does."""
    return max(_bids(book), default=None)


def deepest_bid(book: Orderbook | None) -> Decimal | None:
    """The lowest visible price at which somebody buys."""
    return min(_bids(book), default=None)


def bid_volume(book: Orderbook, least_price: Decimal) -> Decimal:
    """How much somebody visibly buys at `least_price` or better."""
    sizes = (u.bid_size for u in book.units if u.bid_price > 0 and u.bid_price >= least_price)
    total = ZERO
    for size in sizes:
        total = EXACT.add(total, size)
    return total


def spread_pct(ask: Decimal, bid: Decimal) -> Decimal:
    """How far ask and bid are apart, in per cent of their middle."""
    return (ask - bid) / ((ask + bid) / 2) * _HUNDRED


def _bids(book: Orderbook | None) -> list[Decimal]:
    units = () if book is None else book.units
    return [u.bid_price for u in units if u.bid_price > 0 and u.bid_size > 0]
