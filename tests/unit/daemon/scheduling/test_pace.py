"""A schedule's shortest step, and when it was due last, crontab lines with pauses included."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.config.load import from_mapping
from daemon.scheduling.pace import market_pace, pace_of, signal_age
from daemon.scheduling.scheduler import Schedule

SEOUL = ZoneInfo("Asia/Seoul")
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)  # 09:00 in Seoul
M = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("line", "minutes"),
    [
        ("* * * * *", 1),
        ("*/5 9-15 * * mon-fri", 5),
        ("0,7 * * * *", 7),
        ("0 9 * * mon", 7 * 24 * 60),
        ("0 9,21 * * *", 12 * 60),
        ("0 0 29 2 *", 1),  # due once in longer than is looked: as if all the time
    ],
)
def test_the_period_of_a_line_is_its_shortest_step(line: str, minutes: int) -> None:
    for now in (MONDAY, MONDAY + timedelta(days=5, seconds=17)):
        assert pace_of(Schedule.cron(line, SEOUL), now).period == minutes * M


def test_the_last_slot_is_found_backwards_and_followed_forwards() -> None:
    pace = pace_of(Schedule.cron("*/5 9-15 * * mon-fri", SEOUL), MONDAY)
    friday = datetime(2026, 1, 2, 6, 55, tzinfo=UTC)  # 15:55 in Seoul
    assert pace.last_due(MONDAY - M) == friday
    assert pace.last_due(MONDAY) == MONDAY
    assert pace.last_due(MONDAY + 7 * M) == MONDAY + 5 * M
    assert pace.last_due(MONDAY - 2 * M) == friday  # the clock was set back


def test_an_interval_is_due_on_its_grid() -> None:
    pace = pace_of(Schedule.every(5 * M, timedelta(seconds=5)), MONDAY)
    assert pace.period == 5 * M
    assert pace.last_due(MONDAY) == MONDAY - 5 * M + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("market", "slack"),
    [
        ({}, 3 * M),
        ({"every": "10s"}, 3 * M),
        ({"every": "10m"}, 30 * M),
        ({"cron": "*/10 * * * *"}, 30 * M),
        ({"cron": "*/20 9-15 * * mon-fri"}, 60 * M),
    ],
)
def test_what_may_be_acted_on_follows_the_schedule(
    market: dict[str, object], slack: timedelta
) -> None:
    assert market_pace(from_mapping({"jobs": {"market": market}}, {}, keys=False)).slack == slack


def test_a_night_without_slots_makes_no_signal_old() -> None:
    jobs = {"signals": {"cron": "*/5 9-15 * * mon-fri"}}
    age = signal_age(from_mapping({"jobs": jobs}, {}, keys=False))
    noon = MONDAY + timedelta(hours=3)
    assert age(noon) == timedelta(hours=1)
    assert age(MONDAY - M) > timedelta(hours=65)  # since Friday


def test_hourly_candles_make_hourly_signals() -> None:
    config = from_mapping({"jobs": {"market": {"candle_units": [240]}}}, {}, keys=False)
    assert signal_age(config)(MONDAY) == timedelta(minutes=243)
