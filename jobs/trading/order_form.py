"""How an order is written in each style: pure, from what the settings ask and the market offers.

An entry that the market does not take is refused with its reason. An exit always finds a form:
what the market does not take, or what does not fit together, becomes a market order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Context, Decimal

from jobs.store.settings import Settings
from jobs.trading.ledger import EXACT
from jobs.trading.portfolio import Rules, Wish
from jobs.upbit.ticks import round_price, round_volume, tick_size
from jobs.upbit.wire import OrderRequest

SMP_TYPE = "cancel_taker"
"""Our order gives way where it would meet another of this account: nobody else's is touched."""

POST_ONLY = "post_only"
AUTO = "auto"
_DOWN = Context(prec=28, rounding=ROUND_DOWN)  # a rounded size is never above the true one
_USUAL = {"limit": None, "market": None, "best": "ioc"}
_FITS: Mapping[str, frozenset[str | None]] = {
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
    if force not in _FITS[style]:
        return Unfit(
            limit="entry_time_in_force",
            reason=f"entry_time_in_force {force} does not fit entry_order {style}",
        )
    offered = _offered(style, "bid", force)
    types = rules.chance.bid_types
    if types and offered not in types:
        return Unfit(limit="entry_order", reason=f"the market does not take {offered} orders")
    blank = OrderRequest(
        market=wish.market,
        side="bid",
        ord_type="price",
        identifier=wish.identifier,
        price=spend,
        smp_type=smp_type(force),
    )
    if style == "market":
        return blank
    if style == "best":
        return replace(blank, ord_type="best", time_in_force=force)
    price = _entry_price(wish.market, rules, force)
    volume = round_volume(_DOWN.divide(spend, price))
    return replace(blank, ord_type="limit", price=price, volume=volume, time_in_force=force)


def sale(wish: Wish, settings: Settings, rules: Rules, volume: Decimal) -> OrderRequest:
    """The order that sells `volume`; a person's flatten is always at market."""
    style = "market" if wish.purpose == "flatten" else settings.exit_order
    force = _force(style, settings.exit_time_in_force)
    types = rules.chance.ask_types
    if force not in _FITS[style] or (types and _offered(style, "ask", force) not in types):
        style, force = "market", None
    price = round_price(wish.market, rules.price, "down", rules.ticks) if style == "limit" else None
    return OrderRequest(
        market=wish.market,
        side="ask",
        ord_type="limit" if style == "limit" else "best" if style == "best" else "market",
        identifier=wish.identifier,
        price=price,
        volume=volume,
        time_in_force=force,
        smp_type=smp_type(force),
    )


def total(request: OrderRequest) -> Decimal:
    """What a purchase costs at most without its fee."""
    price = request.price or Decimal(0)
    return price if request.volume is None else EXACT.multiply(price, request.volume)


def _entry_price(market: str, rules: Rules, force: str | None) -> Decimal:
    """The best ask, so that it fills at once and never above what was seen; a tick below it for
    an order that is only to wait."""
    price = round_price(market, rules.best_ask or rules.price, "up", rules.ticks)
    if force != POST_ONLY:
        return price
    return round_price(market, price - tick_size(market, price, rules.ticks), "down", rules.ticks)


def _force(style: str, asked: str) -> str | None:
    return _USUAL[style] if asked == AUTO else asked


def _offered(style: str, side: str, force: str | None) -> str:
    """How `orders/chance` names it; post_only is not listed apart."""
    if style == "market":
        return "price" if side == "bid" else "market"
    return style if force in (None, POST_ONLY) else f"{style}_{force}"
