"""Candles → indicators, pure: the same candles give the same text, live and in replay.

All horizons count candles of one `unit`, ending with the newest finished one:

    ret_1 ret_5 ret_15 ret_60 ret_240   change of the close, per cent
    rsi_14                              Wilder's RSI, 0 to 100
    macd macd_signal macd_hist          12/26/9, per cent of the close
    bb_pos                              close within the 20-candle 2-sigma band: 0 low, 1 high
    bb_width                            width of that band, per cent of its middle
    atr_14                              average true range, per cent of the close
    vol_ratio                           newest volume ÷ mean volume of the 20 before
    missing                             share of the last 60 intervals without a trade, 0 to 1

An interval without a candle had no trade: its price stays, its volume is 0. A value is None, never
0, when the history is too short for it, when more than half of its intervals had no trade, or when
it is undefined (the RSI of a price that never moved). Floats live in this file only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import talib

from jobs.upbit.wire import Candle

HORIZONS = (1, 5, 15, 60, 240)
WINDOW = 300
"""Intervals that are looked at; smoothed indicators depend on where they begin."""

MOST_MISSING = 0.5
MISSING_OVER = 60
DECIMALS = 4

# candles that must exist before a value is given: enough for its smoothing to forget the start
NEEDS = {"rsi_14": 60, "macd": 100, "bb": 20, "atr_14": 60, "vol_ratio": 21}

NAMES = (
    *(f"ret_{horizon}" for horizon in HORIZONS),
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_hist",
    "bb_pos",
    "bb_width",
    "atr_14",
    "vol_ratio",
    "missing",
)

LONGER_NAMES = ("ret_1", "ret_5", "ret_15", "rsi_14", "macd_hist", "bb_pos", "atr_14", "vol_ratio")
"""What is told of larger candles than the ones that decisions follow."""

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Indicators of one market as of the candle that began at `candle_ts`.

    `values` has every name of NAMES as a decimal string, or None where there is no value.
    """

    market: str
    unit: int
    candle_ts: datetime
    close: Decimal
    values: Mapping[str, str | None]

    def number(self, name: str) -> Decimal | None:
        """One value as a number, or None."""
        value = self.values[name]
        return None if value is None else Decimal(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """One entry an interval, oldest first; `traded` False where the price was carried over."""

    close: Floats
    high: Floats
    low: Floats
    volume: Floats
    traded: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def covers(self, intervals: int) -> bool:
        """Whether the last `intervals` exist and at least half of them had a trade."""
        if len(self.close) < intervals:
            return False
        return self.missing(intervals) <= MOST_MISSING

    def missing(self, intervals: int) -> float:
        return 1.0 - float(np.mean(self.traded[-intervals:]))


def compute(candles: Sequence[Candle]) -> Features:
    """Features of one market's finished candles, oldest first, one unit.

    Raises ValueError when there are none, or they are not in order on one grid.
    """
    if not candles:
        raise ValueError("no candles")
    newest = candles[-1]
    grid = _grid(candles)
    values = _returns(grid) | _oscillators(grid) | _bands(grid) | _volumes(grid)
    return Features(
        market=newest.market,
        unit=newest.unit,
        candle_ts=newest.ts,
        close=newest.close,
        values={name: _text(values[name]) for name in NAMES},
    )


def _grid(candles: Sequence[Candle]) -> _Grid:
    newest = candles[-1]
    unit = timedelta(minutes=newest.unit)
    begin = max(candles[0].ts, newest.ts - (WINDOW - 1) * unit)
    seats = []
    for candle in candles:
        seat, off = divmod(candle.ts - begin, unit)
        if off or candle.market != newest.market or candle.unit != newest.unit:
            raise ValueError(f"{candle.market} at {candle.ts}: not on the grid of {newest.market}")
        seats.append(seat)
    if any(later <= earlier for earlier, later in pairwise(seats)):
        raise ValueError(f"{newest.market}: candles are not in order")
    return _fill(candles, np.array(seats))


def _fill(candles: Sequence[Candle], seats: np.ndarray[tuple[int], np.dtype[np.int64]]) -> _Grid:
    """Spread candles over their seats; an empty seat repeats the close before it."""
    size = int(seats[-1]) + 1
    before = candles[: int(np.searchsorted(seats, 0))]  # older than the window
    rows = candles[len(before) :]
    seats = seats[len(before) :]
    traded = np.zeros(size, dtype=np.bool_)
    traded[seats] = True
    source = np.cumsum(traded) - 1  # the candle each seat gets its price from; -1: one before
    carried = float(before[-1].close) if before else float(rows[0].close)
    close = np.array([*(float(row.close) for row in rows), carried])[source]
    high, low, volume = close.copy(), close.copy(), np.zeros(size)
    high[seats] = [float(row.high) for row in rows]
    low[seats] = [float(row.low) for row in rows]
    volume[seats] = [float(row.volume) for row in rows]
    return _Grid(close=close, high=high, low=low, volume=volume, traded=traded)


def _returns(grid: _Grid) -> dict[str, float | None]:
    now = float(grid.close[-1])
    return {
        f"ret_{horizon}": (now / float(grid.close[-1 - horizon]) - 1) * 100
        if grid.covers(horizon + 1)
        else None
        for horizon in HORIZONS
    }


def _oscillators(grid: _Grid) -> dict[str, float | None]:
    values: dict[str, float | None] = dict.fromkeys(("rsi_14", "macd", "macd_signal", "macd_hist"))
    if grid.covers(NEEDS["rsi_14"]) and np.ptp(grid.close[-NEEDS["rsi_14"] :]) > 0:
        values["rsi_14"] = float(talib.RSI(grid.close, 14)[-1])
    if grid.covers(NEEDS["macd"]):
        parts = talib.MACD(grid.close, 12, 26, 9)
        for name, part in zip(("macd", "macd_signal", "macd_hist"), parts, strict=True):
            values[name] = float(part[-1] / grid.close[-1] * 100)
    return values


def _bands(grid: _Grid) -> dict[str, float | None]:
    values: dict[str, float | None] = dict.fromkeys(("bb_pos", "bb_width", "atr_14"))
    if grid.covers(NEEDS["bb"]):
        upper, middle, lower = (float(band[-1]) for band in talib.BBANDS(grid.close, 20, 2, 2))
        values["bb_width"] = (upper - lower) / middle * 100
        if upper > lower:
            values["bb_pos"] = (float(grid.close[-1]) - lower) / (upper - lower)
    if grid.covers(NEEDS["atr_14"]):
        atr = talib.ATR(grid.high, grid.low, grid.close, 14)
        values["atr_14"] = float(atr[-1] / grid.close[-1] * 100)
    return values


def _volumes(grid: _Grid) -> dict[str, float | None]:
    values: dict[str, float | None] = {"vol_ratio": None}
    values["missing"] = grid.missing(MISSING_OVER) if len(grid.close) >= MISSING_OVER else None
    if grid.covers(NEEDS["vol_ratio"]):
        usual = float(np.mean(grid.volume[-NEEDS["vol_ratio"] : -1]))
        values["vol_ratio"] = float(grid.volume[-1]) / usual if usual > 0 else None
    return values


def _text(value: float | None) -> str | None:
    if value is None or not np.isfinite(value):
        return None
    rounded = f"{value:.{DECIMALS}f}"
    return f"{0:.{DECIMALS}f}" if float(rounded) == 0 else rounded
