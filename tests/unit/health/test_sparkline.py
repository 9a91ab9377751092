"""The small picture stays inside its frame and tells the direction."""

import re

import pytest

from health.sparkline import HEIGHT, MARGIN, WIDTH, sparkline


def line_of(svg: str) -> list[tuple[float, float]]:
    [path] = re.findall(r'class="line" d="M([^"]+)"', svg)
    pairs = [each.split(",") for each in path.split(" L")]
    return [(float(x), float(y)) for x, y in pairs]


def test_values_fill_the_frame() -> None:
    points = line_of(sparkline([10, 30, 20]))
    assert [x for x, _ in points] == [0.0, WIDTH / 2, WIDTH]
    assert [y for _, y in points] == [HEIGHT - MARGIN, MARGIN, HEIGHT / 2]


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0]])
def test_what_does_not_move_is_a_line_in_the_middle(values: list[float]) -> None:
    assert {y for _, y in line_of(sparkline(values))} == {HEIGHT / 2}


def test_a_tremble_does_not_look_like_a_crash() -> None:
    heights = [y for _, y in line_of(sparkline([10_000_000, 9_999_500]))]
    assert 0 < heights[1] - heights[0] < HEIGHT / 20


@pytest.mark.parametrize(("values", "way"), [([1, 2], "up"), ([2, 1], "down"), ([1, 1], "flat")])
def test_direction(values: list[float], way: str) -> None:
    assert f'class="spark {way}"' in sparkline(values)
