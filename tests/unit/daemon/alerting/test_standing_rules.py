"""What lasts too long is told: bad components, an old signal, a paused job."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.alerting.monitor import AlertMonitor
from daemon.alerting.standing_rules import Standing, standing_rules
from daemon.config.sections import AlertsConfig
from health.report import COMPONENTS, Component, Report, Status
from jobs.core.job import Incident

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
WELL = Component(status=Status.HEALTHY, cause=None, checked_at=NOW, latency_ms=1.0, detail={})


class Scene:
    """A daemon in which all is well, and who hears when it is not."""

    def __init__(self, **limits: Any) -> None:
        self.now = NOW
        self.components = dict.fromkeys(COMPONENTS, WELL)
        self.paused: dict[str, datetime] = {}
        self.open: dict[str, Incident] = {}
        standing = Standing(
            snapshot=lambda: Report(checked_at=self.now, components=self.components),
            paused=lambda: self.paused,
            jobs=("market", "signals"),
            clock=lambda: self.now,
            started_at=NOW,
            signal_max_age=lambda _: timedelta(hours=1),
        )
        config = AlertsConfig.model_validate(limits)
        self.monitor = AlertMonitor(
            list(standing_rules(standing, config)),
            self,
            monotonic=self.now_s,
        )

    def now_s(self) -> float:
        return (self.now - NOW).total_seconds()

    async def notify(self, incident: Incident) -> None:
        self.open[incident.incident] = incident

    async def resolve(self, incident: str) -> None:
        self.open.pop(incident, None)

    async def after(self, **parts: float) -> dict[str, Incident]:
        """Look now, and again after that long."""
        await self.monitor.look()
        self.now += timedelta(**parts)
        await self.monitor.look()
        return self.open

    def bad(self, name: str, status: Status, **detail: object) -> None:
        cause = "it is not well" if status is not Status.HEALTHY else None
        self.components = self.components | {
            name: replace(WELL, status=status, cause=cause, detail=detail)
        }


async def test_nothing_is_told_while_all_is_well() -> None:
    assert await Scene().after(days=3) == {}


@pytest.mark.parametrize("name", [each for each in COMPONENTS if each != "database"])
async def test_an_unhealthy_component_is_told_after_its_limit_and_its_end(name: str) -> None:
    scene = Scene()
    scene.bad(name, Status.UNHEALTHY)
    assert await scene.after(seconds=119) == {}
    told = (await scene.after(seconds=2))[f"component_unhealthy:{name}"]
    assert (told.kind, told.severity) == ("component_unhealthy", "critical")
    assert "it is not well" in told.message
    scene.bad(name, Status.HEALTHY)
    assert await scene.after(seconds=61) == {}


@pytest.mark.parametrize("name", [each for each in COMPONENTS if each != "latest_signal"])
async def test_a_degraded_component_is_told_later_and_less_loudly(name: str) -> None:
    scene = Scene(max_degraded="10m")
    scene.bad(name, Status.DEGRADED)
    assert await scene.after(minutes=9) == {}
    (told,) = (await scene.after(minutes=1.1)).values()
    assert (told.incident, told.severity) == (f"component_unhealthy:{name}:degraded", "warning")


async def test_a_component_that_was_well_in_between_starts_anew() -> None:
    scene = Scene()
    scene.bad("upbit", Status.UNHEALTHY)
    await scene.after(seconds=100)
    scene.bad("upbit", Status.HEALTHY)
    await scene.after(seconds=1)
    scene.bad("upbit", Status.UNHEALTHY)
    assert await scene.after(seconds=100) == {}


async def test_a_limit_of_nothing_switches_it_off() -> None:
    scene = Scene(max_unhealthy="0s", max_degraded="0s", max_paused="0s")
    scene.bad("upbit", Status.UNHEALTHY)
    scene.bad("gemini", Status.DEGRADED)
    scene.paused = {"market": NOW}
    assert await scene.after(days=3) == {}


async def test_an_old_signal_is_told_and_a_new_one_ends_it() -> None:
    scene = Scene()
    scene.bad("latest_signal", Status.DEGRADED, age_s=3700, at=NOW)
    told = (await scene.after(seconds=6))["signal_stale"]
    assert told.message == "last signal 1:01:40 ago, limit 1:00:00"
    scene.bad("latest_signal", Status.HEALTHY, age_s=3, at=NOW)
    assert await scene.after(seconds=6) == {}


async def test_no_signal_at_all_is_told_when_there_was_time_for_one() -> None:
    scene = Scene()
    scene.bad("latest_signal", Status.DEGRADED, age_s=None, at=None)
    assert await scene.after(minutes=59) == {}
    await scene.after(minutes=2)
    assert "no signal in the 1:01" in (await scene.after(seconds=6))["signal_stale"].message


async def test_a_job_that_is_paused_for_a_day_is_told() -> None:
    scene = Scene()
    scene.paused = {"signals": NOW - timedelta(hours=23)}
    assert await scene.after(minutes=59) == {}
    told = (await scene.after(minutes=2))["job_paused:signals"]
    assert told.job == "signals"
    assert "paused since 2026-11-19 04:00 UTC" in told.message
    scene.paused = {}
    assert await scene.after(seconds=1) == {}
