"""From what the books say to what risk asks: pure, the same for stored books and replayed ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.domain.ledger import EXACT, ZERO, Holding
from jobs.domain.portfolio import Money, OpenOrder, Portfolio, drawdown_pct

SETTLING = timedelta(seconds=5)
"""How long balances and fills may disagree after a fill."""


HELD_FOR = timedelta(minutes=5)
"""How long a profit has to stand before it counts as the highest: a thin coin that trades 70 % up
for one minute stopped entries for good, for a profit that nobody could have taken.
"""


def risen(peak_krw: Decimal, recent: Sequence[Decimal]) -> Decimal:
    """The highest profit that held, after the samples since `HELD_FOR` ago: as much as all of them
    had, the oldest one of them at least so old. None of them: nothing held so long yet.
    """
    return max(peak_krw, min(recent)) if recent else peak_krw


def middle(samples: Sequence[Decimal]) -> Decimal:
    """The middle one of some samples, the lower of two; 0 of none. One odd sample moves it little:
    it is what a day begins with.
    """
    return sorted(samples)[(len(samples) - 1) // 2] if samples else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What is known of one mode's trading.

    `realized_krw` is of all positions ever, `peak_krw` the highest profit that held, `opened_krw`
    the profit at the beginning of the Korean day. `unseen_krw` is the most that bids can cost
    which the venue's balances do not show yet. The last two instants, and `entries`, are of one
    market. `moved_at` is when the books of each holding last changed.
    """

    holdings: Mapping[str, Holding]
    realized_krw: Decimal
    peak_krw: Decimal
    opened_krw: Decimal
    unseen_krw: Decimal
    orders_today: int
    open_orders: tuple[OpenOrder, ...]
    last_order_at: datetime | None
    exit_refused_at: datetime | None
    entries: int = 0
    moved_at: Mapping[str, datetime] = field(default_factory=dict)


def missing(
    holdings: Mapping[str, Holding], money: Money, moved_at: Mapping[str, datetime]
) -> dict[str, Decimal]:
    """What the books hold and the venue does not have, by market; nothing where it was not asked.

    A holding whose books moved after the balances were asked, or just before, is left out: the
    venue may show its fill in one place and not yet in the other.
    """
    found = {}
    for market, holding in holdings.items():
        total, moved = money.total(market), moved_at.get(market)
        is_settled = moved is None or moved + SETTLING <= money.at
        if total is not None and is_settled and total < holding.volume:
            found[market] = EXACT.subtract(holding.volume, total)
    return found


def covered(holdings: Mapping[str, Holding], missing: Mapping[str, Decimal]) -> dict[str, Holding]:
    """The holdings without what is missing: coins that are not there count in nothing."""
    left = {}
    for market, holding in holdings.items():
        volume = EXACT.subtract(holding.volume, missing.get(market, ZERO))
        if volume > 0:
            left[market] = replace(holding, volume=volume)
    return left


def prices_of(holdings: Mapping[str, Holding], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The price each holding is valued at: the given one, or its cost where there is none."""
    return {name: prices.get(name, holding.avg_price) for name, holding in holdings.items()}


def worth(holdings: Mapping[str, Holding], prices: Mapping[str, Decimal]) -> Decimal:
    """What all holdings are worth."""
    return sum((each.value(prices[name]) for name, each in holdings.items()), ZERO)


def profit(
    holdings: Mapping[str, Holding], prices: Mapping[str, Decimal], realized_krw: Decimal
) -> Decimal:
    """All profit so far, realized and not."""
    open_profit = (each.unrealized(prices[name]) for name, each in holdings.items())
    return EXACT.add(realized_krw, sum(open_profit, ZERO))


def portfolio_of(
    books: Books, market: str, *, money: Money, prices: Mapping[str, Decimal]
) -> Portfolio:
    """Everything risk asks before an order in `market`."""
    absent = missing(books.holdings, money, books.moved_at)
    holdings = covered(books.holdings, absent)
    valued = prices_of(holdings, prices)
    equity_krw = EXACT.add(money.total_krw, worth(holdings, valued))
    pnl = profit(holdings, valued, books.realized_krw)
    return Portfolio(
        cash_krw=money.free_krw - books.unseen_krw,
        equity_krw=equity_krw,
        day_loss_krw=max(books.opened_krw - pnl, ZERO),
        drawdown_pct=drawdown_pct(pnl_krw=pnl, peak_krw=books.peak_krw, equity_krw=equity_krw),
        orders_today=books.orders_today,
        holdings=holdings,
        prices=valued,
        open_orders=books.open_orders,
        last_order_at=books.last_order_at,
        exit_refused_at=books.exit_refused_at,
        free_volume=_free(books, market, money),
        missing=absent,
        entries=books.entries,
    )


def _free(books: Books, market: str, money: Money) -> Decimal | None:
    """What the venue lets go of the market's coin; not known while its books have just moved."""
    moved = books.moved_at.get(market)
    return money.free(market) if moved is None or moved + SETTLING <= money.at else None
