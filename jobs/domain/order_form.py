"""How a purchase is written in each style: pure, from what the settings ask and the market offers.

An entry that the market does not take is refused with its reason. How a sale is written stands in
exit_form.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal

from jobs.domain.collar import entry_bound
from jobs.domain.ledger import EXACT
from jobs.domain.order_book import best_ask
from jobs.domain.portfolio import Rules, Wish
from jobs.domain.settings import Settings
from jobs.upbit.ticks import round_price, round_volume, tick_size
from jobs.upbit.wire import OrderRequest

SMP_TYPE = "cancel_taker"
"""Our order gives way where it would meet another of this account: nobody else's is touched."""

POST_ONLY = "post_only"
AUTO = "auto"
_DOWN = Context(prec=28, rounding=ROUND_DOWN)  # a rounded size is never above the true one
USUAL = {"limit": None, "market": None, "best": "ioc"}
FITS: Mapping[str, frozenset[str | None]] = {
    "limit": frozenset({None, "ioc", "fok", POST_ONLY}),
    "market": frozenset({None}),
    "best": frozenset({"ioc", "fok"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """No form for this entry. `limit` is the setting that asks for it."""

    limit: str
    reason: str


def smp_type(time_in_force: str | None) -> str | None:
    """What an order says about meeting the account's own; a post_only order takes nothing."""
    return None if time_in_force == POST_ONLY else SMP_TYPE


def purchase(wish: Wish, settings: Settings, rules: Rules, spend: Decimal) -> OrderRequest | Unfit:
    """The order that buys for `spend` KRW at most, fee not included."""
    style = settings.entry_order
    force = _force(style, settings.entry_time_in_force)
    if force not in FITS[style]:
        return Unfit(
            limit="entry_time_in_force",
            reason=f"entry_time_in_force {force} does not fit entry_order {style}",
        )
    bound = entry_bound(settings, rules)
    if style == "market" and bound is not None:
        return _bounded(
            wish, rules, spend, plain(round_price(wish.market, bound, "down", rules.ticks))
        )
    if not _takes(rules, name := offered_name(style, "bid", force)):
        return Unfit(limit="entry_order", reason=f"the market does not take {name} orders")
    if style != "limit":
        return _by_amount(wish, spend, style, force)
    return _limit(wish, spend, _entry_price(wish.market, rules, force), force)


def _bounded(wish: Wish, rules: Rules, spend: Decimal, bound: Decimal) -> OrderRequest | Unfit:
    """A purchase at market that pays no more than `bound`."""
    for force in ("ioc", None):
        if _takes(rules, offered_name("limit", "bid", force)):
            return _limit(wish, spend, bound, force)
    if _takes(rules, "best_ioc"):
        return _by_amount(wish, spend, "best", "ioc")
    return Unfit(
        limit="entry_order",
        reason="the market takes no form of a market entry with a bound (limit_ioc, limit, "
        "best_ioc)",
    )


def _takes(rules: Rules, name: str) -> bool:
    return not rules.chance.bid_types or name in rules.chance.bid_types


def _by_amount(wish: Wish, spend: Decimal, style: str, force: str | None) -> OrderRequest:
    return OrderRequest(
        market=wish.market,
        side="bid",
        ord_type="best" if style == "best" else "price",
        identifier=wish.identifier,
        price=spend,
        time_in_force=force,
        smp_type=smp_type(force),
    )


def _limit(wish: Wish, spend: Decimal, price: Decimal, force: str | None) -> OrderRequest:
    return OrderRequest(
        market=wish.market,
        side="bid",
        ord_type="limit",
        identifier=wish.identifier,
        price=price,
        volume=round_volume(_DOWN.divide(spend, price)),
        time_in_force=force,
        smp_type=smp_type(force),
    )


def plain(price: Decimal) -> Decimal:
    """The same price without the decimals that a multiplication left: it is sent as it stands."""
    return Decimal(f"{price.normalize():f}")


def total(request: OrderRequest) -> Decimal:
    """What a purchase costs at most without its fee."""
    price = request.price or Decimal(0)
    return price if request.volume is None else EXACT.multiply(price, request.volume)


def _entry_price(market: str, rules: Rules, force: str | None) -> Decimal:
    """The best ask, so that it fills at once and never above what was seen; a tick below it for
    an order that is only to wait."""
    price = round_price(market, best_ask(rules.book) or rules.price, "up", rules.ticks)
    if force != POST_ONLY:
        return price
    return round_price(market, price - tick_size(market, price, rules.ticks), "down", rules.ticks)


def _force(style: str, asked: str) -> str | None:
    return USUAL[style] if asked == AUTO else asked


def offered_name(style: str, side: str, force: str | None) -> str:
    """How `orders/chance` names it; post_only is not listed apart."""
    if style == "market":
        return "price" if side == "bid" else "market"
    return style if force in (None, POST_ONLY) else f"{style}_{force}"
