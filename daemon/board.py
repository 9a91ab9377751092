"""How every job stands: what the runner and the scheduler report, kept for health to read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from daemon.metrics import JobMetric
from daemon.scheduler import Schedule
from health.facts import JobFact

BAD = ("failed", "timeout", "deferred")


class JobBoard:
    """One frozen fact a job, replaced as a whole, so that any thread may read at any time.

    `on_end` is handed every finished run's metric.
    """

    def __init__(
        self,
        deadlines_s: Mapping[str, float],
        on_end: Callable[[JobMetric], None] = lambda _: None,
    ) -> None:
        self._jobs = {
            name: JobFact(name=name, next_due_at=None, deadline_s=deadline_s)
            for name, deadline_s in deadlines_s.items()
        }
        self._schedules: Mapping[str, Schedule] = {}
        self._on_end = on_end

    def scheduled(self, schedules: Mapping[str, Schedule], after: datetime) -> None:
        """Take note of when jobs are due from now on; jobs without a schedule wait for nothing."""
        self._schedules = schedules
        for name in self._jobs:
            self._came_due(name, after)

    def due(self, job: str, instants: Iterable[datetime]) -> None:
        """Take note that slots were handed over."""
        self._came_due(job, max(instants))

    def began(self, job: str, at: datetime) -> None:
        """Take note that a run began."""
        self._jobs[job] = replace(self._jobs[job], running_since=at)

    def ended(self, metric: JobMetric) -> None:
        """Take note of how a run ended."""
        before = self._jobs[metric.job]
        bad = metric.outcome in BAD
        self._jobs[metric.job] = replace(
            before,
            running_since=None,
            last_outcome=metric.outcome,
            last_error=(metric.error or metric.reason) if bad else None,
            last_finished_at=metric.finished_at,
            failures=before.failures + 1 if bad else 0,
        )
        self._on_end(metric)

    def facts(self) -> list[JobFact]:
        """How the scheduled jobs stand now."""
        return [fact for name, fact in self._jobs.items() if name in self._schedules]

    def _came_due(self, job: str, instant: datetime) -> None:
        schedule = self._schedules.get(job)
        due_at = None if schedule is None else schedule.next_after(instant)
        self._jobs[job] = replace(self._jobs[job], next_due_at=due_at)
