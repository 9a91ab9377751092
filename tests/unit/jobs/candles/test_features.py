"""Indicators from candles: right values, None where there is none, nothing from the future."""

import itertools
import math
from datetime import timedelta
from decimal import Decimal

import pytest
from fixtures.gemini import MakeTape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.candles.features import NAMES, WINDOW, compute

RISING = [1000 + index for index in range(300)]
WAVY = [1000 + 20 * math.sin(index / 9) + index / 10 for index in range(300)]


def rsi(closes: list[float], period: int = 14) -> float:
    """Wilder's RSI the long way round."""
    steps = [after - before for before, after in itertools.pairwise(closes)]
    up = sum(max(step, 0) for step in steps[:period]) / period
    down = sum(max(-step, 0) for step in steps[:period]) / period
    for step in steps[period:]:
        up = (up * (period - 1) + max(step, 0)) / period
        down = (down * (period - 1) + max(-step, 0)) / period
    return 100 * up / (up + down)


def test_returns_are_per_cent_over_their_horizon(make_tape: MakeTape) -> None:
    values = compute(make_tape(RISING)).values
    assert values["ret_1"] == f"{(1299 / 1298 - 1) * 100:.4f}"
    assert values["ret_60"] == f"{(1299 / 1239 - 1) * 100:.4f}"
    assert values["ret_240"] == f"{(1299 / 1059 - 1) * 100:.4f}"


def test_the_rsi_is_wilder_s(make_tape: MakeTape) -> None:
    features = compute(make_tape(WAVY))
    assert features.number("rsi_14") == pytest.approx(
        Decimal(str(rsi(WAVY))), abs=Decimal("0.0001")
    )


def test_bands_stand_two_deviations_from_the_mean(make_tape: MakeTape) -> None:
    last = WAVY[-20:]
    mean = sum(last) / 20
    sigma = math.sqrt(sum((close - mean) ** 2 for close in last) / 20)
    values = compute(make_tape(WAVY)).values
    assert values["bb_width"] == f"{4 * sigma / mean * 100:.4f}"
    assert values["bb_pos"] == f"{(last[-1] - (mean - 2 * sigma)) / (4 * sigma):.4f}"


def test_macd_has_the_sign_of_the_trend_and_its_parts_add_up(make_tape: MakeTape) -> None:
    features = compute(make_tape(RISING))
    macd, signal = features.number("macd"), features.number("macd_signal")
    histogram = features.number("macd_hist")
    assert macd is not None
    assert signal is not None
    assert histogram is not None
    assert macd > 0
    assert abs(macd - signal - histogram) <= Decimal("0.0002")


def test_the_true_range_counts_the_whole_candle(make_tape: MakeTape) -> None:
    assert compute(make_tape([1000] * 300)).values["atr_14"] == "0.2000"  # 1 above, 1 below


def test_the_volume_ratio_leaves_the_newest_out_of_its_mean(make_tape: MakeTape) -> None:
    volumes = [10] * 299 + [35]
    assert compute(make_tape(RISING, volumes=volumes)).values["vol_ratio"] == "3.5000"


def test_a_price_that_never_moved_has_no_rsi_and_no_place_in_its_band(make_tape: MakeTape) -> None:
    values = compute(make_tape([1000] * 300)).values
    assert values["rsi_14"] is None
    assert values["bb_pos"] is None
    assert values["ret_60"] == "0.0000"
    assert values["bb_width"] == "0.0000"


def test_no_volume_before_means_no_ratio(make_tape: MakeTape) -> None:
    volumes = [0] * 299 + [5]
    assert compute(make_tape(RISING, volumes=volumes)).values["vol_ratio"] is None


@pytest.mark.parametrize(
    ("length", "known"),
    [
        (1, set()),
        (2, {"ret_1"}),
        (21, {"ret_1", "ret_5", "ret_15", "bb_pos", "bb_width", "vol_ratio"}),
        (60, {"ret_15", "rsi_14", "atr_14", "missing"}),
        (61, {"ret_60"}),
        (99, {"ret_60"}),
        (100, {"macd", "macd_signal", "macd_hist"}),
        (241, set(NAMES)),
    ],
)
def test_a_short_history_has_no_value_rather_than_zero(
    make_tape: MakeTape, length: int, known: set[str]
) -> None:
    values = compute(make_tape(RISING[:length])).values
    assert set(values) == set(NAMES)
    assert all(values[name] is not None for name in known)
    if length < 100:
        assert values["macd"] is None
        assert values["ret_240"] is None


def test_a_minute_without_a_trade_keeps_the_price(make_tape: MakeTape) -> None:
    closes: list[float | None] = [float(close) for close in WAVY]
    closes[-5] = closes[-6]  # a candle that repeats the price
    gap = [*closes]
    gap[-5] = None  # and no candle at all
    whole, holed = compute(make_tape(closes)).values, compute(make_tape(gap)).values
    for name in ("ret_1", "ret_5", "ret_15", "ret_60", "ret_240", "rsi_14", "macd", "bb_pos"):
        assert holed[name] == whole[name], name
    assert holed["missing"] == f"{1 / 60:.4f}"
    assert holed["vol_ratio"] != whole["vol_ratio"]


def test_a_market_that_hardly_trades_has_no_values(make_tape: MakeTape) -> None:
    closes = [close if index % 3 == 2 else None for index, close in enumerate(RISING)]
    values = compute(make_tape(closes)).values
    assert {name for name, value in values.items() if value is not None} == {"missing", "ret_1"}
    assert values["missing"] == "0.6667"


def test_older_candles_than_the_window_change_nothing(make_tape: MakeTape) -> None:
    tape = make_tape([*range(1, 501), *WAVY])
    assert compute(tape) == compute(tape[-WINDOW:])


def test_a_window_that_begins_in_a_gap_takes_the_price_from_before_it(make_tape: MakeTape) -> None:
    closes = [500.0, *[None] * 5, *WAVY[: WINDOW - 3]]
    values = compute(make_tape(closes)).values
    assert all(values[name] is not None for name in NAMES)


def test_the_newest_candle_names_the_features(make_tape: MakeTape) -> None:
    tape = make_tape(RISING, market="KRW-ETH", unit=5)
    features = compute(tape)
    assert (features.market, features.unit) == ("KRW-ETH", 5)
    assert features.candle_ts == tape[-1].ts
    assert features.close == Decimal(1299)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    closes=st.lists(st.integers(1, 10**9) | st.none(), min_size=1, max_size=320).filter(
        lambda closes: closes[-1] is not None
    ),
    future=st.lists(st.integers(1, 10**9), max_size=5),
)
def test_the_future_changes_nothing_and_every_value_is_a_number(
    make_tape: MakeTape, closes: list[int | None], future: list[int]
) -> None:
    """Features of the past are the same whatever comes after, and always finite text or None."""
    past = make_tape(closes)
    longer = make_tape([*closes, *future])
    features = compute(past)
    assert compute(longer[: len(past)]) == features
    assert all(value is None or math.isfinite(float(value)) for value in features.values.values())


def test_no_candles_are_refused() -> None:
    with pytest.raises(ValueError, match="no candles"):
        compute([])


def test_candles_out_of_order_or_off_the_grid_are_refused(make_tape: MakeTape) -> None:
    tape = make_tape([1, 2, 3])
    with pytest.raises(ValueError, match="order"):
        compute([tape[0], tape[0], tape[2]])
    shifted = make_tape([9], start=tape[0].ts - timedelta(seconds=30))
    with pytest.raises(ValueError, match="grid"):
        compute([*shifted, *tape])
    with pytest.raises(ValueError, match="grid"):
        compute([*make_tape([9], market="KRW-ETH"), *tape[1:]])
