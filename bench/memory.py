"""Growth of memory, descriptors, threads and tasks over a million job runs.

The real runner and ledger, with retries now and then; rows go to a ledger that keeps none.
Usage: python -m bench.memory [runs]
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from loguru import logger

from daemon.scheduling import slot_ledger
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.retry import RetryBudget, RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.scheduling.slot_ledger import SlotLedger
from daemon.telemetry.metrics import Metrics
from jobs.core.errors import Unavailable
from jobs.core.job import Incident, JobSpec, Slot, count_api_call

START = datetime(2026, 1, 5, tzinfo=UTC)
JOBS = ("market", "signals", "orders", "upkeep")
WARM_UP = 50_000


class NoRows:
    """Takes what `jobs.store.runs` takes, and keeps nothing."""

    written = 0

    async def claim(self, _db: object, _slot: Slot, _started_at: datetime) -> bool:
        """Every slot is ours."""
        return True

    async def record(self, _db: object, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count the rows."""
        self.written += len(rows)


class Nobody:
    """Hears of incidents and forgets them."""

    async def notify(self, incident: Incident) -> None:
        """Forget it."""

    async def resolve(self, incident: str) -> None:
        """Forget it."""


async def _job(slot: Slot) -> int:
    count_api_call()
    if slot.scheduled_at.microsecond == 0 and slot.scheduled_at.second % 20 == 0:
        raise Unavailable("no answer")
    return 1


async def _no_follow_up(_job: str, _at: datetime) -> None:
    """Deferred runs do not happen here."""


def figures() -> dict[str, float]:
    """What the process uses now."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return {
        "RSS MiB": int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }


async def measure(runs: int) -> tuple[dict[str, float], dict[str, float], int]:
    """Return the figures after the warm-up and at the end, and how many rows were written."""
    store, metrics = NoRows(), Metrics(version="bench", mode="paper")
    with patch.object(slot_ledger, "runs", store):
        board = JobStatus(dict.fromkeys(JOBS, 60.0), metrics.job)
        ledger = SlotLedger(cast("Any", None), lambda _: None, lambda: datetime.now(UTC))
        means = Means(
            ledger=ledger,
            policy=RetryPolicy(delays_s=(0.0,)),
            notifier=Nobody(),
            clock=lambda: datetime.now(UTC),
            on_deferred=_no_follow_up,
            observer=board,
            budget=RetryBudget(),
        )
        specs = {job: JobSpec(name=job, run=_job, deadline_s=60) for job in JOBS}
        runner = Runner(specs, means)
        await _runs(runner, ledger, 0, WARM_UP)
        before = figures()
        await _runs(runner, ledger, WARM_UP, WARM_UP + runs)
        return before, figures(), store.written


async def _runs(runner: Runner, ledger: SlotLedger, first: int, last: int) -> None:
    for number in range(first, last, len(JOBS)):
        at = START + timedelta(seconds=number)
        for job in JOBS:
            runner.due(job, [at])
        await runner.idle()
        if number % 1000 == 0:
            await ledger.flush()
    await ledger.flush()


def main(runs: int) -> int:
    """Print the growth; exit code 0 when memory grew by at most 1 MiB and nothing else did."""
    logger.remove()
    before, after, written = asyncio.run(measure(runs))
    print(f"{runs:,} runs after a warm-up of {WARM_UP:,}; {written:,} rows")
    for name, value in after.items():
        print(f"  {name:12} {before[name]:8.2f} → {value:8.2f}  ({value - before[name]:+.2f})")
    others = any(after[name] > before[name] for name in ("descriptors", "threads", "tasks"))
    return int(others or after["RSS MiB"] - before["RSS MiB"] > 1.0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000))
