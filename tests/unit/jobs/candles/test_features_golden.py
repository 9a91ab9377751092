"""Every indicator that TA-Lib computes, computed once more by hand on a rough tape with numpy.

The formulas stand in docs/features.md. TA-Lib is not used here.
"""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from fixtures.gemini import TAPE_START, MakeTape

from jobs.candles.features import NAMES, compute
from jobs.candles.resample import MINUTE, aggregate
from jobs.upbit.wire import Candle

Values = list[float]
EXACT = Decimal("0.0001")


def rough(make_tape: MakeTape, seed: int, length: int = 300) -> list[Candle]:
    """A random walk with uneven ranges and volumes, on prices such as Upbit's."""
    random = np.random.default_rng(seed)
    closes = 50_000 * np.exp(np.cumsum(random.normal(0, 0.002, length)))
    tape = make_tape([round(float(close), 1) for close in closes])
    return [
        replace(
            candle,
            high=candle.close + Decimal(str(round(float(random.uniform(0, 90)), 1))),
            low=candle.close - Decimal(str(round(float(random.uniform(0, 90)), 1))),
            volume=Decimal(str(round(float(random.lognormal(1, 1)), 8))),
        )
        for candle in tape
    ]


def numbers(tape: list[Candle], name: str) -> Values:
    return [float(getattr(candle, name)) for candle in tape]


def ema(values: Values, period: int, first: int) -> Values:
    """An exponential mean that begins at index `first` with the plain mean up to there."""
    made = [float(np.mean(values[first - period + 1 : first + 1]))]
    for value in values[first + 1 :]:
        made.append(made[-1] + (value - made[-1]) * 2 / (period + 1))
    return made


def macd(closes: Values) -> tuple[float, float, float]:
    fast, slow = ema(closes, 12, 25), ema(closes, 26, 25)
    line = [one - other for one, other in zip(fast, slow, strict=True)]
    signal = ema(line, 9, 8)
    return line[-1], signal[-1], line[-1] - signal[-1]


def wilder(values: Values, period: int) -> float:
    made = float(np.mean(values[:period]))
    for value in values[period:]:
        made = (made * (period - 1) + value) / period
    return made


def rsi(closes: Values) -> float:
    steps = np.diff(closes)
    up, down = wilder(list(np.maximum(steps, 0)), 14), wilder(list(np.maximum(-steps, 0)), 14)
    return 100 * up / (up + down)


def atr(tape: list[Candle]) -> float:
    closes, highs, lows = (numbers(tape, name) for name in ("close", "high", "low"))
    ranges = [
        max(highs[at], closes[at - 1]) - min(lows[at], closes[at - 1]) for at in range(1, len(tape))
    ]
    return wilder(ranges, 14)


def by_hand(tape: list[Candle]) -> dict[str, float]:
    closes, volumes = numbers(tape, "close"), numbers(tape, "volume")
    now = closes[-1]
    line, signal, histogram = macd(closes)
    middle, sigma = float(np.mean(closes[-20:])), float(np.std(closes[-20:]))
    return {
        **{f"ret_{back}": (now / closes[-1 - back] - 1) * 100 for back in (1, 5, 15, 60, 240)},
        "rsi_14": rsi(closes),
        "macd": line / now * 100,
        "macd_signal": signal / now * 100,
        "macd_hist": histogram / now * 100,
        "bb_pos": (now - (middle - 2 * sigma)) / (4 * sigma),
        "bb_width": 4 * sigma / middle * 100,
        "atr_14": atr(tape) / now * 100,
        "vol_ratio": volumes[-1] / float(np.mean(volumes[-21:-1])),
        "missing": 0.0,
    }


@pytest.mark.parametrize("seed", range(20))
def test_every_value_is_the_one_computed_by_hand(make_tape: MakeTape, seed: int) -> None:
    tape = rough(make_tape, seed)
    features, expected = compute(tape), by_hand(tape)
    assert expected.keys() == set(NAMES)
    for name, value in expected.items():
        assert features.number(name) == pytest.approx(Decimal(str(value)), abs=EXACT), name


@pytest.mark.parametrize("unit", [5, 15, 60])
def test_the_same_holds_on_larger_candles(make_tape: MakeTape, unit: int) -> None:
    tape = rough(make_tape, unit, length=130 * unit)
    made = aggregate(tape, unit, until=TAPE_START + 130 * unit * MINUTE, count=130)
    assert len(made) == 130
    features = compute(made)
    closes = [float(tape[(at + 1) * unit - 1].close) for at in range(130)]
    assert features.number("rsi_14") == pytest.approx(Decimal(str(rsi(closes))), abs=EXACT)
    line, _, histogram = macd(closes)
    for name, value in (("macd", line), ("macd_hist", histogram)):
        expected = Decimal(str(value / closes[-1] * 100))
        assert features.number(name) == pytest.approx(expected, abs=EXACT), name
    assert features.number("atr_14") == pytest.approx(
        Decimal(str(atr(made) / closes[-1] * 100)), abs=EXACT
    )
