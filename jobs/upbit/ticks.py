"""Price ticks and order totals of Upbit's markets, by price band, exact.

KRW table: in force since 2025-07-31, docs.upbit.com/kr/docs/krw-market-info (page of 2026-05-04;
its rows from 10 KRW down confirmed by independent copies and a live check of 2026-04-21).
USDT table: since 2024-08-19, usdt-market-info. BTC: one tick for every price, btc-market-info.
Totals: the same pages; BTC maximum since 2025-05-19. What the exchange itself says at run time
(`/orders/chance`, `/orderbook/instruments`) wins over this table where both are known: the ticks it
stated are handed in as `stated`, and hold for the band of prices that they were stated for.
"""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from types import MappingProxyType
from typing import Literal

from jobs.core.errors import BadData

Bands = tuple[tuple[Decimal, Decimal], ...]

StatedTicks = Mapping[Decimal, Decimal]
"""The ticks that the exchange stated for one market, by the lowest price of their band."""

NONE_STATED: StatedTicks = MappingProxyType({})


def _bands(*pairs: tuple[str, str]) -> Bands:
    return tuple((Decimal(floor), Decimal(tick)) for floor, tick in pairs)


# (lowest price of the band, tick), highest band first
_BANDS: dict[str, Bands] = {
    "KRW": _bands(
        ("1000000", "1000"),
        ("500000", "500"),
        ("100000", "100"),
        ("50000", "50"),
        ("10000", "10"),
        ("5000", "5"),
        ("100", "1"),
        ("10", "0.1"),
        ("1", "0.01"),
        ("0.1", "0.001"),
        ("0.01", "0.0001"),
        ("0.001", "0.00001"),
        ("0.0001", "0.000001"),
        ("0.00001", "0.0000001"),
        ("0", "0.00000001"),
    ),
    "BTC": _bands(("0", "0.00000001")),
    "USDT": _bands(
        ("10", "0.01"),
        ("1", "0.001"),
        ("0.1", "0.0001"),
        ("0.01", "0.00001"),
        ("0.001", "0.000001"),
        ("0.0001", "0.0000001"),
        ("0", "0.00000001"),
    ),
}
_MIN_TOTAL = {"KRW": Decimal(5000), "BTC": Decimal("0.00005"), "USDT": Decimal("0.5")}
_MAX_TOTAL = {"KRW": Decimal(1_000_000_000), "BTC": Decimal(10)}
_VOLUME_STEP = Decimal("0.00000001")


def quote_of(market: str) -> str:
    """The currency that prices of `market` are in. Raises BadData for markets unknown here."""
    quote = market.partition("-")[0]
    if quote not in _BANDS:
        raise BadData("a market of an unknown quote currency", market=market)
    return quote


def band_floor(market: str, price: Decimal) -> Decimal:
    """The lowest price of the band of `market` that `price` (0 or more) is in."""
    return _band(market, price)[0]


def uniform(market: str, tick: Decimal) -> StatedTicks:
    """One tick for every band of `market`."""
    return {floor: tick for floor, _ in _BANDS[quote_of(market)]}


def tick_size(market: str, price: Decimal, stated: StatedTicks = NONE_STATED) -> Decimal:
    """The price step of `market` at `price` (0 or more)."""
    floor, tick = _band(market, price)
    return stated.get(floor, tick)


def round_price(
    market: str,
    price: Decimal,
    direction: Literal["down", "up"],
    stated: StatedTicks = NONE_STATED,
) -> Decimal:
    """The nearest valid price at or below (`down`) or at or above (`up`) `price`.

    A price under the smallest tick rounds down to zero.
    """
    tick = tick_size(market, price, stated)
    rest = price % tick
    if not rest:
        return price
    rounded = price - rest if direction == "down" else price - rest + tick
    # edges of the table's bands are multiples of its ticks on both sides; of a stated tick they
    # need not be, and the price beyond the edge obeys the other band's tick
    floor, ceiling = band_floor(market, price), _ceiling(market, price)
    if direction == "down" and rounded < floor:
        return round_price(market, rounded, "down", stated)
    if direction == "up" and ceiling is not None and rounded > ceiling:
        return round_price(market, ceiling, "up", stated)
    return rounded


def is_on_tick(market: str, price: Decimal, stated: StatedTicks = NONE_STATED) -> bool:
    """Whether `price` is a valid limit price."""
    return price > 0 and not price % tick_size(market, price, stated)


def _band(market: str, price: Decimal) -> tuple[Decimal, Decimal]:
    if not price.is_finite() or price < 0:
        raise BadData("that is no price", market=market, price=price)
    return next(band for band in _BANDS[quote_of(market)] if price >= band[0])


def _ceiling(market: str, price: Decimal) -> Decimal | None:
    """Where the band of `price` ends, None for the highest."""
    above = [floor for floor, _ in _BANDS[quote_of(market)] if floor > price]
    return min(above, default=None)


def round_volume(volume: Decimal) -> Decimal:
    """`volume` cut to the 8 decimals that the exchange accepts, never rounded up."""
    return volume.quantize(_VOLUME_STEP, rounding=ROUND_DOWN)


def min_total(market: str) -> Decimal:
    """The smallest order of `market`, in its quote currency."""
    return _MIN_TOTAL[quote_of(market)]


def max_total(market: str) -> Decimal | None:
    """The largest order of `market` in its quote currency; None where only `chance` tells."""
    return _MAX_TOTAL.get(quote_of(market))
