"""How every job stands: what the runner and the scheduler report, kept for health to read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from daemon.scheduling.scheduler import Schedule
from daemon.telemetry.metrics import JobMetric
from health.check_inputs import JobFact
from health.watchdog import Heartbeats
from jobs.core.job import Clock

BAD = ("failed", "timeout", "deferred")
START_WITHIN_S = 8.0
"""How late a slot may begin, and how long after its deadline a run may end."""
URGENT = frozenset({"orders"})


def lane(job: str) -> str:
    """Return the name under which a job leaves its heartbeats."""
    return f"job:{job}"


class JobStatus:
    """One frozen fact a job, replaced as a whole, so that any thread may read at any time.

    `on_end` is handed every finished run's metric. Each job is a lane of `beats`: it moves when a
    slot begins, is skipped or ends, and is silent when its next one does not.
    """

    def __init__(
        self,
        deadlines_s: Mapping[str, float],
        on_end: Callable[[JobMetric], None] = lambda _: None,
        *,
        beats: Heartbeats | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._jobs = {
            name: JobFact(name=name, next_due_at=None, deadline_s=deadline_s)
            for name, deadline_s in deadlines_s.items()
        }
        self._schedules: Mapping[str, Schedule] = {}
        self._on_end = on_end
        self._beats = beats or Heartbeats()
        self._clock = clock

    def scheduled(self, schedules: Mapping[str, Schedule], after: datetime) -> None:
        """Take note of when jobs are due from now on; jobs without a schedule wait for nothing."""
        self._schedules = schedules
        for name, fact in self._jobs.items():
            self._came_due(name, after)
            if name not in schedules or fact.paused:
                self._beats.forget(lane(name))
            else:
                self._beats.expect(lane(name), START_WITHIN_S, critical=name in URGENT)
                self._beat(name)

    def pause(self, jobs: Iterable[str]) -> None:
        """Take note that these jobs are paused, and no others: nothing is expected of them."""
        paused = frozenset(jobs)
        for name, fact in self._jobs.items():
            if fact.paused != (name in paused):
                self._jobs[name] = replace(fact, paused=name in paused)
                if name in paused:
                    self._beats.forget(lane(name))
                elif name in self._schedules:
                    self._beats.expect(lane(name), START_WITHIN_S, critical=name in URGENT)
                    self._beat(name)

    def due(self, job: str, instants: Iterable[datetime]) -> None:
        """Take note that slots were handed over."""
        self._came_due(job, max(instants))
        self._beat(job)

    def began(self, job: str, at: datetime) -> None:
        """Take note that a run began."""
        self._jobs[job] = replace(self._jobs[job], running_since=at)
        self._beat(job)

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
        self._beat(metric.job)
        self._on_end(metric)

    def progress(self, job: str, text: str | None) -> None:
        """Take note of what a job works on beside its runs; None: of nothing."""
        if job in self._jobs:
            self._jobs[job] = replace(self._jobs[job], progress=text)

    def facts(self) -> list[JobFact]:
        """How the scheduled jobs stand now."""
        return [fact for name, fact in self._jobs.items() if name in self._schedules]

    def _came_due(self, job: str, instant: datetime) -> None:
        schedule = self._schedules.get(job)
        due_at = None if schedule is None else schedule.next_after(instant)
        self._jobs[job] = replace(self._jobs[job], next_due_at=due_at)

    def _beat(self, job: str) -> None:
        """Say that the job moved, and by when it moves again: its deadline or its next slot."""
        fact = self._jobs[job]
        now = self._clock()
        within_s = [START_WITHIN_S]
        if fact.running_since is not None:
            within_s.append(fact.deadline_s + START_WITHIN_S)
        elif fact.next_due_at is not None:
            within_s.append((fact.next_due_at - now).total_seconds() + START_WITHIN_S)
        self._beats.beat(lane(job), next_within_s=max(within_s))
