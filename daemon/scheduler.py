"""When slots come due. The only importer of apscheduler, which serves as a trigger and no more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from loguru import logger

OnDue = Callable[[str, Sequence[datetime]], None]
"""Told the job and every instant that has come due since the last pass, oldest first."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PASS_EVERY_S = 1.0
RETRY_PASS_S = 0.5


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
        return cls(_Shifted(CronTrigger.from_crontab(expression, timezone=zone), offset))

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant later than `instant`, None when there is none any more."""
        due = self.trigger.get_next_fire_time(None, instant + timedelta(microseconds=1))
        return None if due is None else due.astimezone(UTC)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the instants later than `after` and not later than `until`."""
        due = self.next_after(after)
        while due is not None and due <= until:
            yield due
            due = self.next_after(due)


class _Shifted(BaseTrigger):  # type: ignore[misc]  # apscheduler has no types
    """Another trigger's instants, each `offset` later."""

    def __init__(self, inner: BaseTrigger, offset: timedelta) -> None:
        self._inner = inner
        self._offset = offset

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Answer apscheduler in the inner trigger's own time."""
        before = None if previous is None else previous - self._offset
        due = self._inner.get_next_fire_time(before, now - self._offset)
        return None if due is None else due + self._offset


class _Handover(BaseExecutor):  # type: ignore[misc]  # apscheduler has no types
    """Hands due instants over instead of running anything; keeps no instance counts."""

    def __init__(self, on_due: OnDue) -> None:
        super().__init__()
        self._on_due = on_due

    def submit_job(self, job: object, run_times: Sequence[datetime]) -> None:
        """Pass on what apscheduler found due; an error here must not end its pass."""
        name: str = job.args[0]  # type: ignore[attr-defined]
        self._on_due(name, [each.astimezone(UTC) for each in run_times])

    def _do_submit_job(self, *_: object) -> None:
        raise AssertionError("submit_job is overridden")


class _Guarded(AsyncIOScheduler):  # type: ignore[misc]  # apscheduler has no types
    """Survives an exception in its pass, which plain apscheduler does not (its timer is lost)."""

    def __init__(self, on_pass: Callable[[], None], **options: object) -> None:
        super().__init__(**options)
        self._on_pass = on_pass

    def _process_jobs(self) -> float | None:
        try:
            wait_s: float | None = super()._process_jobs()
        except Exception:  # noqa: BLE001 -- whatever a trigger raises, the next pass must come
            logger.bind(event="scheduler.pass_failed").exception("Scheduler pass failed")
            return RETRY_PASS_S
        self._on_pass()
        return PASS_EVERY_S if wait_s is None else min(wait_s, PASS_EVERY_S)


class Scheduler:
    """Hands over every instant of every schedule, late ones included.

    `on_pass` is called after each completed pass, at least once a second while it runs: the
    proof of life that health and the watchdog look at.
    """

    def __init__(self, on_pass: Callable[[], None] = lambda: None) -> None:
        self._inner = _Guarded(
            on_pass,
            timezone=UTC,
            job_defaults={"coalesce": False, "misfire_grace_time": None},
        )

    def start(self, schedules: Mapping[str, Schedule], after: datetime, on_due: OnDue) -> None:
        """Begin; the first instants handed over are the first ones later than `after`."""
        self._inner.add_executor(_Handover(on_due))
        for name, schedule in schedules.items():
            self._add(name, schedule.trigger, name, schedule.next_after(after))
        self._inner.start()

    def once(self, name: str, at: datetime) -> None:
        """Make `name` due one more time, at `at`; a later call replaces an earlier one."""
        self._add(f"once:{name}", DateTrigger(at, timezone=UTC), name, at)

    def stop(self) -> None:
        """Hand over nothing from here on. Harmless when it does not run."""
        if self._inner.running:
            self._inner.pause()
            self._inner.remove_all_jobs()
            self._inner.shutdown(wait=False)

    def _add(self, key: str, trigger: BaseTrigger, name: str, first: datetime | None) -> None:
        self._inner.add_job(
            _never_called,
            trigger,
            args=[name],
            id=key,
            replace_existing=True,
            next_run_time=first,
        )


def _never_called(name: str) -> None:
    raise AssertionError(f"{name}: jobs are handed over, apscheduler runs none")
