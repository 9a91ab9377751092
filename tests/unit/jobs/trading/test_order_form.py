"""Every style of order, as it is written; golden, pure."""

from dataclasses import replace
from decimal import Decimal

import pytest

from jobs.store.settings import Settings
from jobs.trading.order_form import Unfit, purchase, sale, smp_type, total
from jobs.trading.portfolio import Purpose, Rules, Wish
from jobs.trading.venue_rules import Rules as VenueRules
from jobs.trading.venue_rules import check_amounts, check_shape
from jobs.upbit.wire import Chance

SPEND = Decimal(100_000)
CHANCE = Chance(
    market="KRW-BTC",
    bid_fee=Decimal("0.0005"),
    ask_fee=Decimal("0.0005"),
    bid_min_total=Decimal(5000),
    ask_min_total=Decimal(5000),
    max_total=Decimal(1_000_000_000),
    state="active",
    bid_types=("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "price"),
    ask_types=("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "market"),
)
RULES = Rules(chance=CHANCE, price=Decimal(100_000_400), best_ask=Decimal(100_001_000))


def wish(side: str = "bid", purpose: Purpose = "entry") -> Wish:
    return Wish(
        market="KRW-BTC",
        side="bid" if side == "bid" else "ask",
        purpose=purpose,
        identifier="upd-1",
        reason="a test",
    )


BOUGHT = [  # entry_order, entry_time_in_force -> ord_type, time_in_force, price, volume, smp_type
    ("limit", "auto", "limit", None, "100001000", "0.00099999", "cancel_taker"),
    ("limit", "ioc", "limit", "ioc", "100001000", "0.00099999", "cancel_taker"),
    ("limit", "fok", "limit", "fok", "100001000", "0.00099999", "cancel_taker"),
    ("limit", "post_only", "limit", "post_only", "100000000", "0.001", None),
    ("market", "auto", "price", None, "100000", None, "cancel_taker"),
    ("best", "auto", "best", "ioc", "100000", None, "cancel_taker"),
    ("best", "fok", "best", "fok", "100000", None, "cancel_taker"),
]
SOLD = [  # exit_order, exit_time_in_force -> ord_type, time_in_force, price
    ("market", "auto", "market", None, None),
    ("market", "ioc", "market", None, None),
    ("limit", "auto", "limit", None, "100000000"),
    ("limit", "ioc", "limit", "ioc", "100000000"),
    ("limit", "fok", "limit", "fok", "100000000"),
    ("best", "auto", "best", "ioc", None),
    ("best", "fok", "best", "fok", None),
]
UNFIT = [("market", "ioc"), ("market", "post_only"), ("best", "post_only")]


@pytest.mark.parametrize(("order", "force", "kind", "tif", "price", "volume", "smp"), BOUGHT)
def test_a_purchase_is_written_so_and_the_venue_would_take_it(
    order: str, force: str, kind: str, tif: str | None, price: str, volume: str | None, smp: str
) -> None:
    settings = Settings(entry_order=order, entry_time_in_force=force)
    request = purchase(wish(), settings, RULES, SPEND)
    assert not isinstance(request, Unfit)
    assert (request.ord_type, request.time_in_force, request.smp_type) == (kind, tif, smp)
    assert request.price == Decimal(price)
    assert request.volume == (None if volume is None else Decimal(volume))
    assert total(request) <= SPEND
    check_shape(request, VenueRules())
    check_amounts(request, RULES.price)


@pytest.mark.parametrize(("order", "force", "kind", "tif", "price"), SOLD)
def test_a_sale_is_written_so_and_the_venue_would_take_it(
    order: str, force: str, kind: str, tif: str | None, price: str | None
) -> None:
    settings = Settings(exit_order=order, exit_time_in_force=force)
    request = sale(wish("ask", "stop_loss"), settings, RULES, Decimal("0.5"))
    assert (request.ord_type, request.time_in_force) == (kind, tif)
    assert request.price == (None if price is None else Decimal(price))
    assert request.volume == Decimal("0.5")
    check_shape(request, VenueRules())
    check_amounts(request, RULES.price)


@pytest.mark.parametrize(("order", "force"), UNFIT)
def test_an_entry_whose_settings_do_not_fit_each_other_is_refused(order: str, force: str) -> None:
    settings = Settings(entry_order=order, entry_time_in_force=force)
    refused = purchase(wish(), settings, RULES, SPEND)
    assert isinstance(refused, Unfit)
    assert refused.limit == "entry_time_in_force"
    assert order in refused.reason


@pytest.mark.parametrize(("order", "force"), [("best", "fok"), ("limit", "ioc"), ("limit", "auto")])
def test_an_exit_always_finds_a_form(order: str, force: str) -> None:
    """What the market does not take becomes a market order: an exit is never refused for style."""
    rules = replace(RULES, chance=replace(CHANCE, ask_types=("market",)))
    settings = Settings(exit_order=order, exit_time_in_force=force)
    assert sale(wish("ask", "exit"), settings, rules, Decimal(1)).ord_type == "market"


@pytest.mark.parametrize("order", ["limit", "market", "best"])
def test_an_entry_that_the_market_does_not_take_is_refused(order: str) -> None:
    rules = replace(RULES, chance=replace(CHANCE, bid_types=("other",)))
    refused = purchase(wish(), Settings(entry_order=order), rules, SPEND)
    assert isinstance(refused, Unfit)
    assert refused.limit == "entry_order"


def test_flatten_is_at_market_whatever_the_settings_say() -> None:
    settings = Settings(exit_order="limit", exit_time_in_force="fok")
    assert sale(wish("ask", "flatten"), settings, RULES, Decimal(1)).ord_type == "market"


def test_a_post_only_entry_stays_under_the_best_ask_over_a_band_edge() -> None:
    rules = replace(RULES, best_ask=Decimal(1_000_000))
    settings = Settings(entry_time_in_force="post_only")
    request = purchase(wish(), settings, rules, SPEND)
    assert not isinstance(request, Unfit)
    assert request.price == Decimal(999_000)


def test_a_post_only_order_says_nothing_about_meeting_its_own() -> None:
    """The venue refuses post_only together with any other smp_type."""
    assert smp_type("post_only") is None
    assert smp_type("ioc") == smp_type(None) == "cancel_taker"
