"""Each alert rule finds its trouble, and nothing where there is none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.alerting.rules import RecentRuns, Watched, free_mb, memory_mb, rules
from daemon.config.sections import AlertsConfig
from daemon.telemetry.metrics import JobMetric
from health.report import COMPONENTS, Component, Report, Status
from health.watchdog import Heartbeats
from jobs.core.cooldowns import Gates

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
WELL = Component(status=Status.HEALTHY, cause=None, checked_at=NOW, latency_ms=1.0, detail={})
DOWN = replace(WELL, status=Status.UNHEALTHY, cause="it is away")
METRIC = JobMetric(
    job="market",
    run_id="r",
    scheduled_at=NOW,
    started_at=NOW,
    finished_at=NOW,
    lateness_s=0.1,
    duration_s=1.0,
    success=True,
    outcome="ok",
)


class Scene:
    """Everything that rules look at, all of it well."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.now_s = 0.0
        self.database = WELL
        self.beats = Heartbeats(lambda: self.now_s)
        self.beats.expect("loop", 8)
        self.gates = Gates(lambda: self.now)
        self.runs = RecentRuns(lambda: self.now)
        self.watched = Watched(
            snapshot=self.report,
            heartbeats=self.beats,
            gates=self.gates,
            runs=self.runs,
            state_dir=folder / "not" / "there",
        )

    def report(self) -> Report:
        components = dict.fromkeys(COMPONENTS, WELL) | {"database": self.database}
        return Report(checked_at=self.now, components=components)

    def found(self, **limits: object) -> dict[str, str]:
        """What the rules find, by kind."""
        config = AlertsConfig.model_validate({"max_memory_mb": 1_000_000, **limits})
        seen = {each.kind: each.look() for each in rules(self.watched, config)}
        return {kind: wrong for kind, wrong in seen.items() if wrong is not None}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_nothing_is_found_when_all_is_well(scene: Scene) -> None:
    assert scene.found(min_disk_free_mb=0) == {}


def test_a_database_that_is_down_is_found_by_its_cause(scene: Scene) -> None:
    scene.database = DOWN
    assert scene.found()["database_down"] == "it is away"


def test_a_database_that_was_not_asked_yet_or_is_slow_is_not_down(scene: Scene) -> None:
    for component in (
        replace(DOWN, checked_at=None),
        replace(DOWN, status=Status.DEGRADED),
    ):
        scene.database = component
        assert "database_down" not in scene.found()


def test_a_ban_is_found_and_a_mere_wait_is_not(scene: Scene) -> None:
    scene.gates.close("upbit:order", 9, source="retry-after", reason="429")
    assert "upbit_banned" not in scene.found()
    scene.gates.close("upbit", 60, source="ban", reason="418")
    assert scene.found()["upbit_banned"] == "upbit until 03:01:00 UTC: 418"
    scene.now += timedelta(seconds=61)
    assert "upbit_banned" not in scene.found()


def test_a_silent_lane_is_found(scene: Scene) -> None:
    scene.now_s = 9.0
    assert "no progress of loop" in scene.found()["scheduler_stalled"]


def test_memory_and_disk_beyond_their_limits_are_found(scene: Scene) -> None:
    found = scene.found(max_memory_mb=1, min_disk_free_mb=10**12)
    assert found["memory_high"].endswith("MB of memory, limit 1")
    assert "limit 1e+12" in found["disk_low"]
    assert "memory_high" not in scene.found(max_memory_mb=0)


def test_failing_and_late_runs_are_found_once_they_are_enough(scene: Scene) -> None:
    for _ in range(9):
        scene.runs.ended(replace(METRIC, outcome="failed", lateness_s=60.0))
    assert scene.found() == {}
    scene.runs.ended(METRIC)
    found = scene.found()
    assert found["error_rate_high"] == "90.0 % of the last runs failed, limit 20"
    assert found["latency_high"].startswith("60.0 s late")
    assert scene.found(max_failed_pct=0, max_lateness="0s") == {}
    scene.now += timedelta(minutes=16)
    assert scene.found() == {}


def test_figures_of_this_process_are_read(tmp_path: Path) -> None:
    assert 1 < memory_mb() < 100_000
    assert free_mb(tmp_path / "a" / "b") == pytest.approx(free_mb(tmp_path), rel=0.1)
