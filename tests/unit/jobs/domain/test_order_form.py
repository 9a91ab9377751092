"""Every style of order, as it is written; golden, pure."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from jobs.domain.order_form import Unfit, purchase, smp_type, total
from jobs.domain.portfolio import Purpose, Rules, Wish
from jobs.domain.settings import Settings
from jobs.matching.rules import Rules as VenueRules
from jobs.matching.rules import check_amounts, check_shape
from jobs.upbit.wire import Chance, Level, Orderbook

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
BOOK = Orderbook(
    market="KRW-BTC",
    ts=datetime(2026, 1, 5, tzinfo=UTC),
    units=(
        Level(
            ask_price=Decimal(100_001_000),
            ask_size=Decimal(1),
            bid_price=Decimal(100_000_000),
            bid_size=Decimal(1),
        ),
    ),
)
RULES = Rules(chance=CHANCE, price=Decimal(100_000_400), book=BOOK)


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
    ("market", "auto", "limit", "ioc", "101000000", "0.00099009", "cancel_taker"),
    ("best", "auto", "best", "ioc", "100000", None, "cancel_taker"),
    ("best", "fok", "best", "fok", "100000", None, "cancel_taker"),
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


@pytest.mark.parametrize(("order", "force"), UNFIT)
def test_an_entry_whose_settings_do_not_fit_each_other_is_refused(order: str, force: str) -> None:
    settings = Settings(entry_order=order, entry_time_in_force=force)
    refused = purchase(wish(), settings, RULES, SPEND)
    assert isinstance(refused, Unfit)
    assert refused.limit == "entry_time_in_force"
    assert order in refused.reason


@pytest.mark.parametrize("order", ["limit", "market", "best"])
def test_an_entry_that_the_market_does_not_take_is_refused(order: str) -> None:
    rules = replace(RULES, chance=replace(CHANCE, bid_types=("other",)))
    refused = purchase(wish(), Settings(entry_order=order), rules, SPEND)
    assert isinstance(refused, Unfit)
    assert refused.limit == "entry_order"


def test_a_market_entry_is_bounded_in_a_form_that_the_market_offers() -> None:
    settings = Settings(entry_order="market")
    for offered, ord_type, force in [
        (("limit_ioc", "limit", "price"), "limit", "ioc"),
        (("limit", "price"), "limit", None),
        (("best_ioc", "price"), "best", "ioc"),
    ]:
        rules = replace(RULES, chance=replace(CHANCE, bid_types=offered))
        request = purchase(wish(), settings, rules, SPEND)
        assert not isinstance(request, Unfit)
        assert (request.ord_type, request.time_in_force) == (ord_type, force)
    only_market = replace(RULES, chance=replace(CHANCE, bid_types=("price",)))
    assert isinstance(purchase(wish(), settings, only_market, SPEND), Unfit)


def test_without_a_bound_a_market_entry_is_one() -> None:
    settings = Settings(entry_order="market", max_entry_deviation_pct=Decimal(0))
    request = purchase(wish(), settings, RULES, SPEND)
    assert not isinstance(request, Unfit)
    assert (request.ord_type, request.price, request.volume) == ("price", SPEND, None)


def test_a_post_only_entry_stays_under_the_best_ask_over_a_band_edge() -> None:
    level = replace(BOOK.units[0], ask_price=Decimal(1_000_000), bid_price=Decimal(999_000))
    rules = replace(RULES, price=Decimal(1_000_000), book=replace(BOOK, units=(level,)))
    settings = Settings(entry_time_in_force="post_only")
    request = purchase(wish(), settings, rules, SPEND)
    assert not isinstance(request, Unfit)
    assert request.price == Decimal(999_000)


def test_a_post_only_order_says_nothing_about_meeting_its_own() -> None:
    """The venue refuses post_only together with any other smp_type."""
    assert smp_type("post_only") is None
    assert smp_type("ioc") == smp_type(None) == "cancel_taker"
