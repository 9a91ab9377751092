"""CPU that one run costs in our runner, beside APScheduler's own executor, without any I/O.

Both run an empty coroutine job, in alternating rounds; the best round of each counts.
Usage: python -m bench.runner_overhead [runs]
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import patch

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from loguru import logger

from bench.memory import Nobody, NoRows
from daemon.scheduling import slot_ledger
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.retry import RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.scheduling.slot_ledger import SlotLedger
from jobs.core.job import JobSpec, Slot

START = datetime(2026, 1, 5, tzinfo=UTC)
ROUNDS = 5


async def _nothing(_slot: Slot) -> int:
    return 0


async def _nothing_bare() -> None:
    pass


async def _no_follow_up(_job: str, _at: datetime) -> None:
    pass


async def ours(runs: int) -> float:
    """CPU seconds of so many runs through runner and ledger, rows included, storing excluded."""
    with patch.object(slot_ledger, "runs", NoRows()):
        ledger = SlotLedger(cast("Any", None), lambda _: None, lambda: datetime.now(UTC))
        means = Means(
            ledger=ledger,
            policy=RetryPolicy(),
            notifier=Nobody(),
            clock=lambda: datetime.now(UTC),
            on_deferred=_no_follow_up,
            observer=JobStatus({"job": 60.0}),
        )
        runner = Runner({"job": JobSpec(name="job", run=_nothing, deadline_s=60)}, means)
        began_s = time.process_time()
        for number in range(runs):
            runner.due("job", [START + timedelta(seconds=number)])
            await runner.idle()
        await ledger.flush()
        return time.process_time() - began_s


async def apschedulers(runs: int) -> float:
    """CPU seconds of so many runs of one job through APScheduler's pass and asyncio executor."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.start(paused=True)
    scheduler.add_job(
        _nothing_bare,
        IntervalTrigger(seconds=1, start_date=START, timezone=UTC),
        id="job",
        next_run_time=START,
        misfire_grace_time=None,
        coalesce=True,
    )
    scheduler.state = 1  # passes by hand
    job = scheduler.get_job("job")
    began_s = time.process_time()
    for number in range(runs):
        job.modify(next_run_time=datetime.now(UTC) - timedelta(microseconds=1 + number % 2))
        scheduler._process_jobs()
        for _ in range(3):
            await asyncio.sleep(0)
    spent_s = time.process_time() - began_s
    scheduler.shutdown(wait=False)
    return spent_s


def best(call: Callable[[int], Coroutine[Any, Any, float]], runs: int) -> float:
    """Microseconds of CPU a run in the best round."""
    return min(asyncio.run(call(runs)) for _ in range(ROUNDS)) / runs * 1e6


def main(runs: int) -> None:
    """Print both."""
    logger.remove()
    logging.disable(logging.CRITICAL)
    mine, theirs = best(ours, runs), best(apschedulers, runs)
    print(
        f"our runner and ledger      {mine:7.1f} µs of CPU a run (goal: at most 200 beyond theirs)"
    )
    print(f"APScheduler, pass and all  {theirs:7.1f} µs of CPU a run")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
