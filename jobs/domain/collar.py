"""The price collar of entries: how an order book may look, and the worst that an entry may do.

Pure. A book that somebody has swept, or a last trade far off, must not set the price of an entry:
the best ask is held against the other side of the book, the last price and the price of a moment
before (the last minute's close), so that no single odd figure lets it pass.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal

from jobs.domain import order_book
from jobs.domain.portfolio import Rules
from jobs.domain.settings import Settings
from jobs.upbit.ticks import tick_size
from jobs.upbit.wire import Chance

_HUNDRED = Decimal(100)
_DOWN = Context(prec=28, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffCollar:
    """No entry at such a book. `limit` is the setting, or `order_book` where there is none."""

    limit: str
    reason: str


def entry_bound(settings: Settings, rules: Rules) -> Decimal | None:
    """The highest price that an entry may pay; None when the limit is off."""
    if not settings.max_entry_deviation_pct:
        return None
    known = [rules.price] if rules.recent_price is None else [rules.price, rules.recent_price]
    price = min(known)
    by_setting = price * (1 + settings.max_entry_deviation_pct / _HUNDRED)
    return max(by_setting, price + _steps(rules, price))


def off_collar(settings: Settings, rules: Rules) -> OffCollar | None:
    """Why the present book sets no price for an entry; None when it does."""
    ask, bid = order_book.best_ask(rules.book), order_book.best_bid(rules.book)
    if ask is None:
        what = "is not known" if rules.book is None else "shows nobody who sells"
        return OffCollar(limit="order_book", reason=f"the order book {what}")
    if settings.max_spread_pct:
        if bid is None:
            return OffCollar(limit="max_spread_pct", reason="the order book shows no bid")
        spread = order_book.spread_pct(ask, bid)
        if spread > settings.max_spread_pct and ask - bid > _steps(rules, bid):
            return OffCollar(
                limit="max_spread_pct",
                reason=f"the spread is {spread:.2f} %, limit {settings.max_spread_pct:f} %",
            )
    bound = entry_bound(settings, rules)
    if bound is not None and ask > bound:
        return OffCollar(limit="max_entry_deviation_pct", reason=_too_far(settings, rules, ask))
    return None


def stop_distance_pct(settings: Settings) -> Decimal | None:
    """How far below its entry a position is sold at the latest; None when nothing sells it."""
    return settings.stop_loss_pct or settings.trailing_stop_pct or None


def stop_share(settings: Settings) -> Decimal:
    """What is left of an entry's value when its stop is sold at the exit's first price."""
    fall = (stop_distance_pct(settings) or Decimal(0)) / _HUNDRED
    return (1 - fall) * (1 - settings.max_exit_slippage_pct / _HUNDRED)


def least_entry(settings: Settings, chance: Chance) -> Decimal:
    """The smallest entry whose own stop-loss the exchange would still take as an order.

    `ask_min_total` when the stop is due and sold at the exit's first price (the reserve), and both
    fees on top.
    """
    fees = 1 + chance.bid_fee + chance.ask_fee
    return max(chance.bid_min_total, chance.ask_min_total / stop_share(settings) * fees)


def most_by_loss(settings: Settings, chance: Chance, day_loss_krw: Decimal) -> Decimal | None:
    """The largest entry that the day's loss limit leaves room for; None: it sets none.

    The worst of an entry is to be sold at its stop, at the exit's first price, with both fees. A
    position that no stop sells has no such figure: then the limit only ends entries, as always.
    """
    limit = settings.daily_loss_limit_krw
    if not limit or stop_distance_pct(settings) is None:
        return None
    worst = 1 - stop_share(settings) + chance.bid_fee + chance.ask_fee
    return _DOWN.divide(max(limit - day_loss_krw, Decimal(0)), worst)


def _steps(rules: Rules, price: Decimal) -> Decimal:
    """Two price steps, which no collar refuses: of a coin of 100 won one step is 1 %."""
    return 2 * tick_size(rules.chance.market, price, rules.ticks)


def _too_far(settings: Settings, rules: Rules, ask: Decimal) -> str:
    recent = "" if rules.recent_price is None else f" (a moment before {rules.recent_price:f})"
    return (
        f"the best ask {ask:f} is more than {settings.max_entry_deviation_pct:f} % over the last "
        f"price {rules.price:f}{recent}"
    )
