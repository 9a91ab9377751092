"""Every step of an exit, as it is written; and that the venue would take whatever is written."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.due_exits import DueExit
from jobs.domain.exit_form import Unsold, sale
from jobs.domain.order_book import best_bid
from jobs.domain.portfolio import Purpose, Rules, Wish
from jobs.domain.settings import Settings
from jobs.matching.rules import ASK_TYPES, BID_TYPES, check_amounts, check_shape
from jobs.matching.rules import Rules as VenueRules
from jobs.upbit import ticks
from jobs.upbit.wire import Chance, Level, Orderbook, OrderRequest

AT = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
CHANCE = Chance(
    market="KRW-BTC",
    bid_fee=Decimal("0.0005"),
    ask_fee=Decimal("0.0005"),
    bid_min_total=Decimal(5000),
    ask_min_total=Decimal(5000),
    max_total=Decimal(1_000_000_000),
    state="active",
    bid_types=BID_TYPES,
    ask_types=ASK_TYPES,
)
DUE = DueExit(purpose="stop_loss", reason="price fell", since=AT)


def book(*bids: tuple[int, str]) -> Orderbook:
    units = tuple(
        Level(
            ask_price=Decimal(100_001_000),
            ask_size=Decimal(1),
            bid_price=Decimal(price),
            bid_size=Decimal(size),
        )
        for price, size in bids
    )
    return Orderbook(market="KRW-BTC", ts=AT, units=units)


DEEP = book((100_000_000, "5"), (60_000_000, "5"))
RULES = Rules(chance=CHANCE, price=Decimal(100_000_400), book=DEEP)


def failed(times: int, refusal: str | None = None) -> DueExit:
    due = DUE
    for _ in range(times):
        due = due.tried(held=Decimal(1), sent=Decimal(1), refusal=refusal)
    return due


def sold(
    rules: Rules = RULES,
    *,
    volume: str = "0.5",
    settings: Settings | None = None,
    purpose: Purpose = "stop_loss",
) -> OrderRequest:
    wish = Wish(market="KRW-BTC", side="ask", purpose=purpose, identifier="upd-1", reason="a test")
    request = sale(wish, settings or Settings(), rules, Decimal(volume))
    assert isinstance(request, OrderRequest), request
    check_shape(request, VenueRules())
    check_amounts(request, best_bid(rules.book) or rules.price)
    return request


def form(request: OrderRequest) -> tuple[str, str | None, str | None]:
    price = None if request.price is None else f"{request.price:f}"
    return request.ord_type, request.time_in_force, price


@pytest.mark.parametrize(
    ("attempts", "written"),
    [
        (0, ("limit", "ioc", "97000000")),
        (1, ("limit", "ioc", "94000000")),
        (2, ("limit", "ioc", "91000000")),
        (3, ("market", None, None)),
        (9, ("market", None, None)),
    ],
)
def test_each_attempt_goes_a_step_further_and_the_last_takes_any_price(
    attempts: int, written: tuple[str, str | None, str | None]
) -> None:
    assert form(sold(replace(RULES, due=failed(attempts)))) == written
    assert form(sold(replace(RULES, due=failed(attempts)), purpose="flatten")) == written


@pytest.mark.parametrize(
    ("order", "force", "written"),
    [
        ("limit", "auto", ("limit", None, "100000000")),
        ("limit", "ioc", ("limit", "ioc", "100000000")),
        ("limit", "fok", ("limit", "fok", "100000000")),
        ("best", "auto", ("best", "ioc", None)),
        ("best", "fok", ("best", "fok", None)),
        ("market", "fok", ("limit", "ioc", "97000000")),
    ],
)
def test_the_first_attempt_is_as_the_settings_ask_and_the_next_ones_are_bounded(
    order: str, force: str, written: tuple[str, str | None, str | None]
) -> None:
    settings = Settings(exit_order=order, exit_time_in_force=force)
    assert form(sold(settings=settings)) == written
    again = form(sold(replace(RULES, due=failed(1)), settings=settings))
    assert again == ("limit", "ioc", "94000000")


@pytest.mark.parametrize(
    ("offered", "attempts", "written"),
    [
        (("limit",), 0, ("limit", None, "97000000")),
        (("limit",), 3, ("limit", None, "60000000")),
        (("limit", "limit_ioc"), 3, ("limit", "ioc", "60000000")),
        (("market",), 0, ("market", None, None)),
        (("best_ioc", "market"), 0, ("best", "ioc", None)),
        (("best_ioc",), 3, ("best", "ioc", None)),
        ((), 0, ("limit", "ioc", "97000000")),
        (("limit_fok",), 0, ("market", None, None)),
    ],
)
def test_an_exit_takes_a_form_that_the_market_offers(
    offered: tuple[str, ...], attempts: int, written: tuple[str, str | None, str | None]
) -> None:
    chance = replace(CHANCE, ask_types=offered)
    rules = replace(RULES, chance=chance, due=failed(attempts))
    assert form(sold(rules)) == written
    if "best_fok" not in offered and offered:
        asked = Settings(exit_order="best", exit_time_in_force="fok")
        assert attempts or form(sold(rules, settings=asked)) == written


def test_the_volume_is_what_the_book_holds_down_to_the_bound() -> None:
    thin = replace(RULES, book=book((100_000_000, "0.2"), (98_000_000, "0.1"), (90_000_000, "3")))
    assert sold(thin, volume="5").volume == Decimal("0.3")
    assert sold(replace(thin, due=failed(3)), volume="5").volume == Decimal("3.3")


def test_a_market_sale_is_halved_each_time_the_exchange_finds_it_too_large() -> None:
    rules = replace(RULES, book=book((100_000_000, "4")))
    volumes = [
        sold(replace(rules, due=failed(times, "volume_too_large")), volume="9").volume
        for times in range(9)
    ]
    assert volumes == [Decimal(v) for v in ("4", "4", "4", "4", "2", "1", "0.5", "0.25", "0.25")]


def test_what_remains_can_be_sold_as_well() -> None:
    """Of 12,000 KRW the book buys 8,000; 4,000 could never be sold."""
    rules = replace(RULES, book=book((100_000_000, "0.00008")))
    volume = sold(rules, volume="0.00012").volume
    assert volume is not None
    assert volume * 100_000_000 >= 5000
    assert (Decimal("0.00012") - volume) * 97_000_000 >= 5000
    assert sold(rules, volume="0.0001").volume == Decimal("0.0001")


def test_a_small_position_is_sold_whole_at_a_price_that_makes_the_least_total() -> None:
    request = sold(volume="0.000051")
    assert (request.volume, request.price) == (Decimal("0.000051"), Decimal(98_040_000))


def test_without_a_book_the_last_price_bounds_the_sale() -> None:
    rules = replace(RULES, book=None)
    assert form(sold(rules)) == ("limit", "ioc", "97000000")
    assert form(sold(replace(rules, due=failed(3)))) == ("market", None, None)


@pytest.mark.parametrize(
    ("rules", "volume", "limit"),
    [
        (replace(RULES, book=book((0, "0"))), "1", "no_bids"),
        (RULES, "0.00004", "dust"),
    ],
)
def test_what_cannot_be_sold_is_said(rules: Rules, volume: str, limit: str) -> None:
    wish = Wish(market="KRW-BTC", side="ask", purpose="exit", identifier="upd-1", reason="test")
    found = sale(wish, Settings(), rules, Decimal(volume))
    assert isinstance(found, Unsold)
    assert found.limit == limit


@given(
    price=st.decimals(min_value="0.0001", max_value="200000000", places=4),
    worth=st.integers(5001, 3_000_000_000),
    sizes=st.lists(st.integers(1, 10**12), min_size=1, max_size=30),
    attempts=st.integers(0, 12),
    refusal=st.sampled_from([None, "volume_too_large"]),
    offered=st.sampled_from([ASK_TYPES, ("limit",), ("market",), ()]),
)
def test_whatever_is_written_the_venue_takes_and_never_more_than_is_held(
    price: Decimal,
    worth: int,
    sizes: list[int],
    attempts: int,
    refusal: str | None,
    offered: tuple[str, ...],
) -> None:
    bids: list[Level] = []
    level = ticks.round_price("KRW-BTC", price, "up")
    for size in sizes:
        if level <= 0:
            break
        bids.append(
            Level(
                ask_price=Decimal(0),
                ask_size=Decimal(0),
                bid_price=level,
                bid_size=ticks.round_volume(size / level) or Decimal("0.00000001"),
            )
        )
        level = ticks.round_price("KRW-BTC", level * Decimal("0.97"), "down")
    best = bids[0].bid_price
    held = ticks.round_volume(worth / best)
    shown = Orderbook(market="KRW-BTC", ts=AT, units=tuple(bids))
    rules = Rules(
        chance=replace(CHANCE, ask_types=offered),
        price=best,
        book=shown,
        due=failed(attempts, refusal),
    )
    wish = Wish(market="KRW-BTC", side="ask", purpose="exit", identifier="upd-1", reason="test")
    request = sale(wish, Settings(), rules, held)
    if isinstance(request, Unsold):
        assert request.limit == "dust"
        assert held * best < 5000
        return
    assert request.volume is not None
    assert 0 < request.volume <= held
    check_shape(request, VenueRules())
    check_amounts(request, best)
    visible = sum((unit.bid_size for unit in bids), Decimal(0))
    if request.ord_type == "market" and offered != ("market",):
        assert request.volume <= visible
