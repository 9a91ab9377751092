"""Leading: wait for the lock, account for the time before, run slots, stop in order."""

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loguru import logger

from daemon.config.load import Config
from daemon.leadership.election import Claim, Leadership, NotLeader, leading
from daemon.process.shutdown import Stop, unless
from daemon.process.state import ProcessStatus
from daemon.requests.queue import Handler, Requests
from daemon.scheduling import start_up
from daemon.scheduling.catch_up import CatchUp, Memory
from daemon.scheduling.job_controls import Controls
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.missed_spans import MissedSpans
from daemon.scheduling.runner import Runner
from daemon.scheduling.scheduler import Listener, Schedule, Scheduler
from daemon.scheduling.slot_clock import Past, SlotClock
from daemon.scheduling.slot_ledger import SlotLedger
from health.watchdog import Heartbeats
from jobs.core.errors import BadData, JobError, Transient
from jobs.core.job import Clock, Incident, Notifier, boottime_s, current_lane
from jobs.store import job_controls, runs
from jobs.store.db import Database
from jobs.store.fence import StaleEpoch
from jobs.store.missed_spans import Span

LANE = "scheduler"
PASS_LIMIT_S = 8.0
TRY_AGAIN_S = 0.5
RECONCILE_AGAIN_S = 2.0
RECONCILE_WITHIN_S = 5.0
LEADING, COMPARING = "task:lead", "task:reconcile"
LONGEST_BUG_WAIT_S = 30.0
REPEATS_SINCE = timedelta(days=2)

OnDeferred = Callable[[str, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What is done under one leadership: the runner of its jobs, the comparison of venue and tables
    that comes before any of them, what people may ask for (`commands`, by name), which writes to
    the fenced `database`, and what goes on beside them until it is over.
    """

    runner: Runner
    reconcile: Callable[[], Awaitable[object]]
    database: Database
    commands: Mapping[str, Handler]
    beside: Callable[[], Coroutine[object, object, None]] | None = None


async def _no_news() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What leading needs. `make_shift` is handed the leadership, and what the runner calls to have
    a job run once more at an instant. `on_leading` tells people, beside the work.
    """

    claim: Claim
    wait_for_lock: bool
    database: Database
    ledger: SlotLedger
    board: JobStatus
    schedules: Mapping[str, Schedule]
    clock: Clock
    heartbeats: Heartbeats
    status: ProcessStatus
    controls: Controls
    requests: Requests
    notifier: Notifier
    grace_s: float
    make_shift: Callable[[Leadership, OnDeferred], Shift]
    on_leading: Callable[[], Coroutine[object, object, None]] = _no_news
    memory: Memory = field(default_factory=Memory)


def claim_of(config: Config, database_url: str, session: str) -> Claim:
    """Return which account this daemon wants to lead, and under which name.

    In live mode the account is the one behind the access key, whatever the instance is called.
    """
    account = f"paper:{config.daemon.instance}"
    key = config.secrets.upbit_access_key
    if config.trading.mode == "live" and key is not None:
        account = f"live:{hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:16]}"
    return Claim(dsn=database_url, account=account, holder=holder_name(config), session=session)


def holder_name(config: Config) -> str:
    """Return how this process is called where it leads; jobs/store/requests.py reads it."""
    return f"{socket.gethostname()}:{os.getpid()}:{config.daemon.instance}"


async def lead_until_stopped(duty: Duty, stop: Stop) -> None:
    """Lead whenever the lock can be had, stand by otherwise, until asked to stop.

    Raises NotLeader when another holds the lock and waiting is not wanted.
    """
    current_lane.set("orders")  # to lead, and to compare the account first, is its business
    bug_wait_s = TRY_AGAIN_S
    while not stop.asked.is_set():
        duty.status.standby("waiting for the leader's lock")
        try:
            async with AsyncExitStack() as held:
                lock = held.enter_async_context(leading(duty.claim, wait=duty.wait_for_lock))
                if (leadership := await unless(stop.asked, lock)) is None:
                    return
                await _lead(duty, leadership, stop)
        except (Transient, StaleEpoch) as error:
            logger.bind(event="leader.away", error=str(error)).warning(
                "Cannot lead while the database is away"
            )
            await unless(stop.asked, asyncio.sleep(TRY_AGAIN_S))
        except NotLeader:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end who sells at stop-losses
            logger.bind(event="job.bug", again_s=bug_wait_s).exception(
                "Leading raised what it should not; it is tried again"
            )
            await duty.notifier.notify(_bug(error, LEADING))
            await unless(stop.asked, asyncio.sleep(bug_wait_s))
            bug_wait_s = min(2 * bug_wait_s, LONGEST_BUG_WAIT_S)


async def _lead(duty: Duty, leadership: Leadership, stop: Stop) -> None:
    """Run slots until asked to stop or the lease is lost, then drain."""
    over = asyncio.Event()
    clock = await _slot_clock(duty)
    lead = _Lead(duty, leadership, clock)
    duty.ledger.lead(leadership.fence)
    duty.requests.attach(lead.shift.database, leadership.epoch, lead.shift.commands)
    watch = asyncio.create_task(_watch(leadership, stop, over))
    try:
        await duty.ledger.close_abandoned()
        if not await unless(over, _reconciled(duty, lead.shift)):
            return
        begin = await lead.account_for_absence()
        await lead.begin(begin)
        duty.status.leading()
        await duty.notifier.resolve(LEADING)
        logger.bind(event="daemon.ready", epoch=leadership.epoch).info("Ready")
        lead.start_up()
        await over.wait()
    finally:
        watch.cancel()
        duty.requests.detach()
        lead.end()
        await lead.keep_spans()
        if lead.scheduler.handed_until is not None:
            duty.memory.left_at = lead.scheduler.handed_until
            duty.memory.repeating_until = clock.repeating_until()
        is_asked = stop.asked.is_set()
        await _drain(duty, lead.shift.runner, stop, duty.grace_s if is_asked else 0.0)
        duty.ledger.lead(None)


async def _slot_clock(duty: Duty) -> SlotClock:
    newest, repeats = await runs.past(duty.database, duty.clock() - REPEATS_SINCE)
    past = Past(newest=newest, repeats=repeats)
    return SlotClock(duty.clock, boottime_s, time.monotonic, past)


class _Lead:
    """One leadership: hands due slots to the runner, and obeys what people ask of jobs."""

    def __init__(self, duty: Duty, leadership: Leadership, clock: SlotClock) -> None:
        self._duty = duty
        self._leadership = leadership
        self._clock = clock
        self._news: set[asyncio.Task[None]] = set()
        self._wanted: frozenset[str] = frozenset()
        self.scheduler = Scheduler(
            Listener(
                due=self._due,
                lapsed=self._lapsed,
                passed=lambda: duty.heartbeats.beat(LANE),
                trouble=self._trouble,
                rewound=lambda at: duty.board.scheduled(duty.schedules, at),
                ready=leadership.holds,
            ),
            clock,
        )
        self.shift = duty.make_shift(leadership, self._deferred)
        self._spans = MissedSpans(duty.database, duty.schedules, duty.clock, duty.memory.spans)
        self._beside: list[asyncio.Task[None]] = []

    async def account_for_absence(self) -> datetime:
        """Account for what came due while nobody ran it; return until when that is done."""
        duty = self._duty
        absence = CatchUp(
            database=duty.database,
            ledger=duty.ledger,
            schedules=duty.schedules,
            spans=self._spans,
            memory=duty.memory,
        )
        return await absence.run(self._clock)

    async def begin(self, after: datetime) -> None:
        """Hand over slots from `after` on."""
        duty = self._duty
        duty.heartbeats.expect(LANE, PASS_LIMIT_S)
        for job, each in (await job_controls.read(duty.database)).items():
            if each.follow_up_at is not None and each.follow_up_at > after and self._knows(job):
                self.scheduler.once(job, each.follow_up_at)
        self._wanted = await start_up.wanted(duty.database, duty.schedules, after)
        await duty.controls.attach(self)
        duty.board.scheduled(duty.schedules, after)
        self.scheduler.start(duty.schedules, after)
        self._beside.append(asyncio.create_task(self._spans.run(), name="missed spans"))
        if self.shift.beside is not None:
            self._beside.append(asyncio.create_task(self.shift.beside(), name="beside the jobs"))

    async def keep_spans(self) -> None:
        """Store the spans that came last; what the database does not take now is tried again."""
        with suppress(Transient):
            await self._spans.keep()

    def start_up(self) -> None:
        """Begin with a slot of its own where a job would have to wait for its next one."""
        self._tell(start_up.run(self._wanted, self.shift.runner, self.scheduler.instant_now))
        self._tell(self._duty.on_leading())

    def end(self) -> None:
        """Hand over nothing any more."""
        self.scheduler.stop()
        for task in self._beside:
            task.cancel()
        self._duty.controls.detach()
        self._duty.heartbeats.forget(LANE)
        self._duty.board.scheduled({}, self._duty.clock())

    def pause(self, jobs: Iterable[str]) -> None:
        """Pause these jobs and no others."""
        paused = frozenset(jobs)
        self.shift.runner.pause(paused)
        self._duty.board.pause(paused)

    def run_now(self, job: str) -> None:
        """Run a job once more, now."""
        if self._knows(job):
            self.shift.runner.run_now(job, self.scheduler.instant_now())

    def _knows(self, job: str) -> bool:
        return job in self._duty.schedules

    def _due(self, job: str, instants: Sequence[datetime]) -> None:
        self._duty.board.due(job, instants)
        self.shift.runner.due(job, instants)

    def _lapsed(self, job: str, after: datetime, until: datetime) -> None:
        mark, repeats = self._clock.labelling()
        reason = self.shift.runner.why_missed(job)
        self._spans.add(
            Span(job=job, after=after, until=until, reason=reason, mark=mark, repeats=repeats)
        )

    async def _deferred(self, job: str, at: datetime) -> None:
        at = self.scheduler.once(job, at)
        try:
            await job_controls.promise(self._duty.database, job, at)
        except Transient as error:
            logger.bind(event="job.promise_not_stored", due=at, error=str(error)).warning(
                "A follow-up run is not stored; a restart would forget it"
            )

    def _trouble(self, schedule: str, error: str | None) -> None:
        incident = f"scheduler_stalled:{schedule}"
        notifier = self._duty.notifier
        if error is None:
            self._tell(notifier.resolve(incident))
            return
        self._tell(
            notifier.notify(
                Incident(
                    kind="scheduler_stalled",
                    severity="critical",
                    incident=incident,
                    title=f"The schedule of {schedule} is stuck",
                    message=f"{schedule} cannot tell when it is due; the others go on: {error}",
                    job=schedule if self._knows(schedule) else None,
                    error=error,
                )
            )
        )

    def _tell(self, news: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(news)
        self._news.add(task)
        task.add_done_callback(self._news.discard)


async def _watch(leadership: Leadership, stop: Stop, over: asyncio.Event) -> None:
    await unless(stop.asked, leadership.lost())
    over.set()


async def _reconciled(duty: Duty, shift: Shift) -> bool:
    """Compare venue and tables until that worked; no job runs before it did.

    An answer that cannot be read, or a bug in comparing, is no reason to leave positions without
    stop-losses: jobs run then, no market takes new exposure before a comparison worked, and the
    orders job goes on comparing and fails for as long as it cannot.
    """
    duty.status.starting("comparing the exchange with the tables")
    told = ""
    while True:
        try:
            await shift.reconcile()
        except BadData as error:
            logger.bind(event="daemon.not_reconciled", error=str(error)).error(
                "What the exchange says cannot be read: exits go on, nothing is bought until it can"
            )
            return True
        except JobError as error:
            reason = f"cannot compare the exchange with the tables: {error}"
            duty.status.starting(reason)
            logger.bind(event="daemon.not_reconciled", error=str(error)).log(
                "DEBUG" if told == str(error.args[0]) else "WARNING",
                "Not ready: the exchange cannot be compared with the tables",
            )
            told = str(error.args[0])
            wait_s = max(RECONCILE_AGAIN_S, getattr(error, "retry_after_s", 0) or 0)
            await asyncio.sleep(min(wait_s, RECONCILE_WITHIN_S))  # a wait may be lifted
        except Exception as error:  # noqa: BLE001 - as said above
            logger.bind(event="job.bug").exception("Comparing raised what it should not")
            await duty.notifier.notify(_bug(error, COMPARING))
            return True
        else:
            await duty.notifier.resolve(COMPARING)
            return True


def _bug(error: Exception, incident: str) -> Incident:
    return Incident(
        kind="permanent_failure",
        severity="critical",
        incident=incident,
        title="Leading failed in a way nobody expected",
        message=f"it is tried again; what can go on goes on: {type(error).__name__}: {error}",
        error_type=type(error).__name__,
        error=str(error),
        advice="report the traceback of the log line job.bug: this is a bug",
    )


async def _drain(duty: Duty, runner: Runner, stop: Stop, grace_s: float) -> None:
    duty.status.stopping()
    logger.bind(event="daemon.draining", running=sorted(runner.running)).info(
        "No new slots; waiting for the running ones"
    )
    await unless(stop.forced, runner.drain(grace_s))
    await runner.drain(0)
