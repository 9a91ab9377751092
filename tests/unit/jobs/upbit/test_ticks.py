from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.errors import BadData
from jobs.upbit.ticks import (
    band_floor,
    is_on_tick,
    max_total,
    min_total,
    quote_of,
    round_price,
    round_volume,
    tick_size,
    uniform,
)

PRICES = st.decimals(
    min_value=Decimal("0.00000001"), max_value=Decimal(999_999_999), places=8, allow_nan=False
)
MARKETS = st.sampled_from(["KRW-BTC", "BTC-ETH", "USDT-XRP"])


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        ("2500000", "1000"),
        ("1000000", "1000"),
        ("999999", "500"),
        ("658000", "500"),
        ("500000", "500"),
        ("134000", "100"),
        ("50000", "50"),
        ("37990", "10"),
        ("6180", "5"),
        ("4999", "1"),
        ("2663", "1"),
        ("100", "1"),
        ("99.9", "0.1"),
        ("41.1", "0.1"),
        ("9.99", "0.01"),
        ("0.5", "0.001"),
        ("0.0106", "0.0001"),
        ("0.005", "0.00001"),
        ("0.0005", "0.000001"),
        ("0.00005", "0.0000001"),
        ("0.000001", "0.00000001"),
    ],
)
def test_krw_bands(price: str, tick: str) -> None:
    assert tick_size("KRW-BTC", Decimal(price)) == Decimal(tick)


def test_btc_markets_have_one_tick_and_usdt_markets_their_own_bands() -> None:
    assert tick_size("BTC-ETH", Decimal("0.05")) == Decimal("0.00000001")
    assert tick_size("USDT-BTC", Decimal(60000)) == Decimal("0.01")
    assert tick_size("USDT-XRP", Decimal("0.5")) == Decimal("0.0001")


@pytest.mark.parametrize(
    ("price", "down", "up"),
    [
        ("1000000.5", "1000000", "1001000"),
        ("999999", "999500", "1000000"),  # up across the edge of a band
        ("99.95", "99.9", "100"),
        ("9.999", "9.99", "10"),
        ("500000", "500000", "500000"),
        ("0.000000005", "0", "0.00000001"),
    ],
)
def test_rounding(price: str, down: str, up: str) -> None:
    assert round_price("KRW-BTC", Decimal(price), "down") == Decimal(down)
    assert round_price("KRW-BTC", Decimal(price), "up") == Decimal(up)


@given(MARKETS, PRICES)
def test_rounded_prices_are_valid_and_next_to_the_price(market: str, price: Decimal) -> None:
    down, up = (round_price(market, price, way) for way in ("down", "up"))
    assert down <= price <= up
    assert is_on_tick(market, up)
    assert down == 0 or is_on_tick(market, down)
    assert up - down <= tick_size(market, price)


@pytest.mark.parametrize(
    ("price", "is_valid"), [("1000500", False), ("999500", True), ("0", False), ("100.5", False)]
)
def test_is_on_tick(price: str, is_valid: bool) -> None:
    assert is_on_tick("KRW-BTC", Decimal(price)) is is_valid


def test_volume_is_cut_never_rounded_up() -> None:
    assert round_volume(Decimal("0.123456789")) == Decimal("0.12345678")
    assert round_volume(Decimal("0.000000009")) == 0


def test_totals() -> None:
    assert min_total("KRW-BTC") == 5000
    assert max_total("KRW-BTC") == 1_000_000_000
    assert min_total("USDT-BTC") == Decimal("0.5")
    assert max_total("USDT-BTC") is None


@pytest.mark.parametrize("market", ["EUR-BTC", "", "BTC"])
def test_unknown_markets_are_said_to_be(market: str) -> None:
    if market == "BTC":
        assert quote_of(market) == "BTC"
    else:
        with pytest.raises(BadData):
            quote_of(market)


@pytest.mark.parametrize("price", ["-1", "NaN"])
def test_impossible_prices_are_said_to_be(price: str) -> None:
    with pytest.raises(BadData):
        tick_size("KRW-BTC", Decimal(price))


def test_a_stated_tick_holds_for_its_band_and_no_other() -> None:
    stated = {Decimal(100): Decimal(5)}
    assert tick_size("KRW-XRP", Decimal(3001), stated) == 5
    assert tick_size("KRW-XRP", Decimal(5000), stated) == 5, "of the table"
    assert tick_size("KRW-XRP", Decimal(99), stated) == Decimal("0.1")
    assert round_price("KRW-XRP", Decimal(3001), "up", stated) == 3005
    assert round_price("KRW-XRP", Decimal(3001), "down", stated) == 3000
    assert not is_on_tick("KRW-XRP", Decimal(3001), stated)
    assert is_on_tick("KRW-XRP", Decimal(3001))


@given(PRICES, st.sampled_from(["up", "down"]), st.integers(1, 999))
def test_rounding_by_odd_stated_ticks_stays_valid_across_edges(
    price: Decimal, direction: Literal["up", "down"], per_mille: int
) -> None:
    """A stated tick need not divide the edges of its band; the other side has another tick."""
    market = "KRW-XRP"
    tick = tick_size(market, price)
    stated = {band_floor(market, price): tick * per_mille / 100}
    rounded = round_price(market, price, direction, stated)
    assert rounded <= price if direction == "down" else rounded >= price
    assert rounded == 0 or is_on_tick(market, rounded, stated)


def test_one_tick_for_all_bands() -> None:
    stated = uniform("KRW-XRP", Decimal(7))
    assert {tick_size("KRW-XRP", Decimal(p), stated) for p in (1, 500, 2_000_000)} == {7}
