"""What comes before the first slot: a comparison that cannot be had waits, a bug in it does not."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.leadership import term
from daemon.process.state import ProcessStatus
from jobs.core.errors import BadData, Banned, Unavailable
from jobs.core.job import Incident

NOTHING: Any = None


class Told:
    def __init__(self) -> None:
        self.incidents: list[Incident] = []

    async def notify(self, incident: Incident) -> None:
        self.incidents.append(incident)

    async def resolve(self, incident: str) -> None:
        pass


class Part:
    """What comparing needs of a duty and of a shift."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.status = ProcessStatus(mode="paper", version="0")
        self.notifier = Told()
        self._outcomes: Iterator[Exception | None] = iter(outcomes)
        self.asked_at: list[float] = []
        self.clock: Any = NOTHING

    async def reconcile(self) -> None:
        self.asked_at.append(self.clock())
        if (error := next(self._outcomes)) is not None:
            raise error


def compared(part: Any, run_virtual: Any) -> bool:
    async def main() -> bool:
        part.clock = asyncio.get_running_loop().time
        return await term._reconciled(part, part)

    return bool(run_virtual(main()))


@pytest.mark.parametrize("error", [RecursionError("deep"), ArithmeticError(), KeyError("x")])
def test_a_bug_in_comparing_leaves_no_position_without_stop_losses(
    run_virtual: Any, error: Exception
) -> None:
    part = Part(Unavailable("away"), error)
    assert compared(part, run_virtual)
    (told,) = part.notifier.incidents
    assert (told.incident, told.severity) == ("task:reconcile", "critical")


def test_an_answer_that_cannot_be_read_holds_no_stop_loss_back(run_virtual: Any) -> None:
    assert compared(Part(BadData("order has no usable side")), run_virtual)


def test_a_long_wait_is_looked_at_again_because_it_may_be_lifted(run_virtual: Any) -> None:
    banned = Banned("upbit:default is closed", retry_after_s=3600.0, wait_source="ban")
    part = Part(banned, banned, None)
    assert compared(part, run_virtual)
    first, second, third = part.asked_at
    assert (second - first, third - second) == (5.0, 5.0)
