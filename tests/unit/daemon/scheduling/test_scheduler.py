"""Every instant of every schedule is handed over once, late ones too, whatever a pass meets."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger

from daemon.scheduling.scheduler import Listener, Schedule, Scheduler
from daemon.scheduling.slot_clock import SlotClock

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
    """Remembers what was handed over, by name and in seconds since AT."""

    def __init__(self) -> None:
        self.slots: list[tuple[str, list[float]]] = []
        self.lapsed: list[tuple[str, list[float]]] = []
        self.trouble: list[tuple[str, str | None]] = []
        self.rewound: list[datetime] = []
        self.passes = 0
        self.is_ready = True

    def due(self, job: str, instants: Sequence[datetime]) -> None:
        self.slots.append((job, seconds(instants)))

    def passed(self) -> None:
        self.passes += 1

    def of(self, job: str) -> list[float]:
        return [each for name, instants in self.slots if name == job for each in instants]

    def scheduler(self) -> Scheduler:
        elapsed = asyncio.get_running_loop().time
        return Scheduler(
            Listener(
                due=self.due,
                lapsed=lambda job, *ends: self.lapsed.append((job, seconds(ends))),
                passed=self.passed,
                trouble=lambda job, error: self.trouble.append((job, error)),
                rewound=self.rewound.append,
                ready=lambda: self.is_ready,
            ),
            SlotClock(lambda: datetime.now(UTC), elapsed, elapsed),
        )


def jump(seconds: float) -> None:
    """Set the wall clock, and no other."""
    loop: Any = asyncio.get_running_loop()
    loop.wall.shift(seconds)


def test_slots_are_handed_over_in_time_and_none_after_stop(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        schedules = {"a": Schedule.every(10 * S), "b": Schedule.every(25 * S, 2 * S)}
        scheduler.start(schedules, AT)
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
    assert [slot[1] for slot in handed.slots if slot[0] == "b"] == [[2], [13.5005], [27]]
    assert handed.passes >= 31


def test_schedules_that_are_due_together_are_handed_over_together(run_virtual: Any) -> None:
    handed = Handed()
    periods = {"slow": 3600 * S, "first": 20 * S, "second": 20 * S, "quick": S}

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({name: Schedule.every(each) for name, each in periods.items()}, AT - S)
        await asyncio.sleep(20.5)
        scheduler.stop()

    run_virtual(main())
    assert handed.lapsed == []
    assert [each for name, each in handed.slots if name == "quick"] == [[n] for n in range(21)]
    assert handed.of("slow") == [0]
    assert handed.of("first") == handed.of("second") == [0, 20]


def test_after_a_blocked_loop_all_missed_instants_come_in_one_call(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(10 * S)}, AT)
        await asyncio.sleep(11)
        asyncio.get_running_loop().pass_time(35)  # type: ignore[attr-defined]  # a stuck loop
        await asyncio.sleep(1)
        scheduler.stop()

    run_virtual(main())
    assert handed.slots == [("a", [10]), ("a", [20, 30, 40])]


def test_a_pass_that_raises_is_survived_and_told_once(run_virtual: Any, monkeypatch: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(10 * S)}, AT)
        await asyncio.sleep(5)
        before = handed.passes
        with monkeypatch.context() as patch:
            patch.setattr("apscheduler.jobstores.memory.MemoryJobStore.get_all_jobs", _broken)
            await asyncio.sleep(30)
            assert handed.passes == before  # no proof of life while passes fail
        await asyncio.sleep(10)
        scheduler.stop()

    def _broken(_: object) -> datetime:
        raise RuntimeError("store is broken")

    run_virtual(main())
    assert handed.of("a") == [10, 20, 30, 40]
    assert handed.passes > 5
    assert handed.trouble == [("pass", "RuntimeError: store is broken"), ("pass", None)]


class Flaky(BaseTrigger):  # type: ignore[misc]  # apscheduler has no types
    """Every ten seconds, except that asking raises while `is_broken`."""

    def __init__(self) -> None:
        self.inner = Schedule.every(10 * S).trigger
        self.is_broken = False

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        if self.is_broken:
            raise ZeroDivisionError("odd calendar")
        due: datetime = self.inner.get_next_fire_time(previous, now)
        return due


@pytest.mark.parametrize("is_broken_at_start", [True, False])
def test_a_raising_trigger_starves_no_other_and_loses_no_slot(
    run_virtual: Any, *, is_broken_at_start: bool
) -> None:
    handed, flaky = Handed(), Flaky()

    async def main() -> None:
        flaky.is_broken = is_broken_at_start
        scheduler = handed.scheduler()
        scheduler.start({"odd": Schedule(flaky), "a": Schedule.every(10 * S)}, AT)
        await asyncio.sleep(5)
        flaky.is_broken = True
        await asyncio.sleep(30)
        assert handed.of("a") == [10, 20, 30]
        assert handed.of("odd") == []
        flaky.is_broken = False
        await asyncio.sleep(10)
        scheduler.stop()

    run_virtual(main())
    assert handed.of("odd") == [10, 20, 30, 40]
    assert handed.trouble == [("odd", "ZeroDivisionError: odd calendar"), ("odd", None)]


def test_a_clock_set_forward_makes_everything_between_due_at_once(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(600 * S)}, AT)
        await asyncio.sleep(5)
        jump(3600)
        await asyncio.sleep(2)
        scheduler.stop()

    run_virtual(main())
    assert handed.slots == [("a", [600, 1200, 1800, 2400, 3000, 3600])]


def test_a_clock_set_back_repeats_instants_under_keys_of_their_own(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(600 * S)}, AT)
        await asyncio.sleep(1300)
        jump(-1000)  # 21:40 past becomes 5:00 past
        await asyncio.sleep(1600)
        jump(-1500)  # 31:40 past becomes 6:40 past
        await asyncio.sleep(2100)
        scheduler.stop()

    run_virtual(main())
    first = [600, 1200]
    again = [600.000001, 1200.000001, 1800]
    assert handed.of("a") == [*first, *again, 600.000002, 1200.000002, 1800.000002, 2400]
    assert len(handed.rewound) == 2


def test_what_was_due_before_the_clock_was_set_back_is_not_lost(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(10 * S)}, AT)
        await asyncio.sleep(5)
        handed.is_ready = False
        await asyncio.sleep(20)
        handed.is_ready = True
        await asyncio.sleep(0.15)
        jump(-3600)
        await asyncio.sleep(20)
        scheduler.stop()

    run_virtual(main())
    assert handed.of("a")[:2] == [10, 20]
    assert handed.of("a")[2:] == [-3570 + 0.000001, -3560 + 0.000001]


def test_a_small_step_back_only_waits(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(10 * S)}, AT)
        await asyncio.sleep(10.5)
        jump(-1)
        await asyncio.sleep(11)
        scheduler.stop()

    run_virtual(main())
    assert handed.of("a") == [10, 20]
    assert handed.rewound == []


def test_follow_ups_keep_their_wait_whatever_the_wall_says(run_virtual: Any) -> None:
    handed = Handed()
    at: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(timedelta(days=1), 43200 * S)}, AT)
        promised = scheduler.once("a", AT + timedelta(seconds=900, microseconds=1))
        assert seconds([promised]) == [900.0015]
        jump(3600)
        while not handed.slots:
            at.append(loop.time())
            await asyncio.sleep(1)
        scheduler.stop()

    run_virtual(main())
    assert handed.slots == [("a", [900.0015])]
    assert at[-1] >= 899


CRON = Schedule.cron("* * * * *", SEOUL)


@pytest.mark.parametrize(
    ("schedule", "period_s"),
    [(Schedule.every(S), 1), (CRON, 60), (Schedule.every(7 * S, 3 * S), 7)],
)
def test_so_many_missed_ones_are_one_span_and_the_newest_is_due(
    run_virtual: Any, schedule: Schedule, period_s: int
) -> None:
    """A clock that jumps by sixty days: 5,184,000 instants, none of them made."""
    handed = Handed()
    days_s = 60 * 86400

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": schedule}, AT)
        await asyncio.sleep(0.5)
        jump(days_s)
        await asyncio.sleep(1)
        scheduler.stop()

    run_virtual(main())
    (lapsed,) = handed.lapsed
    newest = handed.of("a")[0]
    assert days_s - period_s < newest <= days_s + 1
    first = schedule.next_after(AT)
    assert first is not None
    assert lapsed == ("a", [seconds([first])[0] - 1e-6, newest - 1e-6])
    assert len(handed.of("a")) <= 3, "and from then on in time"


def test_a_thousand_at_once_are_handed_over_one_by_one(run_virtual: Any) -> None:
    handed = Handed()

    async def main() -> None:
        scheduler = handed.scheduler()
        scheduler.start({"a": Schedule.every(S)}, AT)
        await asyncio.sleep(0.5)
        jump(999)
        await asyncio.sleep(1)
        scheduler.stop()

    run_virtual(main())
    assert handed.lapsed == []
    assert handed.of("a") == list(range(1, 1001))


@pytest.mark.parametrize(
    ("day", "line", "expected"),
    [
        # 02:30 does not exist: it is due at 03:30, and once only
        ("2026-03-08", "30 2 * * *", ["03:30"]),
        ("2026-03-08", "*/20 2-3 * * *", ["03:00", "03:20", "03:40"]),
        ("2026-03-08", "30 * * * *", ["00:30", "01:30", "03:30", "04:30"]),
        # 01:30 comes twice: each instant is a slot of its own
        ("2026-11-01", "30 * * * *", ["00:30", "01:30", "01:30", "02:30", "03:30", "04:30"]),
        ("2026-11-01", "30 1 * * *", ["01:30", "01:30"]),
    ],
)
def test_daylight_changes_neither_lose_nor_double_an_instant(
    day: str, line: str, expected: list[str]
) -> None:
    zone = ZoneInfo("America/New_York")
    start = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(UTC)
    end = start.astimezone(zone).replace(hour=5).astimezone(UTC)
    found = list(Schedule.cron(line, zone).between(start, end))
    assert [each.astimezone(zone).strftime("%H:%M") for each in found] == expected
    assert found == sorted(set(found))
