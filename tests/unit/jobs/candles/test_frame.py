"""Candles in columns, as pyupbit's users know them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from jobs.candles.frame import COLUMNS, frame_of
from jobs.upbit.wire import Candle

START = datetime(2026, 1, 5, 15, 30, tzinfo=UTC)


def candles(count: int = 3) -> list[Candle]:
    return [
        Candle(
            market="KRW-BTC",
            unit=5,
            ts=START + number * timedelta(minutes=5),
            open=Decimal(100 + number),
            high=Decimal(110 + number),
            low=Decimal(90 + number),
            close=Decimal(105 + number),
            volume=Decimal("0.5"),
            value=Decimal(52),
        )
        for number in range(count)
    ]


def test_columns_are_named_and_ordered_as_pyupbits() -> None:
    frame = frame_of(candles())
    assert frame.columns == ("open", "high", "low", "close", "volume", "value")
    assert [list(frame[name]) for name in COLUMNS] == [
        [100.0, 101.0, 102.0],
        [110.0, 111.0, 112.0],
        [90.0, 91.0, 92.0],
        [105.0, 106.0, 107.0],
        [0.5] * 3,
        [52.0] * 3,
    ]
    assert (frame.market, frame.unit, len(frame)) == ("KRW-BTC", 5, 3)


def test_the_index_is_korean_time_without_a_zone() -> None:
    assert frame_of(candles(1)).index == (datetime(2026, 1, 6, 0, 30),)  # noqa: DTZ001 - as pyupbit


def test_a_tail_is_the_newest_rows() -> None:
    frame = frame_of(candles())
    assert list(frame.tail(2).close) == [106.0, 107.0]
    assert frame.tail(2).index == frame.index[1:]
    assert len(frame.tail(99)) == 3


def test_columns_cannot_be_changed_by_a_strategy() -> None:
    with pytest.raises(ValueError, match="read-only"):
        frame_of(candles()).close[0] = 1


def test_another_column_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="typical"):
        frame_of(candles())["typical"]  # type: ignore[index]


def test_no_candles_are_no_frame() -> None:
    with pytest.raises(ValueError, match="no candles"):
        frame_of([])


def test_pandas_gets_columns_of_its_own() -> None:
    frame = frame_of(candles())
    table = frame.to_pandas()
    table.loc[table.index[0], "close"] = 1.0
    assert np.array_equal(frame.close, [105.0, 106.0, 107.0])
    assert table["close"].rolling(2).mean().iloc[-1] == 106.5


def test_what_the_exchange_warns_of_goes_with_the_frame() -> None:
    assert frame_of(candles()).marks == ()
    marked = frame_of(candles(), marks=("WARNING", "PRICE_FLUCTUATIONS"))
    assert marked.tail(1).marks == ("WARNING", "PRICE_FLUCTUATIONS")
