"""The jobs as the composition root makes them: what becomes of late slots and of busy jobs."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.config.load import ConfigError, from_mapping
from daemon.config.sections import Config
from daemon.scheduling.retry import RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.telemetry.metrics import JobMetric
from daemon.wiring import jobs as wiring
from jobs import ALL
from jobs.core.job import Slot


class Told:
    """Stands for everybody that a run speaks to; remembers what became of each slot."""

    def __init__(self) -> None:
        self.slots: list[tuple[str, datetime, str]] = []

    async def claim(self, _slot: Slot) -> bool:
        return True

    def close(self, metric: JobMetric) -> None:
        self.slots.append((metric.job, metric.scheduled_at, metric.outcome))

    def skip(self, job: str, instants: Sequence[datetime], reason: str) -> None:
        self.slots += [(job, each, reason) for each in instants]

    def began(self, job: str, at: datetime) -> None: ...

    def ended(self, metric: JobMetric) -> None: ...

    async def notify(self, incident: object) -> None: ...

    async def resolve(self, incident: str) -> None: ...

    def outcomes(self, job: str) -> list[str]:
        return [outcome for name, _, outcome in self.slots if name == job]


def now() -> datetime:
    return datetime.now(UTC)


def config(**jobs: Mapping[str, object]) -> Config:
    return from_mapping({"jobs": jobs, "signals": {"source": "rules"}}, {})


def runner_of(made: Config, told: Told) -> Runner:
    async def slow(_: Slot) -> int:
        await asyncio.sleep(20)
        return 0

    async def deferred(_job: str, _at: datetime) -> None: ...

    means = Means(
        ledger=told,
        policy=RetryPolicy(),
        notifier=told,
        clock=now,
        on_deferred=deferred,
        observer=told,
    )
    return Runner(wiring.specs(made, dict.fromkeys(ALL, slow)), means)


@pytest.mark.parametrize("late_s", [5, 29, 31, 290])
@pytest.mark.parametrize("job", ALL)
def test_late_slots_run_but_those_of_signals_only_within_30_s(
    run_virtual: Any, job: str, late_s: int
) -> None:
    async def main() -> None:
        runner = runner_of(config(), told)
        runner.due(job, [now() - timedelta(seconds=late_s)])
        await runner.drain(60)

    told = Told()
    run_virtual(main())
    runs = job != "signals" or late_s <= 30
    assert told.outcomes(job) == ["ok" if runs else "missed"]


@pytest.mark.parametrize("job", ALL)
@pytest.mark.parametrize(("misfire", "outcome"), [("newest", "ok"), ("skip", "missed")])
def test_what_becomes_of_a_late_slot_is_a_setting_of_each_job(
    run_virtual: Any, job: str, misfire: str, outcome: str
) -> None:
    async def main() -> None:
        runner = runner_of(config(**{job: {"misfire": misfire}}), told)
        runner.due(job, [now() - timedelta(minutes=2), now() - timedelta(minutes=1)])
        await runner.drain(60)

    told = Told()
    run_virtual(main())
    assert told.outcomes(job) == ["missed", outcome], "only the newest is ever run"


@pytest.mark.parametrize("job", ALL)
@pytest.mark.parametrize(
    ("overlap", "outcomes"),
    [(None, ["still running", "ok"]), ("skip", ["still running", "ok"]), ("queue", ["ok", "ok"])],
)
def test_what_becomes_of_a_slot_of_a_busy_job_is_a_setting_of_each_job(
    run_virtual: Any, job: str, overlap: str | None, outcomes: list[str]
) -> None:
    async def main() -> None:
        runner = runner_of(config(**{job: {} if overlap is None else {"overlap": overlap}}), told)
        runner.due(job, [now()])
        await asyncio.sleep(10)
        runner.due(job, [now()])
        await runner.idle()

    told = Told()
    run_virtual(main())
    assert told.outcomes(job) == outcomes


@pytest.mark.parametrize("key", ["misfire", "overlap"])
def test_an_unknown_policy_is_refused_by_its_key(key: str) -> None:
    with pytest.raises(ConfigError, match=f"jobs.market.{key} = 'all': allowed: "):
        config(market={key: "all"})


def test_orders_have_their_lane_and_sit_nothing_out() -> None:
    made = wiring.specs(config(), dict.fromkeys(ALL, _nothing))
    assert {name: (each.lane, each.max_wait_s) for name, each in made.items()} == {
        "market": ("work", None),
        "signals": ("work", None),
        "orders": ("orders", 0.0),
        "upkeep": ("work", None),
    }


async def _nothing(_: Slot) -> int:
    return 0
