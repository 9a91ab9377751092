"""Larger candles: whole, finished, on the exchange's grid, and the same wherever one begins."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from fixtures.gemini import TAPE_START, MakeTape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.candles.resample import MINUTE, aggregate, floor, larger, since


def test_a_larger_candle_is_what_its_parts_say(make_tape: MakeTape) -> None:
    tape = make_tape([5, 9, 2, 7, 6, 8])
    (made,) = aggregate(tape, 5, until=TAPE_START + 6 * MINUTE, count=10)
    assert (made.market, made.unit, made.ts) == ("KRW-BTC", 5, TAPE_START)
    prices = [made.open, made.high, made.low, made.close]
    assert prices == [Decimal(5), Decimal(10), Decimal(1), Decimal(6)]
    assert [made.volume, made.value] == [Decimal(50), Decimal(290)]


def test_an_unfinished_one_is_none(make_tape: MakeTape) -> None:
    tape = make_tape([1, 2, 3, 4])
    assert aggregate(tape, 5, until=TAPE_START + 4 * MINUTE, count=10) == []
    assert len(aggregate(tape, 5, until=TAPE_START + 5 * MINUTE, count=10)) == 1


def test_an_interval_without_a_trade_has_none(make_tape: MakeTape) -> None:
    tape = make_tape([1, *[None] * 10, 3])
    made = aggregate(tape, 5, until=TAPE_START + 15 * MINUTE, count=10)
    assert [candle.ts for candle in made] == [TAPE_START, TAPE_START + 10 * MINUTE]


def test_a_beginning_that_may_be_cut_off_is_left_out(make_tape: MakeTape) -> None:
    tape = make_tape([None, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    made = aggregate(tape, 5, until=TAPE_START + 10 * MINUTE, count=10)
    assert [candle.ts for candle in made] == [TAPE_START + 5 * MINUTE]
    assert aggregate([], 5, until=TAPE_START, count=10) == []


@pytest.mark.parametrize(
    ("unit", "start"),
    [
        (5, datetime(2026, 1, 5, 13, 35, tzinfo=UTC)),
        (60, datetime(2026, 1, 5, 13, 0, tzinfo=UTC)),
        (240, datetime(2026, 1, 5, 12, 0, tzinfo=UTC)),
    ],
)
def test_intervals_lie_on_the_exchange_s_grid(unit: int, start: datetime) -> None:
    at = datetime(2026, 1, 5, 13, 37, 5, tzinfo=UTC)
    assert floor(at, unit) == start
    assert since(at, unit, 3) == start - timedelta(minutes=3 * unit)


def test_only_multiples_of_the_base_can_be_made() -> None:
    assert larger(1, (60, 15, 1, 15)) == (15, 60)
    assert larger(10, (15, 30, 5, 60)) == (30, 60)
    assert larger(60, (15, 60)) == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    closes=st.lists(st.integers(1, 10**6) | st.none(), min_size=40, max_size=160),
    earlier=st.lists(st.integers(1, 10**6) | st.none(), max_size=60),
    future=st.lists(st.integers(1, 10**6) | st.none(), max_size=30),
    unit=st.sampled_from([3, 5, 15]),
)
def test_neither_the_future_nor_what_is_older_than_the_count_changes_anything(
    make_tape: MakeTape,
    closes: list[int | None],
    earlier: list[int | None],
    future: list[int | None],
    unit: int,
) -> None:
    until, count = TAPE_START + len(closes) * MINUTE, len(closes) // unit - 1
    alone = make_tape(closes)
    whole = make_tape([*earlier, *closes, *future], start=TAPE_START - len(earlier) * MINUTE)
    assert aggregate(whole, unit, until=until, count=count) == aggregate(
        alone, unit, until=until, count=count
    )
