"""The figures of a replay, against numbers worked out by other means."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.backtest.statistics import drawdowns_pct, max_drawdown_pct, performance, wilson

CURVE = [100.0, 101.0, 99.99, 102.0, 101.0, 103.5]


def test_a_curve_is_judged_as_the_textbook_says() -> None:
    found = performance(CURVE, CURVE)
    returns = np.diff(CURVE) / CURVE[:-1]
    sharpe = returns.mean() / statistics.stdev(returns) * math.sqrt(8760)
    down = math.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    assert found.return_pct == pytest.approx(3.5)
    assert found.sharpe == pytest.approx(sharpe)
    assert found.sortino == pytest.approx(returns.mean() / down * math.sqrt(8760))
    hourly = sharpe / math.sqrt(8760)
    assert found.sharpe_error == pytest.approx(
        math.sqrt((1 + hourly**2 / 2) / len(returns)) * math.sqrt(8760)
    )
    assert found.max_drawdown_pct == pytest.approx((1 - 99.99 / 101) * 100)


def test_a_flat_curve_has_no_ratio() -> None:
    found = performance([100.0, 100.0, 100.0], [100.0])
    assert (found.return_pct, found.max_drawdown_pct) == (0, 0)
    assert found.sharpe is found.sharpe_error is found.sortino is None


def test_a_curve_that_never_falls_has_no_sortino() -> None:
    assert performance([100.0, 101.0, 103.0], [100.0]).sortino is None


def test_one_hour_has_no_sharpe() -> None:
    assert performance([100.0, 101.0], [100.0, 101.0]).sharpe is None


def test_the_deepest_fall_is_from_the_highest_before_it() -> None:
    assert max_drawdown_pct([1.0, 4.0, 2.0, 3.0, 5.0, 4.0]) == 50
    assert drawdowns_pct([2.0, 1.0, 4.0]) == [0, -50, 0]
    assert max_drawdown_pct([]) == 0


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),  # published examples of the score interval
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_a_hit_rates_interval_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    found = wilson(hits, of)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_nothing_counted_is_no_share() -> None:
    assert wilson(0, 0).share is None


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_stays_a_share(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    found = wilson(hits, of)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= hits / of + 1e-12
    assert hits / of - 1e-12 <= found.high <= 1
