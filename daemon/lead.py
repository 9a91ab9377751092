"""What a leader does: account for the time before it, run slots, and stop in order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from loguru import logger

from daemon.board import JobBoard
from daemon.runner import Runner
from daemon.scheduler import Schedule, Scheduler
from daemon.slots import SlotLedger
from jobs.spec import Clock
from jobs.store import runs
from jobs.store.db import Database

CHUNK = 1000
DOWN = "not running then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a leader works with. `reconcile` compares the venue with the tables before any job."""

    database: Database
    ledger: SlotLedger
    board: JobBoard
    schedules: Mapping[str, Schedule]
    clock: Clock
    reconcile: Callable[[], Awaitable[None]]
    grace_s: float


async def lead(
    work: Work,
    make_runner: Callable[[Callable[[str, datetime], None]], Runner],
    *,
    on_pass: Callable[[], None],
    on_ready: Callable[[], None],
    until: Awaitable[None],
) -> bool:
    """Run slots until `until` returns, then drain. Returns whether every run ended by itself.

    `make_runner` is handed what the runner calls to have a job run once more later.
    """
    await work.ledger.close_abandoned()
    await work.reconcile()
    scheduler = Scheduler(on_pass)
    runner = make_runner(scheduler.once)

    def due(job: str, instants: Sequence[datetime]) -> None:
        work.board.due(job, instants)
        runner.due(job, instants)

    begin = await catch_up(work)
    scheduler.start(work.schedules, begin, due)
    work.board.scheduled(work.schedules, begin)
    on_ready()
    try:
        await until
    finally:
        scheduler.stop()
        logger.bind(event="daemon.draining", running=sorted(runner.running)).info(
            "No new slots; waiting for the running ones"
        )
        drained = await runner.drain(work.grace_s)
        work.board.scheduled({}, work.clock())
    return drained


async def catch_up(work: Work) -> datetime:
    """Write the slots that came due while nobody ran them; return until when that is done."""
    newest = await runs.newest(work.database)
    until = work.clock()
    for job, schedule in work.schedules.items():
        if job not in newest:
            continue
        missed = schedule.between(newest[job], until)
        written = 0
        while chunk := list(islice(missed, CHUNK)):
            written += await work.ledger.skip_missed(job, chunk, DOWN)
            await asyncio.sleep(0)  # months of ten-second slots must not hold the loop
        if written:
            logger.bind(event="slots.missed", slots=written, since=newest[job]).warning(
                "Slots came due while the daemon was not running",
            )
    return until
