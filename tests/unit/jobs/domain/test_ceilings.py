"""Ceilings: what is set above them is refused, and what is stored above them does not count."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.ceilings import UNLIMITED, Ceilings
from jobs.domain.settings import Settings

CEILINGS = Ceilings(
    max_position_krw=Decimal(500_000), max_orders_per_day=5, daily_loss_limit_krw=Decimal(50_000)
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_position_krw", Decimal("500000.01")),
        ("max_position_krw", Decimal(10**12)),
        ("max_orders_per_day", 6),
        ("daily_loss_limit_krw", Decimal(50_001)),
        ("daily_loss_limit_krw", Decimal(0)),
    ],
)
def test_what_passes_a_ceiling_is_refused_by_name(key: str, value: Decimal | int) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: .* passes the ceiling .* of \[limits\]"):
        CEILINGS.check(key, value)
    UNLIMITED.check(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_position_krw", Decimal(500_000)),
        ("max_orders_per_day", 0),
        ("daily_loss_limit_krw", Decimal(1)),
        ("max_open_positions", 1000),
        ("entry_order", "market"),
    ],
)
def test_what_keeps_to_it_is_not(key: str, value: Decimal | int | str) -> None:
    CEILINGS.check(key, value)


def test_what_is_stored_above_it_counts_as_the_ceiling() -> None:
    stored = Settings(
        max_position_krw=Decimal(10**12), max_orders_per_day=10**5, daily_loss_limit_krw=Decimal(0)
    )
    bound = CEILINGS.bound(stored)
    assert bound.max_position_krw == 500_000
    assert bound.max_orders_per_day == 5
    assert bound.daily_loss_limit_krw == 50_000
    assert UNLIMITED.bound(stored) == stored


@given(st.decimals(0, 10**12), st.integers(0, 10**5), st.decimals(0, 10**12))
def test_what_is_in_force_would_be_allowed(position: Decimal, orders: int, loss: Decimal) -> None:
    stored = Settings(
        max_position_krw=position, max_orders_per_day=orders, daily_loss_limit_krw=loss
    )
    bound = CEILINGS.bound(stored)
    for key in ("max_position_krw", "max_orders_per_day", "daily_loss_limit_krw"):
        CEILINGS.check(key, getattr(bound, key))
