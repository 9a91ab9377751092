"""Which jobs begin at once, and in which order."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.scheduling import start_up
from daemon.scheduling.scheduler import Schedule
from daemon.scheduling.slot_ledger import new_slot
from jobs.store import runs
from jobs.store.db import Database

NOW = datetime(2026, 11, 20, 12, 3, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCHEDULES = {
    "market": Schedule.every(MINUTE, timedelta(seconds=2)),
    "signals": Schedule.every(5 * MINUTE, timedelta(seconds=5)),
    "orders": Schedule.cron("* 9-15 * * *", ZoneInfo("Asia/Seoul")),
    "upkeep": Schedule.every(60 * MINUTE),
}


@pytest.mark.parametrize(
    ("schedule", "newest"),
    [
        ("market", datetime(2026, 11, 20, 12, 3, 2, tzinfo=UTC)),
        ("signals", datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)),
        ("orders", None),
    ],
)
def test_the_newest_instant_of_a_period(schedule: str, newest: datetime | None) -> None:
    found = SCHEDULES[schedule].newest_until(NOW)
    assert found == newest
    if newest is not None:
        assert SCHEDULES[schedule].newest_until(newest) == newest
        assert SCHEDULES[schedule].next_after(newest - timedelta(seconds=1)) == newest


async def test_who_ran_since_its_newest_instant_does_not_begin_again(database: Database) -> None:
    assert await start_up.wanted(database, SCHEDULES, NOW) == {"market", "signals"}
    for job, at in (("market", NOW - MINUTE), ("signals", NOW - MINUTE)):
        await runs.claim(database, new_slot(job, at), at)
    assert await start_up.wanted(database, SCHEDULES, NOW) == {"market"}
    later = NOW + 2 * MINUTE
    assert await start_up.wanted(database, SCHEDULES, later) == {"market", "signals"}


def test_signals_begin_when_the_market_run_is_over(run_virtual: Any) -> None:
    class Two:
        """Stands for the runner; its market run takes three seconds."""

        async def until_ended(self, job: str) -> None:
            told.append(f"waits for {job}")
            await asyncio.sleep(3)

        def start_up(self, job: str, instant: datetime) -> bool:
            told.append(job)
            return True

    told: list[str] = []
    everybody: Any = Two()
    run_virtual(start_up.run(frozenset(start_up.JOBS), everybody, lambda: NOW))
    assert told == ["market", "orders", "waits for market", "signals"]
    told.clear()
    run_virtual(start_up.run(frozenset({"orders"}), everybody, lambda: NOW))
    assert told == ["orders"]
