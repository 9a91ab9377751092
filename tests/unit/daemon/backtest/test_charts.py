"""Plots: where things lie, and how their scales are spelled."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.backtest.charts import (
    Dot,
    Frame,
    Line,
    framed,
    histogram,
    plot,
    spell,
    ticks,
    time_ticks,
)

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
FRAME = Frame(since=BEGIN, until=BEGIN + timedelta(days=4), low=0.0, high=10.0)


def test_edges_of_the_frame_are_the_edges_of_the_plot() -> None:
    assert (FRAME.x(BEGIN), FRAME.x(FRAME.until)) == (0, 1)
    assert (FRAME.y(10.0), FRAME.y(0.0)) == (0, 1)


@given(
    st.floats(-1e9, 1e9, allow_nan=False),
    st.floats(1e-6, 1e9, allow_nan=False),
    st.integers(2, 8),
)
def test_ticks_are_inside_ordered_and_told_apart(low: float, span: float, count: int) -> None:
    high = low + span
    if high - low < 1e-7 * max(1.0, abs(low)):
        return  # floats cannot tell these apart
    found = ticks(low, high, count)
    step = (high - low) / count
    assert all(low - step * 1e-6 <= each <= high + step * 1e-6 for each in found)
    assert len(found) <= count + 1
    assert all(b > a for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("value", "among", "text"),
    [
        (9_600_000.0, [9.4e6, 9.6e6], "9.6 M"),
        (162_000_000.0, [161e6, 162e6], "162 M"),
        (4_100.0, [4_000.0, 4_100.0], "4,100"),
        (-2.5, [-5.0, -2.5, 0.0], "\u22122.5"),
        (0.0, [-2.5, 0.0], "0.0"),
        (0.25, [0.0, 0.25], "0.25"),
        (310_000.0, [310_000.0, 320_000.0], "310,000"),
        (5.0, [5.0], "5"),
    ],
)
def test_values_have_the_digits_that_tell_neighbours_apart(
    value: float, among: list[float], text: str
) -> None:
    assert spell(value, among) == text


def test_days_are_named_and_hours_between_them_are_minor() -> None:
    two_days = Frame(since=BEGIN, until=BEGIN + timedelta(days=2), low=0, high=1)
    assert [(each.text, each.is_minor) for each in time_ticks(two_days)] == [
        ("5 Jan", False),
        ("12:00", True),
        ("6 Jan", False),
        ("12:00", True),
        ("7 Jan", False),
    ]
    hours = Frame(since=BEGIN, until=BEGIN + timedelta(hours=5), low=0, high=1)
    assert [each.text for each in time_ticks(hours)] == [
        "5 Jan",
        *(f"0{number}:00" for number in range(1, 6)),
    ]


@given(st.integers(1, 3000))
def test_there_are_never_many_time_ticks(hours: int) -> None:
    frame = Frame(since=BEGIN, until=BEGIN + timedelta(hours=hours), low=0, high=1)
    assert len(time_ticks(frame)) <= 15


def test_a_plot_draws_lines_areas_and_dots_where_they_belong() -> None:
    half = BEGIN + timedelta(days=2)
    picture = plot(
        FRAME,
        [Line(kind="account", points=[(BEGIN, 0.0), (half, 10.0)], area=0.0)],
        [Dot(kind="buy", at=half, value=5.0), Dot(kind="buy", at=BEGIN, value=0.0)],
        unit=" %",
        label='a "plot"',
    )
    assert '<path class="account" d="M0.0 1000.0 500.0 0.0"/>' in picture
    assert 'class="account fill" d="M0.0 1000.0 0.0 1000.0 500.0 0.0 500.0 1000.0"' in picture
    assert '<path class="dot buy" d="M500.0 500.0h0M0.0 1000.0h0"/>' in picture
    assert 'aria-label="a &quot;plot&quot;"' in picture
    assert re.findall(r'class="y" style="top:[\d.]+%">([^<]+)<', picture) == [
        "0 %",
        "2 %",
        "4 %",
        "6 %",
        "8 %",
        "10 %",
    ]


def test_a_line_without_points_draws_nothing() -> None:
    assert 'path class="x"' not in plot(FRAME, [Line(kind="x", points=[])], label="none")


def test_a_flat_curve_has_a_frame_too() -> None:
    assert framed(BEGIN, FRAME.until, [0.0, 0.0]).low < 0 < framed(BEGIN, FRAME.until, [0.0]).high


@pytest.mark.parametrize("mark", [-3.0, 0.0, 4.0])
def test_a_histogram_counts_every_value_once(mark: float) -> None:
    picture = histogram([-1.0, -0.5, 0.0, 0.0, 2.0], mark, unit=" %", label="returns")
    heights = [float(each) for each in re.findall(r'class="bar".*?height="([\d.]+)"', picture)]
    highest = max(heights)
    assert 1 <= len(heights) <= 5
    assert highest == pytest.approx(1000 / 1.1, abs=0.1)
    assert "this replay" in picture


def test_values_that_are_all_the_same_have_a_histogram() -> None:
    assert 'class="bar"' in histogram([1.0, 1.0], 1.0, unit="", label="same")
