"""One run: claim its slot, try under a deadline, say what became of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from loguru import logger

from daemon.metrics import JobMetric
from daemon.retry import Progress, RetryPolicy, retrying
from daemon.slots import new_slot
from jobs.errors import BudgetExhausted, JobError, ModelRejected, Transient
from jobs.spec import Clock, Incident, JobSpec, Notifier, Slot, Tally, current_tally

Outcome = Literal["ok", "failed", "timeout", "deferred", "cancelled"]

ALREADY_TOLD = (ModelRejected, BudgetExhausted)
"""Errors that jobs/gemini/source.py turns into incidents of their own kind."""


class Ledger(Protocol):
    """Where a run claims its slot and says what became of it (daemon/slots.py)."""

    async def claim(self, slot: Slot) -> bool:
        """Return whether the slot is ours to run."""
        ...

    def close(self, metric: JobMetric) -> None:
        """Record the outcome."""
        ...

    def skip(self, job: str, instants: Sequence[datetime], reason: str) -> None:
        """Record slots that will not run."""
        ...


class Observer(Protocol):
    """Who watches the runs: health, metrics, the watchdog (daemon/board.py)."""

    def began(self, job: str, at: datetime) -> None:
        """A run began."""
        ...

    def ended(self, metric: JobMetric) -> None:
        """A run ended, whatever its outcome."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended. `deferred_s` is the wait, from now, after which a follow-up is due."""

    outcome: Outcome
    rows: int = 0
    reason: str | None = None
    error: BaseException | None = None
    deferred_s: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """When a run began and ended (wall clock), and how long it took by the monotonic clock."""

    started_at: datetime
    finished_at: datetime
    duration_s: float


class Runner:
    """Runs due slots, each job at most once at a time, and never one job behind another.

    `on_deferred` is told the job and the instant of the follow-up run that a server's wait asks
    for. `mask` takes secrets out of error texts.
    """

    def __init__(
        self,
        specs: Mapping[str, JobSpec],
        ledger: Ledger,
        policy: RetryPolicy,
        notifier: Notifier,
        *,
        clock: Clock,
        on_deferred: Callable[[str, datetime], None],
        observer: Observer,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._specs = specs
        self._ledger = ledger
        self._policy = policy
        self._notifier = notifier
        self._clock = clock
        self._on_deferred = on_deferred
        self._observer = observer
        self._mask = mask
        self._running: dict[str, asyncio.Task[None]] = {}
        self._healthy: set[str] = set()

    @property
    def running(self) -> frozenset[str]:
        """The jobs that are running now."""
        return frozenset(self._running)

    def due(self, job: str, instants: Sequence[datetime]) -> None:
        """Run the newest of the instants that came due; the older ones were missed.

        A job still busy with an earlier slot skips this one.
        """
        *missed, newest = instants
        self._ledger.skip(job, missed, "missed")
        if job in self._running:
            self._ledger.skip(job, [newest], "still running")
            return
        task = asyncio.create_task(self.run(new_slot(job, newest)), name=f"job:{job}")
        self._running[job] = task
        task.add_done_callback(lambda _: self._running.pop(job, None))

    async def drain(self, grace_s: float) -> bool:
        """Wait for the running jobs, cancel those that outlast `grace_s`; True if none did."""
        if not (tasks := set(self._running.values())):
            return True
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return not late

    async def run(self, slot: Slot) -> None:
        """Run one slot to its outcome. Raises nothing but cancellation."""
        with logger.contextualize(job=slot.job, run_id=slot.run_id):
            started_at = self._clock()
            began_s = asyncio.get_running_loop().time()
            if not await self._ledger.claim(slot):
                logger.bind(event="slot.taken").info("Slot has a row already")
                return
            self._observer.began(slot.job, started_at)
            tally = Tally()
            current_tally.set(tally)
            progress = Progress()
            ending = await self._ending(self._specs[slot.job], slot, progress)
            span = Span(started_at, self._clock(), asyncio.get_running_loop().time() - began_s)
            metric = self._metric(slot, ending, progress, tally, span)
            self._ledger.close(metric)
            self._observer.ended(metric)
            await self._follow_up(metric, ending)

    async def _ending(self, spec: JobSpec, slot: Slot, progress: Progress) -> Ending:
        give_up_at = asyncio.get_running_loop().time() + spec.deadline_s
        try:
            async with asyncio.timeout_at(give_up_at) as limit:
                rows = await retrying(
                    lambda: spec.run(slot), self._policy, progress, give_up_at=give_up_at
                )
            return Ending(outcome="ok", rows=rows)
        except asyncio.CancelledError as error:
            return Ending(outcome="cancelled", reason="stopped while running", error=error)
        except Transient as error:
            return _after_transient(error, progress)
        except JobError as error:
            return Ending(outcome="failed", reason="permanent", error=error)
        except Exception as error:  # noqa: BLE001 -- the boundary: any bug of a job ends its run only
            if limit.expired():
                reason = f"over the deadline of {spec.deadline_s:g} s"
                return Ending(outcome="timeout", reason=reason, error=error)
            logger.bind(event="job.bug").exception("Job raised what it should not")
            return Ending(outcome="failed", reason="bug", error=error)

    def _metric(
        self, slot: Slot, ending: Ending, progress: Progress, tally: Tally, span: Span
    ) -> JobMetric:
        error = ending.error
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
            reason=ending.reason,
            attempts=progress.attempts,
            waited_s=round(progress.waited_s, 6),
            error_type=None if error is None else type(error).__name__,
            error=None if error is None else self._mask(str(error).replace("\x00", "\ufffd")),
            api_calls=tally.api_calls,
            rows=ending.rows or tally.rows,
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            tokens_thought=tally.tokens_thought,
            cost_usd=tally.cost_usd,
        )

    async def _follow_up(self, metric: JobMetric, ending: Ending) -> None:
        if ending.deferred_s is not None:
            self._on_deferred(metric.job, self._clock() + timedelta(seconds=ending.deferred_s))
        key = f"job:{metric.job}"
        if ending.outcome == "ok":
            if metric.job not in self._healthy:
                self._healthy.add(metric.job)
                await self._notifier.resolve(key)
        elif (incident := _incident(key, metric, ending)) is not None:
            self._healthy.discard(metric.job)
            await self._notifier.notify(incident)


def _after_transient(error: Transient, progress: Progress) -> Ending:
    if progress.deferred_s is not None:
        reason = f"{error.wait_source}: the server asked for {progress.deferred_s:.0f} s"
        return Ending(
            outcome="deferred", reason=reason, error=error, deferred_s=progress.deferred_s
        )
    return Ending(outcome="failed", reason="retries exhausted", error=error)


def _incident(key: str, metric: JobMetric, ending: Ending) -> Incident | None:
    """Return what a person should hear of this ending; cancelled and deferred runs are no news.

    Neither are errors of which whoever raised them has told already.
    """
    if ending.outcome not in ("failed", "timeout") or isinstance(ending.error, ALREADY_TOLD):
        return None
    exhausted = ending.outcome == "timeout" or ending.reason == "retries exhausted"
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
