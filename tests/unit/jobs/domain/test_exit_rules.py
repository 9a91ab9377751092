"""Exits: when a price ends a holding, at the limit itself and one tick beside it."""

from decimal import Decimal

import pytest

from jobs.domain.exit_rules import decide, fallen, risen
from jobs.domain.ledger import Holding
from jobs.domain.settings import Settings

HELD = Holding(volume=Decimal("0.1"), avg_price=Decimal(1000), high_price=Decimal(1000))


@pytest.mark.parametrize(
    ("price", "kind"),
    [
        ("949", "stop_loss"),
        ("950", "stop_loss"),
        ("951", None),
        ("1000", None),
        ("1099", None),
        ("1100", "take_profit"),
        ("5000", "take_profit"),
    ],
)
def test_stop_loss_and_take_profit_count_from_the_average_price(
    price: str, kind: str | None
) -> None:
    found = decide(HELD, Decimal(price), Settings())
    assert (found and found.kind) == kind


@pytest.mark.parametrize(
    ("high", "price", "kind"),
    [
        ("1090", "1036", None),
        ("1090", "1035.5", "trailing_stop"),
        ("1050", "998", None),
        ("1050", "997.5", "trailing_stop"),
    ],
)
def test_the_trailing_stop_counts_from_the_highest_price_seen(
    high: str, price: str, kind: str | None
) -> None:
    holding = Holding(volume=Decimal(1), avg_price=Decimal(1000), high_price=Decimal(high))
    found = decide(holding, Decimal(price), Settings(trailing_stop_pct=Decimal(5)))
    assert (found and found.kind) == kind


def test_a_new_high_is_no_reason_to_sell() -> None:
    settings = Settings(trailing_stop_pct=Decimal(5), take_profit_pct=Decimal(0))
    assert decide(HELD, Decimal(5000), settings) is None


def test_zero_switches_each_exit_off() -> None:
    off = Settings(stop_loss_pct=Decimal(0), take_profit_pct=Decimal(0))
    assert decide(HELD, Decimal(1), off) is None
    assert decide(HELD, Decimal(10**9), off) is None


def test_a_loss_goes_before_the_trail() -> None:
    settings = Settings(trailing_stop_pct=Decimal(1))
    found = decide(HELD, Decimal(900), settings)
    assert found is not None
    assert found.kind == "stop_loss"


def test_nothing_held_is_nothing_to_sell() -> None:
    assert decide(Holding(), Decimal(0), Settings()) is None


def test_the_reason_names_the_fact_and_the_limit() -> None:
    found = decide(HELD, Decimal(940), Settings())
    assert found is not None
    assert found.reason == "price 940 is at or under 950 (stop_loss_pct 5)"


@pytest.mark.parametrize(
    ("price", "bid", "kind"),
    [
        ("940", "940", "stop_loss"),
        ("940", "951", None),  # one false last trade
        ("951", "940", None),  # a swept book
        ("300", "1000", None),
        ("1200", "1100", "take_profit"),
        ("1200", "1099", None),
        ("1099", "3000", None),
    ],
)
def test_a_price_and_the_best_bid_decide_together(price: str, bid: str, kind: str | None) -> None:
    found = decide(HELD, Decimal(price), Settings(), bid=Decimal(bid))
    assert (found and found.kind) == kind


def test_a_false_high_moves_no_trailing_stop() -> None:
    settings = Settings(trailing_stop_pct=Decimal(3), take_profit_pct=Decimal(0))
    assert decide(HELD, Decimal(3000), settings, bid=Decimal(1000)) is None
    assert risen(Decimal(3000), Decimal(1000)) == 1000
    assert fallen(Decimal(300), Decimal(1000)) == 1000
