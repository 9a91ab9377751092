"""How a sale is written: a form that the market offers, a volume that the book holds, and a price
inside a collar that widens from one attempt to the next. Pure.

The first orders of an exit are IOC limits below the best bid, by `max_exit_slippage_pct` and then
twice and three times as far; the last one takes any price. A market order larger than the visible
book is refused as a whole (`volume_too_large`, since 2025-05-07), so no order is larger than that.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from typing import Literal

from jobs.domain import order_book
from jobs.domain.due_exits import LAST_RUNG
from jobs.domain.ledger import EXACT
from jobs.domain.order_form import AUTO, FITS, USUAL, offered_name, plain, smp_type
from jobs.domain.portfolio import Rules, Wish
from jobs.domain.settings import Settings
from jobs.upbit.ticks import round_price, round_volume, tick_size
from jobs.upbit.wire import OrderRequest

_HUNDRED = Decimal(100)
_WIDEST_PCT = Decimal(90)
_DOWN = Context(prec=28, rounding=ROUND_DOWN)
_STEP = Decimal("0.00000001")
Kind = Literal["limit", "best", "market"]
FORMS = frozenset({"limit_ioc", "limit", "best_ioc", "market"})
"""The forms that an exit takes, as `orders/chance` names them; it needs one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsold:
    """No order can sell this now. `limit` names what forbids it."""

    limit: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """An order's type, its time in force and, for a limit, its price."""

    kind: Kind
    force: str | None = None
    price: Decimal | None = None

    @property
    def offered(self) -> str:
        return offered_name(self.kind, "ask", self.force)


def sale(wish: Wish, settings: Settings, rules: Rules, sellable: Decimal) -> OrderRequest | Unsold:
    """The next order of an exit that sells `sellable`, or a part of it."""
    bid = order_book.best_bid(rules.book)
    if rules.book is not None and bid is None:
        return Unsold(limit="no_bids", reason="nobody buys: the order book shows no bid")
    price, least = bid or rules.price, rules.chance.ask_min_total
    worth = EXACT.multiply(sellable, price)
    if worth < least:
        reason = f"dust: {sellable:f} is worth {worth:.0f} KRW, minimum {least:f} KRW"
        return Unsold(limit="dust", reason=reason)
    form = _own_style(wish, settings, rules)
    volume = _at_most(rules, sellable, price)
    if form is None:
        bound, forms = _ladder(settings, rules, price, sellable)
        form = next((each for each in forms if _is_offered(rules, each)), forms[-1])
        volume = _volume(rules, sellable, price=price, bound=bound)
    return OrderRequest(
        market=wish.market,
        side="ask",
        ord_type=form.kind,
        identifier=wish.identifier,
        price=_least_total(rules, volume, form.price),
        volume=volume,
        time_in_force=form.force,
        smp_type=smp_type(form.force),
    )


def bound_of(rules: Rules, bid: Decimal, settings: Settings, steps: int) -> Decimal:
    """The lowest price of an exit that has widened `steps` times."""
    market = rules.chance.market
    fall_pct = min(settings.max_exit_slippage_pct * steps, _WIDEST_PCT)
    price = _DOWN.multiply(bid, 1 - fall_pct / _HUNDRED)
    return plain(round_price(market, price, "down", rules.ticks)) or tick_size(
        market, Decimal(0), rules.ticks
    )


def _own_style(wish: Wish, settings: Settings, rules: Rules) -> _Form | None:
    """The first order as the settings ask for it, where the market offers that."""
    is_first = rules.due is None or rules.due.rung == 0
    if not is_first or wish.purpose == "flatten" or settings.exit_order == "market":
        return None
    kind: Kind = "limit" if settings.exit_order == "limit" else "best"
    force = USUAL[kind] if settings.exit_time_in_force == AUTO else settings.exit_time_in_force
    price = round_price(wish.market, rules.price, "down", rules.ticks) if kind == "limit" else None
    form = _Form(kind=kind, force=force, price=price)
    return form if force in FITS[kind] and _is_offered(rules, form) else None


def _ladder(
    settings: Settings, rules: Rules, bid: Decimal, sellable: Decimal
) -> tuple[Decimal, tuple[_Form, ...]]:
    """The lowest price of this step, and the forms that it may take, the best first."""
    rung = 0 if rules.due is None else rules.due.rung
    rest = (_Form(kind="best", force="ioc"), _Form(kind="market"))
    if rung < LAST_RUNG:
        bound = bound_of(rules, bid, settings, rung + 1)
        return bound, (*_limits(bound), *rest)
    bound = order_book.deepest_bid(rules.book) or bound_of(rules, bid, settings, rung + 1)
    book = rules.book
    volume = _volume(rules, sellable, price=bid, bound=bound)
    if book is not None and volume > order_book.bid_volume(book, bound):
        return bound, (*_limits(bound), *rest)  # at market it would be refused as a whole
    return bound, (_Form(kind="market"), *_limits(bound), *rest)


def _limits(bound: Decimal) -> tuple[_Form, _Form]:
    """The forms that never sell below `bound`."""
    return _Form(kind="limit", force="ioc", price=bound), _Form(kind="limit", price=bound)


def _is_offered(rules: Rules, form: _Form) -> bool:
    return not rules.chance.ask_types or form.offered in rules.chance.ask_types


def _volume(rules: Rules, sellable: Decimal, *, price: Decimal, bound: Decimal) -> Decimal:
    """How much of `sellable` this order sells.

    Not more than is visible down to `bound`, but at least the least total; and what remains is
    either nothing or enough to be sold later.
    """
    book, chance = rules.book, rules.chance
    most = _at_most(rules, sellable, price)
    seen = most if book is None else min(most, order_book.bid_volume(book, bound))
    if rules.due is not None:
        seen = _DOWN.divide(seen, 2**rules.due.halvings)
    least = _at_least(chance.ask_min_total, price)
    volume = round_volume(min(most, max(seen, least)))
    rest = sellable - volume
    keep = _at_least(chance.ask_min_total, bound)
    if 0 < rest < keep:
        volume = sellable - keep if sellable - keep >= least else most
    return volume


def _at_most(rules: Rules, sellable: Decimal, price: Decimal) -> Decimal:
    """`sellable`, cut to the largest order of the market."""
    if EXACT.multiply(sellable, price) <= rules.chance.max_total:
        return sellable
    return round_volume(_DOWN.divide(rules.chance.max_total, price))


def _at_least(total: Decimal, price: Decimal) -> Decimal:
    """The smallest volume that is worth `total` at `price`."""
    return (
        Context(prec=28, rounding=ROUND_UP).divide(total, price).quantize(_STEP, rounding=ROUND_UP)
    )


def _least_total(rules: Rules, volume: Decimal, bound: Decimal | None) -> Decimal | None:
    """`bound`, or the price above it at which `volume` makes the least total."""
    if bound is None or EXACT.multiply(volume, bound) >= rules.chance.ask_min_total:
        return bound
    least = Context(prec=28, rounding=ROUND_UP).divide(rules.chance.ask_min_total, volume)
    return plain(round_price(rules.chance.market, least, "up", rules.ticks))
