"""Local times that a crontab line names → instants, across daylight changes of a zone.

Every instant whose local time matches is due, so in the hour that comes twice a matching time is
due twice; each matching time inside the hour that is left out is due by the offset before it, one
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
LONGEST_GAP = timedelta(hours=24)
"""Zones that moved across the date line left out a whole day."""


def next_in_zone(next_local: NextLocal, zone: ZoneInfo, since: datetime) -> datetime | None:
    """Return the first instant not earlier than `since` (aware UTC) that is due, None for never."""
    at = since
    while True:
        left_out = _left_out(next_local, zone, at)
        offset = _offset(zone, at)
        match = next_local((at + offset).replace(tzinfo=None))
        if match is None:
            return left_out
        due = match.replace(tzinfo=UTC) - offset
        if left_out is not None and left_out <= due:
            return left_out
        change = _first_change(zone, at, due)
        if change is None:
            return due if left_out is None else min(due, left_out)
        at = change


def _left_out(next_local: NextLocal, zone: ZoneInfo, at: datetime) -> datetime | None:
    """Return when the next local time is due that a change just before `at` left out."""
    change = _first_change(zone, at - LONGEST_GAP, at)
    if change is None:
        return None
    before = _offset(zone, change - SECOND)
    end = change + _offset(zone, change) - before
    match = next_local((at + before).replace(tzinfo=None)) if at < end else None
    if match is None:
        return None
    due = match.replace(tzinfo=UTC) - before
    return due if due < end else None


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
