"""Every instant of every schedule is handed over once, late ones too, whatever a pass meets."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.scheduler import Schedule, Scheduler

AT = datetime(2026, 1, 5, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")
S = timedelta(seconds=1)


def seconds(instants: Sequence[datetime]) -> list[float]:
    return [(each - AT).total_seconds() for each in instants]


def test_intervals_are_anchored_at_the_epoch_plus_offset() -> None:
    schedule = Schedule.every(300 * S, 5 * S)
    odd = AT + timedelta(seconds=123.4)
    assert seconds(list(schedule.between(odd, AT + 905 * S))) == [305, 605, 905]
    assert schedule.next_after(AT + 305 * S) == AT + 605 * S


def test_cron_counts_in_its_zone_with_day_names_and_offset() -> None:
    schedule = Schedule.cron("0 9 * * mon-fri", SEOUL, 3 * S)  # 09:00 KST is 00:00 UTC
    week = list(schedule.between(AT - S, AT + timedelta(days=7)))
    assert [each.strftime("%a %H:%M:%S") for each in week] == [
        "Mon 00:00:03",
        "Tue 00:00:03",
        "Wed 00:00:03",
        "Thu 00:00:03",
        "Fri 00:00:03",
    ]


def test_a_line_that_crontab_would_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 5"):
        Schedule.cron("61 * *", SEOUL)


class Handed:
    def __init__(self) -> None:
        self.slots: list[tuple[str, list[float]]] = []
        self.passes = 0

    def due(self, job: str, instants: Sequence[datetime]) -> None:
        self.slots.append((job, seconds(instants)))

    def passed(self) -> None:
        self.passes += 1


def test_slots_are_handed_over_in_time_and_none_after_stop(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = Scheduler(handed.passed)
        schedules = {"a": Schedule.every(10 * S), "b": Schedule.every(25 * S, 2 * S)}
        scheduler.start(schedules, AT, handed.due)
        scheduler.once("b", AT + timedelta(seconds=13.5))
        await asyncio.sleep(31)
        scheduler.stop()
        scheduler.stop()
        await asyncio.sleep(60)

    run_virtual(main())
    # 2026-01-05T00:00:00Z is a multiple of 25 s since the epoch plus 0 s
    assert [slot for slot in handed.slots if slot[0] == "a"] == [
        ("a", [10]),
        ("a", [20]),
        ("a", [30]),
    ]
    assert [slot[1] for slot in handed.slots if slot[0] == "b"] == [[2], [13.5], [27]]
    assert handed.passes >= 31


def test_after_a_blocked_loop_all_missed_instants_come_in_one_call(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = Scheduler()
        scheduler.start({"a": Schedule.every(10 * S)}, AT, handed.due)
        await asyncio.sleep(11)
        asyncio.get_running_loop().pass_time(35)  # type: ignore[attr-defined]  # a stuck loop
        await asyncio.sleep(1)
        scheduler.stop()

    run_virtual(main())
    assert handed.slots == [("a", [10]), ("a", [20, 30, 40])]


def test_a_pass_that_raises_is_survived(run_virtual: Any, monkeypatch: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = Scheduler(handed.passed)
        scheduler.start({"a": Schedule.every(10 * S)}, AT, handed.due)
        await asyncio.sleep(5)
        before = handed.passes
        with monkeypatch.context() as patch:
            patch.setattr("apscheduler.jobstores.memory.MemoryJobStore.get_next_run_time", _broken)
            await asyncio.sleep(30)
            assert handed.passes == before  # no proof of life while passes fail
        await asyncio.sleep(10)
        scheduler.stop()

    def _broken(_: object) -> datetime:
        raise RuntimeError("store is broken")

    run_virtual(main())
    assert sum((slot[1] for slot in handed.slots), []) == [10, 20, 30, 40]  # noqa: RUF017
    assert handed.passes > 5
