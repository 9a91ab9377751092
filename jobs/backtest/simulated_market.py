"""The exchange of a replay: the paper exchange's engine, fees and rules, in memory.

There is one price at a time, and everybody may trade any amount at it: the book has one level a
side, `slippage` away from the price and rounded to the tick against the account.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count

from jobs.domain.ledger import EXACT
from jobs.domain.portfolio import Money
from jobs.matching.engine import Engine, Rules
from jobs.orders.paper_exchange import chance_of
from jobs.upbit.ticks import round_price, tick_size
from jobs.upbit.wire import Account, Chance, Level, Order, Orderbook, OrderRequest

BPS = Decimal(10_000)
DEEP = Decimal(10**12)
ZERO = Decimal(0)


@dataclass(slots=True, kw_only=True)
class ReplayVenue:
    """One account. `slippage_bps` hundredths of a per cent lie between price and offer."""

    start_krw: Decimal
    slippage_bps: Decimal = ZERO
    rules: Rules = field(default_factory=Rules)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        numbers = count(1)
        start = Account(currency="KRW", balance=self.start_krw, locked=ZERO, avg_buy_price=ZERO)
        self.engine = Engine([start], new_uuid=lambda: f"{next(numbers):012d}", rules=self.rules)

    def book(self, market: str, price: Decimal, now: datetime) -> Orderbook:
        """What is offered while `market` trades at `price`."""
        return book_at(market, price, self.slippage_bps, now)

    def show(self, market: str, price: Decimal, now: datetime) -> None:
        """Let resting orders of `market` meet its present price."""
        self.engine.on_book(self.book(market, price, now), now=now)
        self.engine.drain()

    def place(self, request: OrderRequest, price: Decimal, now: datetime) -> str:
        """Place an order and let it meet the book; return its uuid.

        Raises VenueError, as the engine does.
        """
        placed = self.engine.place(request, now=now, book=self.book(request.market, price, now))
        self.engine.fill_due(now)
        self.engine.drain()
        return placed.uuid

    def order(self, uuid: str) -> Order:
        """An order that was placed, with its trades."""
        order = self.engine.order(uuid=uuid)
        assert order is not None, "the engine forgets nothing"  # noqa: S101
        return order

    def cancel(self, uuid: str, now: datetime) -> None:
        """Cancel an order that waits."""
        self.engine.cancel(uuid=uuid, now=now)
        self.engine.fill_due(now)
        self.engine.drain()

    def money(self, now: datetime) -> Money:
        """The balances."""
        accounts = {each.currency: each for each in self.engine.accounts()}
        krw = accounts["KRW"]
        return Money(
            free_krw=krw.balance,
            total_krw=EXACT.add(krw.balance, krw.locked),
            at=now,
            free_volumes={name: each.balance for name, each in accounts.items()},
        )

    def chance(self, market: str) -> Chance:
        """Fees, totals and order types of `market`."""
        return chance_of(market, self.rules)


def book_at(market: str, price: Decimal, slippage_bps: Decimal, now: datetime) -> Orderbook:
    """A book of one deep level a side, `slippage_bps` away from `price` and on the tick."""
    off = price * slippage_bps / BPS
    ask = round_price(market, price + off, "up")
    bid = round_price(market, price - off, "down") or tick_size(market, ZERO)
    level = Level(ask_price=ask, ask_size=DEEP, bid_price=bid, bid_size=DEEP)
    return Orderbook(market=market, ts=now, units=(level,))
