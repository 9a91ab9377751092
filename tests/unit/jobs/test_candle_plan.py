from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.candle_plan import PAGE, CandlePlan, Page, Span, floor, merged, pages, without

DAY = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minute: int) -> datetime:
    return DAY + minute * MINUTE


def span(since: int, to: int) -> Span:
    return at(since), at(to)


def page(since: int, to: int, market: str = "A") -> Page:
    return Page(market=market, unit=1, since=at(since), to=at(to))


def minutes(spans: list[Span]) -> set[int]:
    return {
        number
        for since, to in spans
        for number in range(int((since - DAY) / MINUTE), int((to - DAY) / MINUTE))
    }


SPANS = st.lists(
    st.tuples(st.integers(0, 1500), st.integers(1, 400)).map(lambda it: span(it[0], it[0] + it[1])),
    max_size=30,
)


@pytest.mark.parametrize(("unit", "start"), [(1, 7), (5, 5), (60, 0)])
def test_floor_is_the_start_of_the_candle(unit: int, start: int) -> None:
    assert floor(at(7) + timedelta(seconds=59), unit) == at(start)


@given(SPANS)
def test_merging_keeps_the_time_and_leaves_no_seams(spans: list[Span]) -> None:
    joined = merged(spans)
    assert minutes(joined) == minutes(spans)
    assert all(one[1] < two[0] for one, two in pairwise(joined))


@given(SPANS, st.integers(0, 1500), st.integers(0, 400))
def test_without_takes_out_just_that(spans: list[Span], since: int, length: int) -> None:
    left = without(spans, at(since), at(since + length))
    assert minutes(left) == minutes(spans) - set(range(since, since + length))


@given(SPANS)
def test_pages_cover_every_missing_minute_with_the_fewest_requests(spans: list[Span]) -> None:
    wanted, found = minutes(spans), pages("A", 1, spans)
    assert wanted <= minutes([(each.since, each.to) for each in found])
    assert all(1 <= each.count <= PAGE for each in found)
    # none can be spared: each begins with a minute that the newer ones do not reach
    assert all(int((each.to - DAY) / MINUTE) - 1 in wanted for each in found)
    assert [each.to for each in found] == sorted((each.to for each in found), reverse=True)


def test_scattered_gaps_share_a_request() -> None:
    gaps = [span(minute, minute + 1) for minute in range(0, 200, 10)]
    assert pages("A", 1, gaps) == [page(0, 191)]


def test_a_day_is_eight_requests() -> None:
    assert [each.count for each in pages("A", 1, [span(0, 1440)])] == [200] * 7 + [40]


def test_longer_units_have_longer_pages() -> None:
    (only,) = pages("A", 60, [span(0, 1440)])
    assert only.count == 24


def plan(end: int = 100, gaps: list[Span] | None = None) -> CandlePlan:
    made = CandlePlan()
    made.begin("A", 1, end=at(end), gaps=gaps or [])
    return made


def finish(made: CandlePlan) -> None:
    for each in made.due(1000):
        made.done(each)


def test_the_first_time_the_gaps_and_the_last_two_are_due() -> None:
    assert plan(gaps=[span(90, 95)]).due(10) == [page(90, 100)]


def test_then_the_new_one_and_the_two_before_it() -> None:
    made = plan()
    finish(made)
    made.extend("A", 1, end=at(101), horizon=at(0))
    assert made.due(10) == [page(98, 101)]


def test_within_a_minute_nothing_more_is_due() -> None:
    made = plan()
    finish(made)
    for end in (100, 99):  # the clock may be set back
        made.extend("A", 1, end=at(end), horizon=at(0))
        assert made.due(10) == []


def test_a_pause_is_made_up_for() -> None:
    made = plan()
    finish(made)
    made.extend("A", 1, end=at(400), horizon=at(0))
    assert made.due(10) == [page(200, 400), page(98, 200)]


def test_what_failed_stays_due_and_what_came_does_not() -> None:
    made = plan(end=400, gaps=[span(0, 400)])
    newest, _ = made.due(10)
    made.done(newest)
    assert made.due(10) == [page(0, 200)]


def test_what_is_older_than_the_horizon_is_given_up() -> None:
    made = plan(end=100, gaps=[span(0, 100)])
    made.extend("A", 1, end=at(101), horizon=at(60))
    assert made.due(10) == [page(60, 101)]


def test_the_newest_of_all_markets_come_before_anyones_history() -> None:
    made = plan(end=300, gaps=[span(0, 300)])
    made.begin("B", 1, end=at(300), gaps=[span(0, 300)])
    assert [(each.market, each.to) for each in made.due(3)] == [
        ("A", at(300)),
        ("B", at(300)),
        ("A", at(100)),
    ]


def test_markets_that_are_no_longer_wanted_are_forgotten() -> None:
    made = plan()
    made.begin("B", 1, end=at(100), gaps=[])
    made.forget_others(["B"])
    assert not made.knows("A", 1)
    assert made.knows("B", 1)
    assert not made.knows("B", 5)
