"""Crontab lines across daylight changes of five zones, beside an oracle that looks at each minute.

Berlin and New York change by an hour, Lord Howe by half an hour, Santiago at midnight; Seoul never.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger

from daemon.scheduling.scheduler import Schedule

MINUTE = timedelta(minutes=1)
CHANGES = {  # zone -> days of 2026 within two of which the clocks change, both ways
    "Europe/Berlin": [(3, 28), (10, 24)],
    "Australia/Lord_Howe": [(4, 4), (10, 3)],
    "America/Santiago": [(4, 3), (9, 4)],
    "America/New_York": [(3, 7), (10, 31)],
    "Asia/Seoul": [(3, 28)],
}
LINES = (
    "*/20 0-2 * * *",
    "30 * * * *",
    "15 0 * * *",
    "*/20 0-4 * * *",
    "0 9 * * mon-fri",
    "45 1 * * *",
    "10 2 * * *",
)
EDGES = [(zone, day) for zone, days in CHANGES.items() for day in days]


def expected(line: str, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """Every instant whose local minute the line names; a local time that is left out comes by the
    offset before the change."""
    match = CronTrigger.from_crontab(line, timezone=UTC)

    def names(local: datetime) -> bool:
        as_utc = local.replace(tzinfo=UTC)
        return bool(match.get_next_fire_time(None, as_utc) == as_utc)

    at = since
    while at <= until:
        local = at.astimezone(zone).replace(tzinfo=None, fold=0)
        if names(local):
            yield at
        # what the change skipped: the local minutes between this one and the next
        after = (at + MINUTE).astimezone(zone).replace(tzinfo=None, fold=0)
        skipped = local + MINUTE
        while skipped < after:
            if names(skipped):
                yield at + (skipped - local)
            skipped += MINUTE
        at += MINUTE


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("zone", "day"), EDGES)
def test_every_matching_minute_is_due_and_nothing_else(
    zone: str, day: tuple[int, int], line: str
) -> None:
    since = datetime(2026, *day, tzinfo=UTC)
    until = since + timedelta(days=3)
    wanted = sorted({at for at in expected(line, ZoneInfo(zone), since, until) if at <= until})
    schedule = Schedule.cron(line, ZoneInfo(zone))
    assert list(schedule.between(since - timedelta(seconds=1), until)) == wanted
    assert wanted, "the window names something"


GOLDEN = [  # zone, line, asked after (UTC), due (UTC): read off the zones' published changes
    ("Europe/Berlin", "0 9 * * *", "2026-01-05T00:00", "2026-01-05T08:00"),
    ("Europe/Berlin", "0 9 * * *", "2026-07-05T00:00", "2026-07-05T07:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", "2026-03-29T01:30"),  # left out: 03:30
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", "2026-10-25T00:30"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:30", "2026-10-25T01:30"),  # a second time
    ("Australia/Lord_Howe", "0 9 * * *", "2026-01-04T12:00", "2026-01-04T22:00"),
    ("Australia/Lord_Howe", "0 9 * * *", "2026-07-04T12:00", "2026-07-04T22:30"),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", "2026-10-03T15:45"),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", "2026-04-04T14:45"),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T14:45", "2026-04-04T15:15"),
    ("America/Santiago", "0 9 * * *", "2026-01-05T00:00", "2026-01-05T12:00"),
    ("America/Santiago", "0 9 * * *", "2026-07-05T00:00", "2026-07-05T13:00"),
    ("America/Santiago", "30 0 * * *", "2026-09-05T12:00", "2026-09-06T04:30"),
    ("America/Santiago", "30 23 * * *", "2026-04-04T12:00", "2026-04-05T02:30"),
    ("America/Santiago", "30 23 * * *", "2026-04-05T02:30", "2026-04-05T03:30"),
    ("America/New_York", "0 9 * * *", "2026-01-05T00:00", "2026-01-05T14:00"),
    ("America/New_York", "0 9 * * *", "2026-07-05T00:00", "2026-07-05T13:00"),
    ("America/New_York", "30 2 * * *", "2026-03-08T00:00", "2026-03-08T07:30"),
    ("America/New_York", "30 1 * * *", "2026-11-01T05:30", "2026-11-01T06:30"),
    ("Asia/Seoul", "0 9 * * *", "2026-07-04T12:00", "2026-07-05T00:00"),
]


@pytest.mark.parametrize(("zone", "line", "after", "due"), GOLDEN)
def test_the_next_instant(zone: str, line: str, after: str, due: str) -> None:
    schedule = Schedule.cron(line, ZoneInfo(zone))
    found = schedule.next_after(datetime.fromisoformat(f"{after}+00:00"))
    assert found == datetime.fromisoformat(f"{due}+00:00")


@pytest.mark.parametrize("zone", CHANGES)
def test_an_offset_comes_after_the_local_time(zone: str) -> None:
    since = datetime(2026, *CHANGES[zone][0], tzinfo=UTC)
    plain = Schedule.cron("*/30 * * * *", ZoneInfo(zone))
    later = Schedule.cron("*/30 * * * *", ZoneInfo(zone), timedelta(minutes=7))
    until = since + timedelta(days=2)
    moved = [at + timedelta(minutes=7) for at in plain.between(since, until)]
    assert list(later.between(since + timedelta(minutes=7), until + timedelta(minutes=7))) == moved
