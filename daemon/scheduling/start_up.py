"""One extra slot right after a start, so that the daemon works as soon as it is ready.

Without it a fresh start waits for the next instant of each schedule: 27 to 53 s for the first
candles, more than five minutes for the first decision. A job that ran since its newest scheduled
instant (a restart) has none, and a job whose times a crontab line names runs at those times only.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from daemon.scheduling.runner import Runner
from daemon.scheduling.scheduler import Schedule
from jobs.store import runs
from jobs.store.db import Database

JOBS = ("market", "orders", "signals")
"""Who has such a slot. What signals decide from, market has to fetch first."""


async def wanted(db: Database, schedules: Mapping[str, Schedule], now: datetime) -> frozenset[str]:
    """The jobs that have not run since their newest scheduled instant."""
    since: dict[str, datetime] = {}
    for job in JOBS:
        if job in schedules and (instant := schedules[job].newest_until(now)) is not None:
            since[job] = instant
    return frozenset(since) - await runs.started_since(db, since)


async def run(jobs: frozenset[str], runner: Runner, instant_now: Callable[[], datetime]) -> None:
    """Give each of `jobs` its slot; signals wait for the market run that goes on."""
    for job in JOBS:
        if job in jobs:
            if job == "signals":
                await runner.until_ended("market")
            runner.start_up(job, instant_now())
