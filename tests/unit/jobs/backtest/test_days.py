"""Days in a replay: those of the recording, never two hours as yesterday, never the future."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from jobs.backtest.candle_history import Tape
from jobs.backtest.days import TapeDays
from jobs.backtest.recordings import read_files
from jobs.candles.days import DAY, NO_YESTERDAY
from jobs.candles.resample import aggregate
from jobs.upbit.wire import DAY_UNIT, Candle

DATA = Path(__file__).parents[4] / "sandbox" / "data"
BEGIN = datetime(2025, 9, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
XRP = "KRW-XRP"


@cache
def recorded() -> tuple[Candle, ...]:
    """Four days of minutes, from 09:00 in Korea on."""
    return tuple(read_files(DATA, [XRP], since=BEGIN, until=BEGIN + 4 * DAY)[XRP])


def days(candles: Sequence[Candle], count: int = 200) -> TapeDays:
    return TapeDays(tape=Tape({XRP: candles}), count=count)


def without(since: datetime, until: datetime) -> list[Candle]:
    return [each for each in recorded() if not since <= each.ts < until]


def test_finished_days_are_those_of_the_minutes_and_the_last_is_todays_so_far() -> None:
    now = BEGIN + 3 * DAY + 5 * HOUR
    found = days(recorded()).of(XRP, now - MINUTE)
    whole = aggregate(recorded(), DAY_UNIT, until=now, count=10)
    assert list(found.candles[:-1]) == whole
    assert [each.ts for each in whole] == [BEGIN, BEGIN + DAY, BEGIN + 2 * DAY]
    today = [each for each in recorded() if BEGIN + 3 * DAY <= each.ts < now]
    running = found.candles[-1]
    assert (running.ts, running.open) == (BEGIN + 3 * DAY, today[0].open)
    assert (running.high, running.low) == (max(c.high for c in today), min(c.low for c in today))
    assert (running.close, running.volume) == (today[-1].close, sum(c.volume for c in today))


def test_at_nine_the_last_row_is_the_day_that_just_ended() -> None:
    made = days(recorded())
    before, after = made.of(XRP, BEGIN + 2 * DAY - MINUTE), made.of(XRP, BEGIN + 2 * DAY)
    assert [each.ts for each in before.candles] == [BEGIN, BEGIN + DAY]
    assert after.candles[:2] == before.candles
    first = next(each for each in recorded() if each.ts == BEGIN + 2 * DAY)
    assert after.candles[2] == replace(first, unit=DAY_UNIT)


def test_step_by_step_is_the_same_as_all_at_once() -> None:
    steps = days(recorded())
    for minute in range(0, 2 * 1440, 97):
        newest = BEGIN + DAY + minute * MINUTE
        assert steps.of(XRP, newest) == days(recorded()).of(XRP, newest)


def test_the_future_changes_nothing_before_it() -> None:
    newest = BEGIN + 2 * DAY + 7 * HOUR
    seen = [each for each in recorded() if each.ts <= newest]
    assert days(recorded()).of(XRP, newest) == days(seen).of(XRP, newest)
    wild = [replace(each, high=each.high * 9) if each.ts > newest else each for each in recorded()]
    assert days(wild).of(XRP, newest) == days(seen).of(XRP, newest)


def test_the_count_is_the_most_finished_days() -> None:
    found = days(recorded(), count=1).of(XRP, BEGIN + 3 * DAY + HOUR)
    assert [each.ts for each in found.candles] == [BEGIN + 2 * DAY, BEGIN + 3 * DAY]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (timedelta(0), DAY - 2 * HOUR),  # only its last two hours
        (2 * HOUR, DAY),  # only its first two
        (2 * HOUR, DAY - 2 * HOUR),  # both
        (5 * HOUR, 9 * HOUR + 5 * MINUTE),  # a hole in the middle
        (timedelta(0), DAY),  # nothing of it
    ],
)
def test_a_day_with_a_long_hole_is_never_yesterday(since: timedelta, until: timedelta) -> None:
    yesterday = BEGIN + 2 * DAY
    holed = without(yesterday + since, yesterday + until)
    found = days(holed).of(XRP, BEGIN + 3 * DAY + 9 * HOUR)
    assert found.candles == ()
    assert found.why_not


def test_a_hole_over_midnight_spoils_both_of_its_days() -> None:
    midnight = BEGIN + 2 * DAY
    holed = without(midnight - 3 * HOUR, midnight + 2 * HOUR)
    assert days(holed).of(XRP, midnight + 9 * HOUR).candles == ()
    assert days(holed).of(XRP, midnight + DAY + HOUR).candles == ()


def test_a_quiet_stretch_is_no_hole() -> None:
    quiet = without(BEGIN + DAY + 3 * HOUR, BEGIN + DAY + 6 * HOUR)
    assert len(days(quiet).of(XRP, BEGIN + 2 * DAY + HOUR).candles) == 3


def test_what_began_in_the_middle_of_a_day_has_no_days_yet() -> None:
    late = [each for each in recorded() if each.ts >= BEGIN + 2 * HOUR]
    made = days(late)
    assert "is not all recorded" in made.of(XRP, BEGIN + 9 * HOUR).why_not
    assert made.of(XRP, BEGIN + DAY + HOUR).why_not == NO_YESTERDAY
    assert len(made.of(XRP, BEGIN + 2 * DAY + HOUR).candles) == 2


def test_days_of_the_exchange_come_first_and_reach_further_back() -> None:
    own = [
        replace(recorded()[0], unit=DAY_UNIT, ts=BEGIN - number * DAY, volume=Decimal(number))
        for number in (-1, 1, 2, 4)  # of 3 days before there is none: nobody traded
    ]
    made = TapeDays(tape=Tape({XRP: recorded()}), count=200, recorded={XRP: own})
    found = made.of(XRP, BEGIN + 2 * DAY + HOUR).candles
    assert [(each.ts - BEGIN) // DAY for each in found] == [-4, -2, -1, 0, 1, 2]
    assert found[4] == own[0]
