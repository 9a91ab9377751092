"""When slots come due. The only importer of apscheduler, which serves as a trigger and a timer.

Its own pass reads the wall clock, which may be set back, and ends with the first trigger that
raises; so the pass is ours: by the slot clock, and each schedule guarded by itself.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.base import STATE_RUNNING
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from loguru import logger

from daemon.scheduling.local_cron import next_in_zone
from daemon.scheduling.slot_clock import SlotClock
from jobs.core.job import boottime_s

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PASS_EVERY_S = 1.0
RETRY_PASS_S = 0.5
NOT_READY_S = 0.1
CHUNK = 1000
JUST = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The instants at which a job is due."""

    trigger: BaseTrigger

    @classmethod
    def every(cls, period: timedelta, offset: timedelta = timedelta()) -> "Schedule":
        """Due at every multiple of `period` since the Unix epoch, plus `offset`.

        The instants do not depend on when the process started, so a restart continues the same
        row of slots.
        """
        return cls(
            IntervalTrigger(seconds=period.total_seconds(), start_date=EPOCH + offset, timezone=UTC)
        )

    @classmethod
    def cron(cls, expression: str, zone: ZoneInfo, offset: timedelta = timedelta()) -> "Schedule":
        """Due as a five-field crontab line says in `zone`, plus `offset`.

        Raises ValueError for a line that crontab would not take.
        """
        line = CronTrigger.from_crontab(expression, timezone=UTC)
        return cls(_Zoned(line, zone, offset))

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant later than `instant`, None when there is none any more."""
        due = self.trigger.get_next_fire_time(None, instant + timedelta(microseconds=1))
        return None if due is None else due.astimezone(UTC)

    @property
    def period(self) -> timedelta | None:
        """The time between two instants; None for a crontab line."""
        if not isinstance(self.trigger, IntervalTrigger):
            return None
        interval: timedelta = self.trigger.interval
        return interval

    def last_until(self, instant: datetime) -> datetime:
        """Return the newest instant not later than `instant`, of which there must be one."""
        if (newest := self.newest_until(instant)) is not None:
            return newest
        span = PASS_EVERY_S * timedelta(seconds=60)
        while not (found := list(self.between(instant - span, instant))):
            span *= 2
        return found[-1]

    def newest_until(self, instant: datetime) -> datetime | None:
        """Return the newest instant not later than `instant`; None for a crontab line."""
        if not isinstance(self.trigger, IntervalTrigger):
            return None
        start: datetime = self.trigger.start_date
        period: timedelta = self.trigger.interval
        return start.astimezone(UTC) + (instant - start) // period * period

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the instants later than `after` and not later than `until`."""
        due = self.next_after(after)
        while due is not None and due <= until:
            yield due
            due = self.next_after(due)


class _Zoned(BaseTrigger):  # type: ignore[misc]  # apscheduler has no types
    """A crontab line's local times in `zone`, each `offset` later. Knows no previous one."""

    def __init__(self, line: CronTrigger, zone: ZoneInfo, offset: timedelta) -> None:
        self._line = line
        self._zone = zone
        self._offset = offset

    def get_next_fire_time(self, previous: object, now: datetime) -> datetime | None:  # noqa: ARG002
        """Return the first instant not earlier than `now`."""
        due = next_in_zone(self._next_local, self._zone, now - self._offset)
        return None if due is None else due + self._offset

    def _next_local(self, local: datetime) -> datetime | None:
        match: datetime | None = self._line.get_next_fire_time(None, local.replace(tzinfo=UTC))
        return None if match is None else match.replace(tzinfo=None)


class _Timer(AsyncIOScheduler):  # type: ignore[misc]  # apscheduler has no types
    """Calls `each_pass`, which returns the seconds until the next one; whatever it raises."""

    def __init__(self, each_pass: Callable[[], float], on_trouble: Callable[[str], None]) -> None:
        super().__init__(timezone=UTC)
        self._each_pass = each_pass
        self._on_trouble = on_trouble

    def _process_jobs(self) -> float | None:
        if self.state != STATE_RUNNING:
            return None
        try:
            return self._each_pass()
        except Exception as error:  # noqa: BLE001 -- whatever it meets, the next pass must come
            logger.bind(event="scheduler.pass_failed").exception("Scheduler pass failed")
            self._on_trouble(f"{type(error).__name__}: {error}")
            return RETRY_PASS_S

    def jobs(self) -> list[Job]:
        """The schedules that are not over, the next due first."""
        jobs: list[Job] = self._lookup_jobstore("default").get_all_jobs()
        return jobs

    def move(self, job: Job, due: datetime | None) -> None:
        """Set when a schedule is due next; None ends it."""
        if due is None:
            self.remove_job(job.id)
        else:
            job.next_run_time = due  # apscheduler's own way checks the whole job each time
            self._lookup_jobstore("default").update_job(job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who is told what.

    `due`: a job and every instant that came due since the last pass, oldest first. `lapsed`: when
    more than CHUNK did (a clock that jumped by days), that all later than the first and not later
    than the second instant came due, but for the newest, which `due` follows with. `passed`: after
    each completed pass, at least once a second. `trouble`: a schedule (or `pass`) cannot tell what
    is due, None when it can again. `rewound`: the wall was set back and schedules follow it, from
    this instant on.
    `ready`: nothing is handed over, and nothing lost, while it is false.
    """

    due: Callable[[str, Sequence[datetime]], None]
    lapsed: Callable[[str, datetime, datetime], None] = lambda _job, _after, _until: None
    passed: Callable[[], None] = lambda: None
    trouble: Callable[[str, str | None], None] = lambda _job, _error: None
    rewound: Callable[[datetime], None] = lambda _at: None
    ready: Callable[[], bool] = lambda: True


class Scheduler:
    """Hands over every instant of every schedule once, late ones included.

    `handed_until` is the present of the last completed pass, None before the first.
    """

    def __init__(self, listener: Listener, clock: SlotClock | None = None) -> None:
        self._tell = listener
        self._clock = clock or SlotClock(lambda: datetime.now(UTC), boottime_s, time.monotonic)
        self._rewinds = self._clock.rewinds
        self._timer = _Timer(self._pass, lambda error: self._failed("pass", error))
        self._extra: dict[str, tuple[datetime, float]] = {}
        self._unasked: dict[str, datetime] = {}
        self._failing: set[str] = set()
        self.handed_until: datetime | None = None

    def start(self, schedules: Mapping[str, Schedule], after: datetime) -> None:
        """Begin; the first instants handed over are the first ones later than `after`."""
        self._timer.start(paused=True)
        for name, schedule in schedules.items():
            self._unasked[name] = after
            self._timer.add_job(
                _never_called, schedule.trigger, args=[schedule], id=name, next_run_time=after
            )
        self._timer.resume()

    def once(self, name: str, at: datetime) -> datetime:
        """Make `name` due one more time, at `at` or a moment later; return when.

        A later call replaces an earlier one. A step of the wall clock does not move it.
        """
        at = self._clock.unscheduled(at)
        wait_s = (at - self._clock.look()).total_seconds()
        self._extra[name] = (at, self._clock.elapsed_s() + wait_s)
        if self._timer.running:
            asyncio.get_running_loop().call_soon(self._timer.wakeup)
        return at

    def instant_now(self) -> datetime:
        """Return an instant for a slot that is wanted now."""
        return self._clock.unscheduled(self._clock.look())

    def stop(self) -> None:
        """Hand over nothing from here on. Harmless when it does not run."""
        if self._timer.running:
            self._timer.pause()
            self._timer.remove_all_jobs()
            self._timer.shutdown(wait=False)

    # -- one pass ----------------------------------------------------------------------------

    def _pass(self) -> float:
        wait_s = NOT_READY_S
        if self._tell.ready():
            before = self._clock.now
            now = self._clock.look()
            if self._clock.rewinds != self._rewinds:
                self._rewind(before, now)
            wait_s = min(self._look_at_extra(), self._look_at_all(now))
            self.handed_until = now
        self._recovered("pass")
        self._tell.passed()
        return wait_s

    def _look_at_all(self, now: datetime) -> float:
        wait_s = PASS_EVERY_S
        for job in self._timer.jobs():
            due = job.next_run_time  # looking moves it on
            wait_s = min(wait_s, self._guarded(job, now))
            if due > now:
                break  # the others are not due before it
        return wait_s

    def _guarded(self, job: Job, now: datetime) -> float:
        """One schedule that raises must not starve the others."""
        try:
            wait_s = self._look_at(job, now)
        except Exception as error:  # noqa: BLE001 -- a trigger may raise anything
            self._failed(job.id, f"{type(error).__name__}: {error}")
            return RETRY_PASS_S
        self._recovered(job.id)
        return wait_s

    def _look_at(self, job: Job, now: datetime) -> float:
        """Hand over what is due of one schedule; return the seconds until it is due next."""
        schedule: Schedule = job.args[0]
        due: datetime | None = job.next_run_time
        if (after := self._unasked.get(job.id)) is not None:
            due = schedule.next_after(after)
            del self._unasked[job.id]
            self._timer.move(job, due)
        instants: list[datetime] = []
        while due is not None and due <= now and len(instants) < CHUNK:
            instants.append(due)
            due = schedule.next_after(due)
        if due is not None and due <= now:
            newest = schedule.last_until(now)
            due = schedule.next_after(newest)
            self._tell.lapsed(job.id, instants[0] - JUST, newest - JUST)
            instants = [newest]
        if instants:
            self._tell.due(job.id, [self._clock.label(each) for each in instants])
            self._timer.move(job, due)
        return PASS_EVERY_S if due is None else max(0.0, (due - now).total_seconds())

    def _look_at_extra(self) -> float:
        wait_s = PASS_EVERY_S
        for name, (at, due_s) in list(self._extra.items()):
            left_s = due_s - self._clock.elapsed_s()
            if left_s > 0:
                wait_s = min(wait_s, left_s)
            else:
                del self._extra[name]
                self._tell.due(name, [at])
        return wait_s

    def _rewind(self, before: datetime, now: datetime) -> None:
        """Hand over what came due before the wall was set back, then follow the wall."""
        for job in self._timer.jobs():
            while job.next_run_time <= before and self._guarded(job, before) == 0.0:
                pass  # so many that they come in portions
            self._anew(job, now)
        self._rewinds = self._clock.rewinds
        self._tell.rewound(now)

    def _anew(self, job: Job, after: datetime) -> None:
        """Have the next look ask when the schedule is due after `after`: it may raise."""
        self._unasked[job.id] = after
        self._timer.move(job, after)

    def _failed(self, what: str, error: str) -> None:
        if what not in self._failing:
            self._failing.add(what)
            logger.bind(event="scheduler.stalled", schedule=what, error=error).error(
                "A schedule cannot tell what is due"
            )
            self._tell.trouble(what, error)

    def _recovered(self, what: str) -> None:
        if what in self._failing:
            self._failing.discard(what)
            self._tell.trouble(what, None)


def _never_called(_: object) -> None:
    raise AssertionError("slots are handed over, apscheduler runs none")
