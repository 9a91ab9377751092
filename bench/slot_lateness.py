"""How late runs begin at 100 slots a second, beside bare APScheduler in the same run.

A hundred jobs that do nothing, each due once a second: spread over the second, or all at the same
instant. Ours is the daemon's scheduler, runner, board, log and slot ledger on a real Postgres: two
transactions a slot. The reference is an AsyncIOScheduler that calls the same empty coroutine and
keeps nothing. Lateness is the beginning of the run after the scheduled instant; for ours also the
moment at which the slot is claimed and the job's own code begins. CPU is this process's alone.

    python -m bench.slot_lateness [--seconds 48]
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import func, select

from bench._scratch import fresh_database, scratch_server
from bench.memory import Nobody
from daemon.config.sections import LogConfig
from daemon.postgres.pool import PoolOptions, open_database
from daemon.scheduling.job_status import JobStatus
from daemon.scheduling.retry import RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.scheduling.scheduler import EPOCH, Listener, Schedule, Scheduler
from daemon.scheduling.slot_ledger import SlotLedger
from daemon.telemetry.logs import Logs, configure
from daemon.telemetry.metrics import JobMetric
from jobs.core.job import JobSpec, Slot
from jobs.store.db import Database
from jobs.store.tables import job_runs

JOBS = 100
PERIOD = timedelta(seconds=1)
WARM_UP_S = 1.0
SLICE_S = 4.0
TIMES_BARE = 1.5
OFFSETS: Final = {
    "spread": [PERIOD * number / JOBS for number in range(JOBS)],
    "burst": [timedelta()] * JOBS,
}


@dataclass(slots=True)
class Figures:
    """Of one system with one kind of schedule: milliseconds of lateness, and what it took."""

    begins_ms: list[float] = field(default_factory=list)
    works_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def row(self, what: str, late_ms: list[float], cpu: str) -> str:
        """One line of the table."""
        cells = "".join(f"{percentile(late_ms, share):9.2f}" for share in (0.5, 0.99, 1.0))
        return f"  {what:<30}{cells}{cpu:>12}"

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a slot."""
        return self.cpu_s / max(1, len(self.begins_ms)) * 1e6


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def late_ms(due: datetime) -> float:
    """Milliseconds since `due`."""
    return (datetime.now(UTC) - due) / timedelta(milliseconds=1)


@contextmanager
def counted(figures: Figures) -> Iterator[None]:
    """Add the CPU of what is inside."""
    gc.collect()
    began_s = time.process_time()
    yield
    figures.cpu_s += time.process_time() - began_s


async def bare(offsets: list[timedelta], figures: Figures) -> None:
    """One slice of APScheduler by itself."""
    is_warm = False

    async def job(offset: timedelta) -> None:
        if is_warm:
            now = datetime.now(UTC)
            figures.begins_ms.append((now - EPOCH - offset) % PERIOD / timedelta(milliseconds=1))

    scheduler = AsyncIOScheduler(timezone=UTC)
    for offset in offsets:
        trigger = IntervalTrigger(seconds=1, start_date=EPOCH + offset, timezone=UTC)
        scheduler.add_job(
            job, trigger, args=[offset], misfire_grace_time=None, coalesce=False, max_instances=1
        )
    scheduler.start()
    await until_between_slots(WARM_UP_S)
    is_warm = True
    with counted(figures):
        await until_between_slots(SLICE_S)
    is_warm = False
    scheduler.shutdown(wait=False)


async def until_between_slots(seconds: float) -> None:
    """Sleep about so long, and end a quarter of the way from one slot to the next."""
    until = time.time() + seconds
    await asyncio.sleep(seconds - until % (1 / JOBS) + 0.25 / JOBS)


class Ours:
    """The daemon's own parts, as daemon/app.py puts them together."""

    def __init__(self, database: Database, logs: Logs) -> None:
        self._logs = logs
        self._figures = Figures()
        self._is_warm = False
        self._names = [f"job{number:02}" for number in range(JOBS)]
        self.ledger = SlotLedger(database, self._emit, lambda: datetime.now(UTC))

    async def run(self, offsets: list[timedelta], figures: Figures) -> None:
        """One slice."""
        self._figures = figures
        runner, board = self._runner()

        def due(job: str, instants: Sequence[datetime]) -> None:
            board.due(job, instants)
            runner.due(job, instants)

        scheduler = Scheduler(Listener(due=due))
        schedules = {
            name: Schedule.every(PERIOD, offset)
            for name, offset in zip(self._names, offsets, strict=True)
        }
        after = datetime.now(UTC)
        board.scheduled(schedules, after)
        scheduler.start(schedules, after)
        await until_between_slots(WARM_UP_S)
        self._is_warm = True
        with counted(figures):
            await until_between_slots(SLICE_S)
        self._is_warm = False
        scheduler.stop()
        assert await runner.drain(grace_s=30)

    def _runner(self) -> tuple[Runner, JobStatus]:
        board = JobStatus(dict.fromkeys(self._names, 60.0))
        means = Means(
            ledger=self.ledger,
            policy=RetryPolicy(),
            notifier=Nobody(),
            clock=lambda: datetime.now(UTC),
            on_deferred=_no_follow_up,
            observer=board,
        )
        specs = {name: JobSpec(name=name, run=self._job, deadline_s=60) for name in self._names}
        return Runner(specs, means), board

    async def _job(self, slot: Slot) -> int:
        if self._is_warm:
            self._figures.works_ms.append(late_ms(slot.scheduled_at))
        return 0

    def _emit(self, metric: JobMetric) -> None:
        self._logs.metric(metric)
        if self._is_warm and metric.outcome == "ok":
            self._figures.begins_ms.append(metric.lateness_s * 1000)


async def _no_follow_up(_job: str, _at: datetime) -> None:
    """Deferred runs do not happen here."""


async def measure(url: str, logs: Logs, seconds: float) -> tuple[dict[str, Figures], int, int]:
    """Alternate; return the figures, how many rows there are, and how many are not `ok`."""
    figures = {f"{who} {kind}": Figures() for kind in OFFSETS for who in ("bare", "ours")}
    async with open_database(url, PoolOptions(kept_for_orders=2)) as database:
        ours = Ours(database, logs)
        writing = asyncio.create_task(ours.ledger.flush_forever())
        for _ in range(max(1, round(seconds / (2 * len(OFFSETS) * SLICE_S)))):
            for kind, offsets in OFFSETS.items():
                await bare(offsets, figures[f"bare {kind}"])
                await ours.run(offsets, figures[f"ours {kind}"])
        writing.cancel()
        await ours.ledger.flush()
        bad = func.count().filter(job_runs.c.outcome.is_distinct_from("ok"))
        async with database.begin() as tx:
            rows, not_ok = (await tx.execute(select(func.count(), bad))).one()
    return figures, rows, not_ok


def report(figures: dict[str, Figures]) -> int:
    """Print the table; return how many goals were missed."""
    missed = 0
    print(f"{JOBS} slots/s{'':24}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'CPU µs/slot':>12}")
    for kind in OFFSETS:
        theirs, mine = figures[f"bare {kind}"], figures[f"ours {kind}"]
        print(kind)
        print(theirs.row("bare APScheduler", theirs.begins_ms, f"{theirs.cpu_us:,.0f}"))
        print(mine.row("ours, the run begins", mine.begins_ms, f"{mine.cpu_us:,.0f}"))
        print(mine.row("ours, claimed, the job works", mine.works_ms, ""))
        times = percentile(mine.begins_ms, 0.99) / percentile(theirs.begins_ms, 0.99)
        missed += times > TIMES_BARE
        print(
            f"  p99 of the beginning: x {times:.2f} of bare APScheduler's; goal at most"
            f" {TIMES_BARE}: {'met' if times <= TIMES_BARE else 'MISSED'}"
            f"; CPU x {mine.cpu_us / theirs.cpu_us:.1f}"
        )
    return missed


def main() -> int:
    """Start a server, measure, stop it; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.slot_lateness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=48.0, help="in all, warm-ups apart (48)")
    seconds = parser.parse_args().seconds
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        logs = configure(LogConfig(format="json"), [], stream=nowhere)
        with closing(logs), scratch_server() as server, fresh_database(server) as url:
            figures, rows, not_ok = asyncio.run(measure(url, logs, seconds))
    missed = report(figures)
    print(f"{rows:,} rows in the slot ledger, {not_ok} of them not ok")
    return int(bool(missed or not_ok))


if __name__ == "__main__":
    sys.exit(main())
