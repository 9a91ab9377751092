"""The halt as people see it: told once, whichever way it came, and its end."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.trading import Alerts

from daemon.alerting.halt_monitor import HaltMonitor, status_line, watch_halt
from daemon.telemetry.metrics import Metrics
from jobs.core.errors import Unavailable
from jobs.domain.halt import Halt, HaltLevel
from jobs.domain.settings import Settings

BY_ME = Halt(level=HaltLevel.ALL, by="cli:me")


@dataclass
class Daemon:
    """What the monitor reads, and whom it tells."""

    settings: Settings = field(default_factory=Settings)
    fault: Exception | None = None
    alerts: Alerts = field(default_factory=Alerts)
    lines: list[str] = field(default_factory=list)

    async def current(self) -> Settings:
        if self.fault is not None:
            raise self.fault
        return self.settings

    def monitor(self, folder: Path) -> HaltMonitor:
        return HaltMonitor(
            self.current,
            folder / "HALT",
            self.alerts,
            on_change=lambda halt: self.lines.append(status_line(halt)),
        )


async def test_each_way_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    daemon = Daemon()
    monitor = daemon.monitor(tmp_path)
    await monitor.look()
    assert daemon.lines == []
    (tmp_path / "HALT").touch()
    await monitor.look()
    await monitor.look()
    assert [each.kind for each in daemon.alerts.told] == ["halted"]
    assert "stop-losses are off" in daemon.alerts.told[0].message
    assert "trading is halted (all)" in daemon.lines[-1]
    (tmp_path / "HALT").unlink()
    await monitor.look()
    assert daemon.alerts.resolved == ["halted"]
    assert daemon.lines[-1] == "running"
    resumed = daemon.alerts.told[-1]
    assert (resumed.kind, resumed.is_event) == ("resumed", True)
    assert resumed.message == f"{tmp_path}/HALT is gone: not halted"


async def test_a_setting_that_ends_is_told_by_the_audits_reader(tmp_path: Path) -> None:
    daemon = Daemon(settings=Settings(halt=BY_ME))
    monitor = daemon.monitor(tmp_path)
    await monitor.look()
    daemon.settings = Settings()
    await monitor.look()
    assert [each.kind for each in daemon.alerts.told] == ["halted"]


async def test_a_file_that_became_weaker_is_told(tmp_path: Path) -> None:
    daemon = Daemon()
    monitor = daemon.monitor(tmp_path)
    (tmp_path / "HALT").touch()
    await monitor.look()
    (tmp_path / "HALT").rename(tmp_path / "HALT-ENTRIES")
    await monitor.look()
    assert [each.kind for each in daemon.alerts.told] == ["halted", "resumed", "halted"]


async def test_a_change_of_the_level_is_an_alert_of_its_own(tmp_path: Path) -> None:
    daemon = Daemon(settings=Settings(halt=Halt(level=HaltLevel.ENTRIES, by="cli:me")))
    monitor = daemon.monitor(tmp_path)
    await monitor.look()
    daemon.settings = Settings(halt=BY_ME)
    await monitor.look()
    assert list(daemon.alerts.open) == ["halted"]
    assert daemon.alerts.resolved == ["halted:entries"]


async def test_a_database_that_is_away_resumes_nothing(tmp_path: Path) -> None:
    daemon = Daemon(settings=Settings(halt=BY_ME))
    monitor = daemon.monitor(tmp_path)
    await monitor.look()
    for fault in (Unavailable("gone"), RuntimeError("a bug")):
        daemon.fault = fault
        await monitor.look()
        assert monitor.current == BY_ME


async def test_a_setting_that_hangs_does_not_hide_the_file(tmp_path: Path) -> None:
    async def never() -> Settings:
        await asyncio.Event().wait()
        raise AssertionError

    monitor = HaltMonitor(never, tmp_path / "HALT", Alerts(), on_change=lambda _: None)
    (tmp_path / "HALT").touch()
    await monitor.look()
    assert monitor.current.level is HaltLevel.ALL


async def test_the_halt_of_an_earlier_process_ends_with_the_first_look(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.alerts.open = {"halted": None, "halted:entries": None}  # type: ignore[dict-item]
    daemon.alerts.open = dict.fromkeys(daemon.alerts.open, daemon.alerts.open["halted"])
    await daemon.monitor(tmp_path).look()
    assert daemon.alerts.open == {}


def test_the_level_is_a_figure() -> None:
    metrics = Metrics(process=False)
    watch_halt(metrics, lambda: BY_ME)
    text = metrics.render().decode()
    assert 'upbitd_halted{level="all"} 1.0' in text
    assert 'upbitd_halted{level="entries"} 0.0' in text
