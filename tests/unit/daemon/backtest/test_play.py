"""A model that is asked anew waits as long as it is told to, and no longer."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.backtest.play import Patient, Silent, Watch
from daemon.cli.replay import Bar, Lines
from jobs.core.errors import BadData, JobError, RateLimited, Unavailable
from jobs.core.job import Incident, Slot
from jobs.signals.protocol import Inputs, Verdict

NOW = datetime(2026, 1, 5, tzinfo=UTC)
INPUTS = Inputs(slot=Slot(job="signals", scheduled_at=NOW, run_id="replay"), now=NOW, markets=())
NOTHING: Any = None


@dataclass
class Failing:
    """Fails as told, then answers."""

    errors: list[JobError]
    asked: int = 0

    async def decide(self, inputs: Inputs) -> Verdict:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return Verdict(decisions=(), model="model")


@dataclass
class Slept:
    """Remembers how long it was told to wait."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def patient(source: Failing, sleep: Slept) -> Patient:
    return Patient(source=source, db=NOTHING, clock=lambda: NOW, sleep=sleep)


async def test_the_wait_is_the_one_that_was_asked_for() -> None:
    slept = Slept()
    source = Failing([RateLimited("slow down", retry_after_s=37.5), Unavailable("hm")])
    verdict = await patient(source, slept).decide(INPUTS)
    assert verdict.model == "model"
    assert slept.seconds == [37.5, 1.0]


async def test_the_third_failure_is_final() -> None:
    source = Failing([Unavailable(str(number)) for number in range(9)])
    with pytest.raises(Unavailable, match="2"):
        await patient(source, Slept()).decide(INPUTS)
    assert source.asked == 3


async def test_what_waiting_cannot_mend_is_raised_at_once() -> None:
    slept = Slept()
    with pytest.raises(BadData):
        await patient(Failing([BadData("no")]), slept).decide(INPUTS)
    assert slept.seconds == []


async def test_nobody_is_called_because_of_a_replay() -> None:
    silent = Silent()
    await silent.notify(
        Incident(kind="halted", severity="info", incident="x", title="t", message="m")
    )
    await silent.resolve("x")


def test_long_work_says_each_tenth_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.QUIET_S = -1.0
    with lines:
        lines.stage("replaying", 100)
        for done in range(1, 101):
            lines.step(done)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"replaying: {tenth}0 %" for tenth in range(1, 11)]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.stage("replaying", 0)
        lines.step(0)
        lines.step(1)
    assert capsys.readouterr().err == ""


def test_a_bar_follows_its_stages() -> None:
    with Bar() as bar:
        bar.stage("replaying", 10)
        bar.step(5)
        (task,) = bar._progress.tasks
        assert (task.description, task.completed, task.total) == ("replaying", 5, 10)
        bar.stage("shuffling", 0)
        (task,) = bar._progress.tasks
        assert (task.description, task.completed, task.total) == ("shuffling", 0, 1)


def test_nobody_has_to_watch() -> None:
    watch = Watch()
    watch.stage("replaying", 1)
    watch.step(1)
