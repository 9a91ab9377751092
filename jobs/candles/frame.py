"""Candles in columns, named and ordered as pyupbit's `get_ohlcv` gives them, without pandas.

    frame["close"][-1]            the newest close
    frame.close.mean()            the same column as an attribute; columns are numpy arrays
    frame.to_pandas()             the very DataFrame of pyupbit.get_ohlcv, where pandas is installed

    frame.daily                   days from 09:00 to 09:00 as a frame; the last is today so far

Rows are finished candles, oldest first; an interval without a trade has no row. Columns are floats
and read-only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

import numpy as np

from jobs.candles.days import Days
from jobs.upbit.wire import Candle

Column = Literal["open", "high", "low", "close", "volume", "value"]
COLUMNS: Final[tuple[Column, ...]] = ("open", "high", "low", "close", "volume", "value")
KST = timezone(timedelta(hours=9), "KST")

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


class NotYet(LookupError):
    """What was asked for is not complete yet; whoever asks has nothing to say, and no fault."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candles:
    """One market's candles of `unit` minutes.

    `index` is when each began: Korean time without a zone, as pyupbit has it. `days` are those that
    `daily` shows, `marks` what the exchange warns of: "WARNING" (it may delist the market), then
    its caution marks; none in a backtest, where nobody recorded them.
    """

    market: str
    unit: int
    index: tuple[datetime, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    value: Floats
    days: Days = field(default_factory=Days, repr=False)
    marks: tuple[str, ...] = ()

    @property
    def daily(self) -> "Candles":
        """The market's days as `pyupbit.get_ohlcv(interval="day")` has them, oldest first.

        The last is the day of the newest candle so far, the one before it is complete. Raises
        NotYet while they are not known to be complete.
        """
        if not self.days.candles:
            raise NotYet(f"no days of {self.market}: {self.days.why_not}")
        return frame_of(self.days.candles)

    def __len__(self) -> int:
        """How many candles there are."""
        return len(self.index)

    def __getitem__(self, column: Column) -> Floats:
        """A column by its name. Raises KeyError for any other name."""
        if column not in COLUMNS:
            raise KeyError(column)
        values: Floats = getattr(self, column)
        return values

    @property
    def columns(self) -> tuple[Column, ...]:
        """The names of the columns, in pyupbit's order."""
        return COLUMNS

    def tail(self, count: int) -> "Candles":
        """The newest `count` candles."""
        begin = max(0, len(self) - count)
        columns = {name: self[name][begin:] for name in COLUMNS}
        return Candles(
            market=self.market,
            unit=self.unit,
            index=self.index[begin:],
            days=self.days,
            marks=self.marks,
            **columns,
        )

    def to_pandas(self) -> Any:
        """A new DataFrame like pyupbit's. Raises ImportError where pandas is not installed."""
        import pandas as pd  # not a dependency of the daemon

        return pd.DataFrame(
            {name: np.array(self[name]) for name in COLUMNS}, index=list(self.index)
        )


def frame_of(
    candles: Sequence[Candle], days: Days | None = None, marks: tuple[str, ...] = ()
) -> Candles:
    """The frame of one market's candles, oldest first. Raises ValueError when there are none."""
    if not candles:
        raise ValueError("no candles")
    return Candles(
        market=candles[-1].market,
        unit=candles[-1].unit,
        index=tuple(each.ts.astimezone(KST).replace(tzinfo=None) for each in candles),
        open=_column([each.open for each in candles]),
        high=_column([each.high for each in candles]),
        low=_column([each.low for each in candles]),
        close=_column([each.close for each in candles]),
        volume=_column([each.volume for each in candles]),
        value=_column([each.value for each in candles]),
        days=days or Days(),
        marks=marks,
    )


def _column(values: Sequence[object]) -> Floats:
    column = np.array(values, dtype=np.float64)
    column.flags.writeable = False
    return column
