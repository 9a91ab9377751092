"""How often a job is due, and when it was due last, from its schedule."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from daemon.config.job_sections import JobConfig
from daemon.config.load import Config
from daemon.scheduling.scheduler import Schedule
from jobs.candles.freshness import Pace

LOOKED_AT = 64
"""Slots whose distances are compared: a crontab line's steps repeat long before."""
LONGEST = timedelta(days=400)


def pace_of(schedule: Schedule, now: datetime) -> Pace:
    """Return the pace of `schedule`; one that is never due again counts as due all the time."""
    slots = list(islice(schedule.between(now, now + LONGEST), LOOKED_AT))
    steps = [later - earlier for earlier, later in pairwise(slots)]
    if not steps:
        return Pace()
    return Pace(period=min(steps), last_due=LastDue(schedule, min(steps)))


def schedule_of(section: JobConfig, config: Config) -> Schedule:
    """Return when a job is due."""
    if section.cron is not None:
        return Schedule.cron(section.cron, ZoneInfo(config.daemon.timezone), section.offset)
    return Schedule.every(section.every or timedelta(minutes=1), section.offset)


def market_pace(config: Config) -> Pace:
    """Return how often market data comes: what may be acted on follows it."""
    return pace_of(schedule_of(config.jobs.market, config), datetime.now(UTC))


def signals_pace(config: Config) -> Pace:
    """Return how often decisions are made."""
    return pace_of(schedule_of(config.jobs.signals, config), datetime.now(UTC))


def signal_age(config: Config) -> Callable[[datetime], timedelta]:
    """Return how old the newest signal may be at an instant, by schedule and candles."""
    pace, unit = signals_pace(config), min(config.jobs.market.candle_units)
    return lambda now: pace.signal_age(config.health.signal_max_age, unit, now)


class LastDue:
    """Returns when a schedule was due last; remembers it, because looking back is dear."""

    def __init__(self, schedule: Schedule, period: timedelta) -> None:
        self._schedule = schedule
        self._period = period
        self._last: datetime | None = None
        self._next: datetime | None = None

    def __call__(self, now: datetime) -> datetime:
        """The newest instant not later than `now`; `now` itself where there is none for a year."""
        if self._last is None or now < self._last:
            self._last = self._look_back(now)
            self._next = self._schedule.next_after(self._last)
        while self._next is not None and self._next <= now:
            self._last = self._next
            self._next = self._schedule.next_after(self._last)
        return self._last

    def _look_back(self, now: datetime) -> datetime:
        back = self._period
        while back < LONGEST:
            if (slot := next(self._schedule.between(now - back, now), None)) is not None:
                return slot
            back *= 2
        return now
