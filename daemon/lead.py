"""Leading: wait for the lock, account for the time before, run slots, stop in order."""

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from loguru import logger

from daemon.board import JobBoard
from daemon.config import Config
from daemon.leader import Claim, Leadership, leading
from daemon.runner import Runner
from daemon.scheduler import Schedule, Scheduler
from daemon.slots import SlotLedger
from daemon.status import ProcessStatus
from daemon.stopping import Stop, unless
from health.watchdog import Heartbeats
from jobs.errors import JobError, Transient
from jobs.spec import Clock
from jobs.store import runs
from jobs.store.db import Database

CHUNK = 1000
DOWN = "not running then"
LANE = "scheduler"
PASS_LIMIT_S = 10.0
TRY_AGAIN_S = 0.5
RECONCILE_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What is done under one leadership: the runner of its jobs, and the comparison of venue and
    tables that comes before any of them.
    """

    runner: Runner
    reconcile: Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What leading needs. `make_shift` is handed the epoch, and what the runner calls to have a
    job run once more at an instant.
    """

    claim: Claim
    wait_for_lock: bool
    database: Database
    ledger: SlotLedger
    board: JobBoard
    schedules: Mapping[str, Schedule]
    clock: Clock
    heartbeats: Heartbeats
    status: ProcessStatus
    grace_s: float
    make_shift: Callable[[int, Callable[[str, datetime], None]], Shift]


def claim_of(config: Config, database_url: str) -> Claim:
    """Return which account this daemon wants to lead, and under which name.

    In live mode the account is the one behind the access key, whatever the instance is called.
    """
    account = f"paper:{config.daemon.instance}"
    key = config.secrets.upbit_access_key
    if config.trading.mode == "live" and key is not None:
        account = f"live:{hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:16]}"
    holder = f"{socket.gethostname()}:{os.getpid()}:{config.daemon.instance}"
    return Claim(dsn=database_url, account=account, holder=holder)


async def lead_until_stopped(duty: Duty, stop: Stop) -> None:
    """Lead whenever the lock can be had, stand by otherwise, until asked to stop.

    Raises NotLeader when another holds the lock and waiting is not wanted.
    """
    while not stop.asked.is_set():
        duty.status.standby("waiting for the leader's lock")
        try:
            async with AsyncExitStack() as held:
                lock = held.enter_async_context(leading(duty.claim, wait=duty.wait_for_lock))
                if (leadership := await unless(stop.asked, lock)) is None:
                    return
                await _lead(duty, leadership, stop)
        except Transient as error:
            logger.bind(event="leader.away", error=str(error)).warning(
                "Cannot lead while the database is away"
            )
            await unless(stop.asked, asyncio.sleep(TRY_AGAIN_S))


async def _lead(duty: Duty, leadership: Leadership, stop: Stop) -> None:
    """Run slots until asked to stop or the lock is lost, then drain."""
    over = asyncio.Event()
    watch = asyncio.create_task(_watch(leadership, stop, over))
    scheduler = Scheduler(lambda: duty.heartbeats.beat(LANE))
    shift = duty.make_shift(leadership.epoch, scheduler.once)

    def due(job: str, instants: Sequence[datetime]) -> None:
        duty.board.due(job, instants)
        shift.runner.due(job, instants)

    try:
        await duty.ledger.close_abandoned()
        if not await unless(over, _reconciled(duty, shift)):
            return
        begin = await catch_up(duty)
        duty.heartbeats.expect(LANE, PASS_LIMIT_S)
        scheduler.start(duty.schedules, begin, due)
        duty.board.scheduled(duty.schedules, begin)
        duty.status.leading()
        logger.bind(event="daemon.ready", epoch=leadership.epoch).info("Ready")
        await over.wait()
    finally:
        watch.cancel()
        scheduler.stop()
        duty.heartbeats.forget(LANE)
        duty.board.scheduled({}, duty.clock())
        await _drain(duty, shift.runner, stop)


async def _watch(leadership: Leadership, stop: Stop, over: asyncio.Event) -> None:
    await unless(stop.asked, leadership.lost())
    over.set()


async def _reconciled(duty: Duty, shift: Shift) -> bool:
    """Compare venue and tables until that worked; no job runs before it did."""
    duty.status.starting("comparing the exchange with the tables")
    while True:
        try:
            await shift.reconcile()
        except JobError as error:
            reason = f"cannot compare the exchange with the tables: {error}"
            duty.status.starting(reason)
            logger.bind(event="daemon.not_reconciled", error=str(error)).warning(
                "Not ready: the exchange cannot be compared with the tables"
            )
            await asyncio.sleep(max(RECONCILE_AGAIN_S, getattr(error, "retry_after_s", 0) or 0))
        else:
            return True


async def _drain(duty: Duty, runner: Runner, stop: Stop) -> None:
    duty.status.stopping()
    logger.bind(event="daemon.draining", running=sorted(runner.running)).info(
        "No new slots; waiting for the running ones"
    )
    await unless(stop.forced, runner.drain(duty.grace_s))
    await runner.drain(0)


async def catch_up(duty: Duty) -> datetime:
    """Write the slots that came due while nobody ran them; return until when that is done."""
    newest = await runs.newest(duty.database)
    until = duty.clock()
    for job, schedule in duty.schedules.items():
        if job not in newest:
            continue
        missed = schedule.between(newest[job], until)
        written = 0
        while chunk := list(islice(missed, CHUNK)):
            written += await duty.ledger.skip_missed(job, chunk, DOWN)
            await asyncio.sleep(0)  # months of ten-second slots must not hold the loop
        if written:
            logger.bind(event="slots.missed", job=job, slots=written, since=newest[job]).warning(
                "Slots came due while the daemon was not running"
            )
    return until
