"""Local times that a crontab line names → instants, across daylight changes of a zone.

Every instant whose local time matches is due, so in the hour that comes twice a matching time is
due twice; a matching time inside the hour that is left out is due by the offset before it, one
hour later on the clock. (apscheduler's own arithmetic answers with the past in the hour that comes
twice, and never ends when it is asked on.)
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

NextLocal = Callable[[datetime], datetime | None]
"""The first matching local time that is not earlier than this one; both naive."""

STRIDE = timedelta(hours=6)
SECOND = timedelta(seconds=1)


def next_in_zone(next_local: NextLocal, zone: ZoneInfo, since: datetime) -> datetime | None:
    """Return the first instant not earlier than `since` (aware UTC) that is due, None for never."""
    at = since
    while True:
        offset = _offset(zone, at)
        match = next_local((at + offset).replace(tzinfo=None))
        if match is None:
            return None
        due = match.replace(tzinfo=UTC) - offset
        change = _first_change(zone, at, due)
        if change is None:
            return due
        if change <= due < change + _offset(zone, change) - offset:
            # inside the hour that is left out; what the new hour names may come before it
            later = next_in_zone(next_local, zone, change)
            return due if later is None else min(due, later)
        at = change


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _first_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first instant in (start, end] with another offset than `start`, to the second."""
    before, offset = start, _offset(zone, start)
    while before < end:
        after = min(before + STRIDE, end)
        if _offset(zone, after) != offset:
            while after - before > SECOND:
                middle = before + (after - before) / 2
                if _offset(zone, middle) == offset:
                    before = middle
                else:
                    after = middle
            return after.replace(microsecond=0)
        before = after
    return None
