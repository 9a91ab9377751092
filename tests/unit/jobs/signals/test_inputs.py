"""The spread of a book in per cent, and none where a book has none."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from jobs.signals.inputs import spread_pct
from jobs.upbit.wire import Level, Orderbook


def book(*levels: tuple[int, int]) -> Orderbook:
    units = tuple(
        Level(
            ask_price=Decimal(ask), ask_size=Decimal(1), bid_price=Decimal(bid), bid_size=Decimal(1)
        )
        for ask, bid in levels
    )
    return Orderbook(market="KRW-BTC", ts=datetime(2026, 1, 5, tzinfo=UTC), units=units)


@pytest.mark.parametrize(
    ("levels", "spread"),
    [
        ([(101, 99), (200, 1)], Decimal(2)),
        ([(100, 100)], Decimal(0)),
        ([(99, 101)], None),  # crossed
        ([(100, 0)], None),  # nobody bids
        ([], None),
    ],
)
def test_spread(levels: list[tuple[int, int]], spread: Decimal | None) -> None:
    assert spread_pct(book(*levels)) == spread
