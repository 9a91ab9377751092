"""Trouble is told once when it lasts, and its end is told; a broken rule blinds nobody."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from daemon.alerting.monitor import AlertMonitor, AlertRule
from jobs.core.job import Incident

if TYPE_CHECKING:
    from loguru import Record


class Told:
    """A notifier that keeps what it was told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    async def notify(self, incident: Incident) -> None:
        self.all.append((incident.incident, incident.message))

    async def resolve(self, incident: str) -> None:
        self.all.append((incident, "resolved"))


class World:
    """A clock and a fact that the test moves."""

    now_s = 0.0
    wrong: str | None = None

    def rule(self, *, hold_s: float = 0, clear_s: float = 0) -> AlertRule:
        return AlertRule(
            kind="disk_low",
            severity="warning",
            title="The disk is nearly full",
            look=lambda: self.wrong,
            hold_s=hold_s,
            clear_s=clear_s,
        )


async def looks(world: World, monitor: AlertMonitor, steps: list[tuple[float, str | None]]) -> None:
    for world.now_s, world.wrong in steps:
        await monitor.look()


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([(0, None)], ["resolved"]),  # an earlier process may have told of it
        ([(0, None), (1, None)], ["resolved"]),
        ([(0, "full"), (1, "fuller"), (9, "fuller")], ["full"]),
        ([(0, "full"), (1, None), (2, None)], ["full", "resolved"]),
        ([(0, "full"), (1, None), (2, "again")], ["full", "resolved", "again"]),
    ],
)
async def test_trouble_and_its_end_are_told_once(
    steps: list[tuple[float, str | None]], told: list[str]
) -> None:
    world, heard = World(), Told()
    await looks(world, AlertMonitor([world.rule()], heard, monotonic=lambda: world.now_s), steps)
    assert [message for _, message in heard.all] == told


async def test_what_does_not_last_is_no_incident_and_no_recovery() -> None:
    world, heard = World(), Told()
    monitor = AlertMonitor([world.rule(hold_s=5, clear_s=5)], heard, monotonic=lambda: world.now_s)
    await looks(world, monitor, [(0, "x"), (4, "x"), (5, None), (6, "x"), (10, "x")])
    assert heard.all == []
    await looks(world, monitor, [(11, "lasting"), (12, None), (16, None), (16.5, "x")])
    assert heard.all == [("disk_low", "lasting")]
    await looks(world, monitor, [(20, None), (25, None)])
    assert heard.all[1:] == [("disk_low", "resolved")]


async def test_a_rule_that_raises_blinds_no_other(log_records: "list[Record]") -> None:
    def broken() -> str | None:
        raise OSError("no such file")

    world, heard = World(), Told()
    world.wrong = "full"
    rules = [AlertRule(kind="memory_high", severity="warning", title="", look=broken), world.rule()]
    await AlertMonitor(rules, heard, monotonic=lambda: 0.0).look()
    assert heard.all == [("disk_low", "full")]
    assert [each["extra"]["kind"] for each in log_records] == ["memory_high"]


async def test_it_looks_until_it_is_cancelled() -> None:
    world, heard, looked = World(), Told(), asyncio.Semaphore(0)

    async def sleep(_: float) -> None:
        looked.release()
        await asyncio.sleep(0)

    monitor = AlertMonitor([world.rule()], heard, monotonic=lambda: world.now_s)
    task = asyncio.create_task(monitor.keep(sleep=sleep))
    for _ in range(3):
        await looked.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard.all == [("disk_low", "resolved")]
