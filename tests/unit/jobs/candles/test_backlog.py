from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.candles.backlog import PAGE, CandlePlan, Page, Span, floor, merged, pages, without

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


def starts(*minutes: int) -> list[datetime]:
    return [at(minute) for minute in minutes]


class Exchange:
    """A plan and the exchange that it is asked about: which minutes have a candle by now."""

    def __init__(self, end: int = 100, gaps: list[Span] | None = None) -> None:
        self.plan = CandlePlan()
        self.plan.begin("A", 1, since=at(0), end=at(end), gaps=gaps or [])
        self.now = end
        self.shown: set[int] = set()

    def minute(self, end: int, horizon: int = 0) -> None:
        """`end` minutes are over now."""
        self.now = end
        self.plan.extend("A", 1, end=at(end), horizon=at(horizon), now=at(end))

    def answer(self, page: Page) -> list[datetime]:
        """The newest `count` candles before the page's end, newest first."""
        known = sorted((m for m in self.shown if at(m) < page.to), reverse=True)
        return starts(*known[: page.count])

    def run(self) -> list[Page]:
        """One run: the newest candles; return what was asked for."""
        asked = self.plan.newest([1])
        for each in asked:
            self.plan.done(each, self.answer(each), at(self.now))
        return asked

    def fill(self) -> list[Page]:
        """The history beside it."""
        asked = self.plan.history([1])
        for each in asked:
            self.plan.done(each, self.answer(each), at(self.now))
        return asked

    def holes(self, since: int = 0, until: int | None = None) -> set[int]:
        end = self.now if until is None else until
        return minutes(self.plan.holes("A", 1, at(since), at(end)))


def newest(since: int, to: int) -> Page:
    return replace(page(since, to), is_newest=True)


def test_the_first_time_the_gaps_and_the_last_two_are_due() -> None:
    assert Exchange(gaps=[span(90, 95)]).run() == [newest(90, 100)]


def test_short_stored_stretches_without_candles_are_asked_for_again_and_are_no_holes() -> None:
    exchange = Exchange(end=1000, gaps=[span(100, 130), span(300, 331), span(700, 701)])
    assert exchange.holes() == set(range(300, 331))
    exchange.shown = set(range(1000))
    exchange.run()
    assert minutes([(each.since, each.to) for each in exchange.fill()]) >= {700, *range(100, 130)}
    assert exchange.holes() == set()
    assert exchange.plan.history([1]) == []


def test_then_the_new_one_and_the_two_before_it() -> None:
    exchange = Exchange()
    exchange.shown = set(range(101))
    exchange.run()
    exchange.minute(101)
    assert exchange.run() == [newest(98, 101)]


def test_within_a_minute_nothing_more_is_due() -> None:
    exchange = Exchange()
    exchange.shown = set(range(100))
    exchange.run()
    for end in (100, 99):  # the clock may be set back
        exchange.minute(end)
        assert exchange.run() == []
        assert exchange.fill() == []


def test_a_pause_is_made_up_for() -> None:
    exchange = Exchange()
    exchange.shown = set(range(400))
    exchange.run()
    exchange.minute(400)
    assert exchange.run() == [newest(200, 400)]
    assert exchange.fill() == [page(98, 200)]
    assert exchange.holes() == set()


def test_what_failed_stays_due_and_what_came_does_not() -> None:
    exchange = Exchange(end=400, gaps=[span(0, 400)])
    exchange.shown = set(range(400))
    exchange.run()
    assert exchange.plan.history([1]) == [page(0, 200)]
    assert exchange.plan.newest([1]) == []


def test_what_is_older_than_the_horizon_is_given_up_and_not_called_complete() -> None:
    exchange = Exchange(end=100, gaps=[span(0, 100)])
    exchange.minute(101, horizon=60)
    assert exchange.plan.newest([1]) == [newest(60, 101)]
    assert exchange.holes() == set(range(101))
    exchange.shown = set(range(101))
    exchange.run()
    assert exchange.holes() == set(range(60))


def test_what_is_complete_stays_so_when_the_horizon_passes_it() -> None:
    exchange = Exchange(end=100, gaps=[span(0, 100)])
    exchange.shown = set(range(101))
    exchange.run()
    exchange.minute(101, horizon=60)
    exchange.run()
    assert exchange.holes() == set()


def test_the_newest_of_all_markets_come_before_anyones_history() -> None:
    made = CandlePlan()
    for market in ("A", "B"):
        made.begin(market, 1, since=at(0), end=at(300), gaps=[span(0, 300)])
    assert [(each.market, each.to) for each in made.newest([1])] == [("A", at(300)), ("B", at(300))]
    assert [(each.market, each.to) for each in made.history([1])] == [
        ("A", at(100)),
        ("B", at(100)),
    ]


def test_who_has_waited_longest_is_asked_about_first() -> None:
    made = CandlePlan()
    made.begin("A", 1, since=at(0), end=at(300), gaps=[])
    made.begin("B", 1, since=at(0), end=at(300), gaps=[span(295, 300)])
    made.begin("C", 1, since=at(0), end=at(300), gaps=[span(298, 300)])
    assert [each.market for each in made.newest([1])] == ["B", "C", "A"]


def test_a_unit_whose_newest_nobody_asks_for_is_all_history() -> None:
    made = CandlePlan()
    made.begin("A", 5, since=at(0), end=at(300), gaps=[span(0, 300)])
    assert made.newest([1]) == []
    assert [each.to for each in made.history([1])] == [at(300)]


def test_markets_that_are_no_longer_wanted_are_forgotten() -> None:
    exchange = Exchange()
    exchange.plan.begin("B", 1, since=at(0), end=at(100), gaps=[])
    exchange.plan.forget_others(["B"])
    assert not exchange.plan.knows("A", 1)
    assert exchange.plan.knows("B", 1)
    assert not exchange.plan.knows("B", 5)
    exchange.plan.done(page(0, 100), [], at(100))  # an answer that comes after that
    assert exchange.holes() == set(range(100))  # nothing is known of it


# -- absence is no proof (fault D1) --------------------------------------------------------------


@pytest.mark.parametrize("late", [1, 2, 7, 29, 45, 180, 700])
def test_candles_that_come_late_leave_no_hole(late: int) -> None:
    exchange = Exchange(end=1000)
    exchange.shown = set(range(1000))
    exchange.run()
    for end in range(1001, 1001 + late):  # nothing new is shown for so many minutes
        exchange.minute(end)
        exchange.run()
        exchange.fill()
        assert exchange.holes() >= {end - 1}
    exchange.shown = set(range(1001 + late))
    exchange.minute(1001 + late)
    asked = exchange.run() + exchange.fill()
    assert exchange.holes() == set()
    covered = minutes([(each.since, each.to) for each in asked])
    assert covered >= set(range(1000, 1001 + late))


def test_late_candles_cost_one_request_a_run() -> None:
    exchange = Exchange(end=1000)
    exchange.shown = set(range(1000))
    exchange.run()
    asked = 0
    for end in range(1001, 1101):
        exchange.minute(end)
        asked += len(exchange.run()) + len(exchange.fill())
    assert asked == 100


def test_a_market_that_nobody_trades_any_more_costs_little_more() -> None:
    exchange = Exchange(end=1000)
    exchange.shown = set(range(1000))
    exchange.run()
    asked = 0
    for end in range(1001, 2001):
        exchange.minute(end, horizon=end - 1440)
        asked += len(exchange.run()) + len(exchange.fill())
    assert asked < 1100


def test_a_later_candle_proves_the_minutes_before_it() -> None:
    exchange = Exchange()
    exchange.shown = set(range(100))
    exchange.run()
    exchange.minute(103)
    exchange.run()
    assert exchange.holes() == {100, 101, 102}
    exchange.shown |= {103}
    exchange.minute(104)
    exchange.run()
    assert exchange.holes() == set()


def test_an_answer_older_than_what_is_known_proves_nothing_and_takes_nothing_back() -> None:
    exchange = Exchange()
    exchange.shown = set(range(100))
    exchange.run()
    exchange.minute(101)
    exchange.shown = set(range(95))  # another server of the exchange, minutes behind
    exchange.run()
    assert exchange.holes() == {100}
    exchange.shown = set(range(102))
    exchange.minute(102)
    exchange.run()
    assert exchange.holes() == set()


@pytest.mark.parametrize("shown", [[], range(150, 200), range(50, 120)])
def test_a_short_or_empty_answer_is_asked_for_again_half_an_hour_later(shown: list[int]) -> None:
    exchange = Exchange(end=400, gaps=[span(0, 400)])
    exchange.shown = set(range(400))
    exchange.run()
    exchange.shown = {*shown, *range(200, 400)}
    (asked,) = exchange.plan.history([1])
    exchange.plan.done(asked, starts(*shown), at(400))
    assert exchange.holes() == set(range(200)) - set(shown)
    assert exchange.fill() == []
    exchange.shown = set(range(500))
    for end in range(401, 431):
        exchange.minute(end)
        exchange.run()
        if end < 430:
            assert exchange.fill() == []
    exchange.fill()
    assert exchange.holes() == set()


def test_what_was_said_twice_is_believed_by_this_process() -> None:
    exchange = Exchange(end=400, gaps=[span(0, 400)])
    exchange.shown = set(range(300, 431))  # listed at minute 300
    exchange.run()
    exchange.fill()
    assert exchange.holes() == set(range(300))
    for end in (430, 431):
        exchange.minute(end)
        exchange.run()
        exchange.fill()
    assert exchange.holes() == set()
    exchange.minute(500)
    assert exchange.plan.history([1]) == []


def test_the_same_row_over_and_over_is_no_proof() -> None:
    exchange = Exchange(end=400, gaps=[span(0, 400)])
    exchange.shown = set(range(400))
    exchange.run()
    (asked,) = exchange.plan.history([1])
    exchange.plan.done(asked, starts(*[199] * 200), at(400))
    assert exchange.holes() == set(range(199))


def test_rows_that_could_not_be_read_prove_nothing_between_the_others() -> None:
    exchange = Exchange(end=400, gaps=[span(0, 400)])
    exchange.shown = set(range(400)) - {395}
    (asked,) = exchange.plan.newest([1])
    exchange.plan.done(asked, exchange.answer(asked), at(400), is_whole=False)
    assert exchange.holes(201) == {395}
    (asked,) = exchange.plan.history([1])
    exchange.plan.done(asked, starts(*range(0, 200, 2)), at(400), is_whole=False)
    assert exchange.holes() >= set(range(1, 199, 2)) | {395}
    assert exchange.plan.history([1]) == []
    exchange.shown.add(395)  # and then it can be read
    for end in range(401, 432):
        exchange.minute(end)
        exchange.shown.add(end - 1)
        exchange.run()
    exchange.fill()
    assert exchange.holes() == set()


def test_after_the_newest_of_such_an_answer_candles_may_be_late_all_the_same() -> None:
    exchange = Exchange(end=100)
    exchange.shown = set(range(100))
    exchange.run()
    exchange.minute(103)
    (asked,) = exchange.plan.newest([1])
    exchange.plan.done(asked, starts(98, 99), at(103), is_whole=False)
    assert exchange.plan.newest([1]) == [newest(100, 103)]


def test_complete_is_what_was_looked_at_and_lacks_nothing() -> None:
    exchange = Exchange(end=100, gaps=[span(19, 50)])
    known = exchange.plan.is_complete
    assert known("A", 1, at(50), at(100))
    assert not known("A", 1, at(49), at(100))
    assert not known("A", 1, at(-1), at(10))  # before anything was looked at
    assert not known("A", 1, at(60), at(101))  # not over yet
    assert not known("B", 1, at(60), at(70))


def test_of_what_nobody_has_looked_at_yet_all_is_a_hole() -> None:
    assert CandlePlan().holes("A", 1, at(0), at(3)) == [span(0, 3)]


@given(
    st.sets(st.integers(0, 299)),
    st.lists(st.integers(0, 40), min_size=1, max_size=40),
)
def test_whatever_comes_late_is_complete_in_the_end(traded: set[int], lags: list[int]) -> None:
    exchange = Exchange(end=100, gaps=[span(0, 100)])
    stored: set[int] = set()
    for number, end in enumerate(range(100, 302)):
        late = lags[number % len(lags)] if end < 299 else 0
        exchange.shown |= {minute for minute in traded if minute < end - late}
        if end > 100:
            exchange.minute(end)
        for asked in [*exchange.plan.newest([1]), *exchange.plan.history([1])]:
            answer = exchange.answer(asked)
            stored |= {int((each - DAY) / MINUTE) for each in answer}
            exchange.plan.done(asked, answer, at(end))
        missing = {minute for minute in traded if minute < end} - stored
        assert missing <= exchange.holes()
    after = {minute for minute in traded if minute < max(traded, default=0)}
    assert after <= stored
