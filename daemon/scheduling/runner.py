"""One run: claim its slot, try under a deadline, say what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from loguru import logger

from daemon.scheduling.retry import Progress, RetryBudget, RetryPolicy, retrying
from daemon.scheduling.slot_ledger import new_slot
from daemon.telemetry.metrics import JobMetric
from jobs.core.errors import BudgetExhausted, JobError, ModelRejected, Transient, reason_of
from jobs.core.job import (
    Clock,
    Incident,
    JobSpec,
    Notifier,
    RunCounters,
    Slot,
    current_counters,
    current_lane,
    current_slot,
)
from jobs.core.untrusted import clean, cut
from jobs.store.fence import StaleEpoch

Outcome = Literal["ok", "failed", "timeout", "deferred", "cancelled"]
MISSED = "missed"
PAUSED = "paused"
START_UP = "start-up"
EXHAUSTED = "retries exhausted"
NO_BUDGET = "retry budget spent"
LONGEST_ERROR = 4000


class _Taken(Exception):
    """The slot is not ours to run."""


ALREADY_TOLD = (ModelRejected, BudgetExhausted)
"""Errors that jobs/gemini/source.py turns into incidents of their own kind."""


class Ledger(Protocol):
    """Where a run claims its slot and says what became of it (daemon/scheduling/slot_ledger.py)."""

    async def claim(self, slot: Slot) -> bool:
        """Return whether the slot is ours to run. Raises Transient while nobody can say."""
        ...

    def close(self, metric: JobMetric) -> None:
        """Record the outcome."""
        ...

    def skip(self, job: str, instants: Sequence[datetime], reason: str) -> None:
        """Record slots that will not run."""
        ...


class Observer(Protocol):
    """Who watches the runs: health, metrics, the watchdog (daemon/scheduling/job_status.py)."""

    def began(self, job: str, at: datetime) -> None:
        """A run began."""
        ...

    def ended(self, metric: JobMetric) -> None:
        """A run ended, whatever its outcome."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended. `deferred_s` is the wait, from now, after which a follow-up is due;
    `is_anothers`: another process accounts for the slot, this one says nothing.
    """

    outcome: Outcome
    rows: int = 0
    reason: str | None = None
    error: BaseException | None = None
    deferred_s: float | None = None
    is_anothers: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """When a run began and ended (wall clock), and how long it took by the monotonic clock."""

    started_at: datetime
    finished_at: datetime
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every run is done with.

    `on_deferred` is told the job and the instant of the follow-up run that a server's wait asks
    for. `mask` takes secrets out of error texts. `is_ours` says whether slots are still ours to
    account for: what ends after that is told by whoever leads next.
    """

    ledger: Ledger
    policy: RetryPolicy
    notifier: Notifier
    clock: Clock
    on_deferred: Callable[[str, datetime], Awaitable[None]]
    observer: Observer
    mask: Callable[[str], str] = str
    budget: RetryBudget = field(default_factory=RetryBudget)
    is_ours: Callable[[], bool] = lambda: True


class Runner:
    """Runs due slots, each job at most once at a time, and never one job behind another."""

    def __init__(self, specs: Mapping[str, JobSpec], means: Means) -> None:
        self._specs = specs
        self._means = means
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unbegun: set[Slot] = set()
        self._queued: dict[str, datetime] = {}
        self._paused: frozenset[str] = frozenset()
        self._healthy: set[str] = set()
        self._is_over = False

    @property
    def running(self) -> frozenset[str]:
        """The jobs that are running now."""
        return frozenset(self._running)

    def pause(self, jobs: Iterable[str]) -> None:
        """Skip the slots of these jobs, and of no others, from here on; what runs goes on."""
        self._paused = frozenset(jobs)

    def due(self, job: str, instants: Sequence[datetime]) -> None:
        """Run the newest of the instants that came due, as the job's spec says; skip the others."""
        *missed, newest = instants
        spec = self._specs[job]
        self.missed(job, missed)
        if job in self._paused:
            self._means.ledger.skip(job, [newest], PAUSED)
        elif spec.misfire == "skip" and self._late_s(newest) > spec.misfire_grace_s:
            self._means.ledger.skip(job, [newest], MISSED)
        elif job not in self._running:
            self._begin(job, newest)
        elif spec.overlap == "queue":
            self._queue(job, newest)
        else:
            self._means.ledger.skip(job, [newest], "still running")

    def missed(self, job: str, instants: Sequence[datetime]) -> None:
        """Skip slots that came due too long ago to be run."""
        self._means.ledger.skip(job, instants, self.why_missed(job))

    def why_missed(self, job: str) -> str:
        """Return the reason of a slot of `job` that is not run because it comes too late."""
        return PAUSED if job in self._paused else MISSED

    def run_now(self, job: str, instant: datetime) -> None:
        """Run a slot that a person asked for: a pause does not hold it, a busy job queues it."""
        if job in self._running:
            self._queue(job, instant)
        else:
            self._begin(job, instant)

    def start_up(self, job: str, instant: datetime) -> bool:
        """Run a slot that a start of the daemon asks for, unless the job is paused or busy."""
        if self._is_over or job in self._paused or job in self._running:
            return False
        self._begin(job, instant, START_UP)
        return True

    async def until_ended(self, job: str) -> None:
        """Wait until the job's present run has ended; at once when there is none."""
        if (task := self._running.get(job)) is not None:
            await asyncio.wait([task])

    async def idle(self) -> None:
        """Wait until nothing runs; what is queued counts."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def drain(self, grace_s: float) -> bool:
        """Wait for the running jobs, cancel those that outlast `grace_s`; True if none did."""
        self._is_over = True
        for job, instant in self._queued.items():
            self._means.ledger.skip(job, [instant], "stopped before it ran")
        self._queued.clear()
        if not (tasks := set(self._running.values())):
            return True
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return not late

    def _begin(self, job: str, instant: datetime, occasion: str | None = None) -> None:
        slot = new_slot(job, instant, occasion)
        self._unbegun.add(slot)
        task = asyncio.create_task(self.run(slot), name=f"job:{job}")
        self._running[job] = task
        task.add_done_callback(lambda _: self._over(slot))

    def _over(self, slot: Slot) -> None:
        job = slot.job
        self._running.pop(job, None)
        if slot in self._unbegun and self._means.is_ours():
            self._means.ledger.skip(job, [slot.scheduled_at], "stopped before it ran")
        self._unbegun.discard(slot)
        if not self._is_over and (instant := self._queued.pop(job, None)) is not None:
            self._begin(job, instant)

    def _queue(self, job: str, instant: datetime) -> None:
        if (older := self._queued.get(job)) is not None:
            self._means.ledger.skip(job, [older], "a newer slot took its place")
        self._queued[job] = instant

    def _late_s(self, instant: datetime) -> float:
        return (self._means.clock() - instant).total_seconds()

    async def run(self, slot: Slot) -> None:
        """Run one slot to its outcome. Raises nothing but cancellation."""
        spec, means = self._specs[slot.job], self._means
        self._unbegun.discard(slot)
        current_lane.set(spec.lane)
        with logger.contextualize(job=slot.job, run_id=slot.run_id):
            started_at = means.clock()
            began_s = asyncio.get_running_loop().time()
            means.observer.began(slot.job, started_at)
            tally = RunCounters()
            current_counters.set(tally)
            current_slot.set(slot)
            trial = _Trial(spec, slot, means)
            ending = await trial.ending()
            span = Span(started_at, means.clock(), asyncio.get_running_loop().time() - began_s)
            metric = self._metric(slot, ending, trial.progress, tally, span)
            means.observer.ended(metric)
            if ending.is_anothers or (trial.is_claimed and not means.is_ours()):
                logger.bind(event="slot.not_ours", outcome=ending.outcome).warning(
                    "Another process or leader accounts for this slot"
                )
                return
            means.ledger.close(metric)
            await self._follow_up(metric, ending)

    def _metric(
        self, slot: Slot, ending: Ending, progress: Progress, tally: RunCounters, span: Span
    ) -> JobMetric:
        error = ending.error
        said = None if error is None else _said(ending, error, tally)
        return JobMetric(
            job=slot.job,
            run_id=slot.run_id,
            scheduled_at=slot.scheduled_at,
            started_at=span.started_at,
            finished_at=span.finished_at,
            lateness_s=round((span.started_at - slot.scheduled_at).total_seconds(), 6),
            duration_s=round(span.duration_s, 6),
            success=ending.outcome == "ok",
            outcome=ending.outcome,
            reason=ending.reason or slot.occasion,
            attempts=progress.attempts,
            waited_s=round(progress.waited_s, 6),
            error_type=None if error is None else type(error).__name__,
            error=None if said is None else self._told(said),
            api_calls=tally.api_calls,
            rows=ending.rows or tally.rows,
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            tokens_thought=tally.tokens_thought,
            cost_usd=tally.cost_usd,
        )

    def _told(self, said: str) -> str:
        """What the error says, fit for a table, a log line and a message."""
        return self._means.mask(clean(cut(said, LONGEST_ERROR)))

    async def _follow_up(self, metric: JobMetric, ending: Ending) -> None:
        if ending.deferred_s is not None:
            at = self._means.clock() + timedelta(seconds=ending.deferred_s)
            await self._means.on_deferred(metric.job, at)
        key = f"job:{metric.job}"
        if ending.outcome == "ok":
            if metric.job not in self._healthy:
                self._healthy.add(metric.job)
                await self._means.notifier.resolve(key)
        elif (incident := _incident(key, metric, ending)) is not None:
            self._healthy.discard(metric.job)
            await self._means.notifier.notify(incident)


class _Trial:
    """The attempts at one slot. The claim belongs to the first: it is tried again with it."""

    def __init__(self, spec: JobSpec, slot: Slot, means: Means) -> None:
        self._spec = spec
        self._slot = slot
        self._means = means
        self.progress = Progress()
        self.is_claimed = False

    async def ending(self) -> Ending:
        """Try until the run has an outcome. Raises nothing."""
        spec, budget = self._spec, self._means.budget
        budget.pay_in()
        give_up_at = asyncio.get_running_loop().time() + spec.deadline_s
        limit = asyncio.timeout_at(give_up_at)
        try:
            async with limit:
                rows = await retrying(
                    self._attempt,
                    self._policy(),
                    self.progress,
                    give_up_at=give_up_at,
                    allow=lambda: budget.take(urgent=spec.lane == "orders"),
                )
            return Ending(outcome="ok", rows=rows)
        except (JobError, asyncio.CancelledError, _Taken) as error:
            return _ending_of(error, self.progress)
        except Exception as error:  # noqa: BLE001 -- the boundary: any bug of a job ends its run only
            if limit.expired():
                reason = f"over the deadline of {spec.deadline_s:g} s"
                return Ending(outcome="timeout", reason=reason, error=error)
            logger.bind(event="job.bug").exception("Job raised what it should not")
            return Ending(outcome="failed", reason="bug", error=error)

    def _policy(self) -> RetryPolicy:
        general, longest_s = self._means.policy, self._spec.max_wait_s
        if longest_s is None:
            return general
        return replace(general, max_wait_s=min(longest_s, general.max_wait_s))

    async def _attempt(self) -> int:
        if not self.is_claimed:
            if not await self._means.ledger.claim(self._slot):
                raise _Taken
            self.is_claimed = True
        return await self._spec.run(self._slot)


def _said(ending: Ending, error: BaseException, tally: RunCounters) -> str:
    """Why the run ended, never empty; over the deadline, what it had done by then as well."""
    if ending.outcome == "cancelled":
        return str(error) or ending.reason or reason_of(error)
    if ending.outcome != "timeout":
        return reason_of(error)
    done = tally.progress or f"{tally.api_calls} requests were sent, {tally.rows} rows were stored"
    return f"{ending.reason}: {done}"


def _ending_of(error: BaseException, progress: Progress) -> Ending:
    if isinstance(error, Transient):
        return _after_transient(error, progress)
    if isinstance(error, _Taken):
        return Ending(outcome="cancelled", reason="the slot has a row already", is_anothers=True)
    if isinstance(error, StaleEpoch):
        reason = "another instance leads"
        return Ending(outcome="cancelled", reason=reason, error=error, is_anothers=True)
    if isinstance(error, asyncio.CancelledError):
        return Ending(outcome="cancelled", reason="stopped while running", error=error)
    return Ending(outcome="failed", reason="permanent", error=error)


def _after_transient(error: Transient, progress: Progress) -> Ending:
    if progress.deferred_s is not None:
        reason = f"{error.wait_source}: the server asked for {progress.deferred_s:.0f} s"
        return Ending(
            outcome="deferred", reason=reason, error=error, deferred_s=progress.deferred_s
        )
    reason = NO_BUDGET if progress.refused else EXHAUSTED
    return Ending(outcome="failed", reason=reason, error=error)


def _incident(key: str, metric: JobMetric, ending: Ending) -> Incident | None:
    """Return what a person should hear of this ending; cancelled and deferred runs are no news.

    Neither are errors of which whoever raised them has told already.
    """
    if ending.outcome not in ("failed", "timeout") or isinstance(ending.error, ALREADY_TOLD):
        return None
    exhausted = ending.outcome == "timeout" or ending.reason in (EXHAUSTED, NO_BUDGET)
    return Incident(
        kind="retry_exhausted" if exhausted else "permanent_failure",
        severity="critical",
        incident=key,
        title=f"{metric.job}: {metric.reason}",
        message=f"{metric.job} failed after {metric.attempts} attempts: {metric.error}",
        job=metric.job,
        run_id=metric.run_id,
        attempts=metric.attempts,
        error_type=metric.error_type,
        error=metric.error,
    )
