"""What the alert rules look at: health, lanes, bans, memory, disk and how the last runs went."""

import os
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from daemon.alerting.monitor import AlertRule
from daemon.config.sections import AlertsConfig
from daemon.telemetry.metrics import JobMetric
from health.report import Report, Status
from health.watchdog import Heartbeats
from jobs.core.cooldowns import Gates
from jobs.core.job import Clock

DATABASE_AFTER_S = 5.0
STALLED_AFTER_S = 0.0
WELL_S = 5.0
WINDOW = timedelta(minutes=15)
ENOUGH_RUNS = 10
MB = 1_000_000
BAD = ("failed", "timeout")


class RecentRuns:
    """The runs that ended in the last quarter of an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ended: deque[JobMetric] = deque(maxlen=10_000)

    def ended(self, metric: JobMetric) -> None:
        """Take note of a run."""
        self._ended.append(metric)

    def failed_pct(self) -> float | None:
        """Per cent of them that failed; None while they are too few to say."""
        runs = self._recent()
        return None if runs is None else 100 * sum(r.outcome in BAD for r in runs) / len(runs)

    def lateness_s(self) -> float | None:
        """How late nineteen in twenty of them began at the most; None while they are too few."""
        runs = self._recent()
        return None if runs is None else sorted(r.lateness_s for r in runs)[len(runs) * 19 // 20]

    def _recent(self) -> list[JobMetric] | None:
        since = self._clock() - WINDOW
        while self._ended and self._ended[0].finished_at < since:
            self._ended.popleft()
        return list(self._ended) if len(self._ended) >= ENOUGH_RUNS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the rules read."""

    snapshot: Callable[[], Report]
    heartbeats: Heartbeats
    gates: Gates
    runs: RecentRuns
    state_dir: Path
    log_trouble: Callable[[], str | None] = lambda: None


def rules(watched: Watched, limits: AlertsConfig) -> list[AlertRule]:
    """Return every rule, with the limits of the configuration."""
    return [
        AlertRule(
            kind="database_down",
            severity="critical",
            title="The database does not work",
            look=lambda: _database(watched.snapshot()),
            hold_s=DATABASE_AFTER_S,
            clear_s=WELL_S,
        ),
        AlertRule(
            kind="upbit_banned",
            severity="critical",
            title="Upbit blocks us",
            look=lambda: _ban(watched.gates),
        ),
        AlertRule(
            kind="scheduler_stalled",
            severity="critical",
            title="The daemon makes no progress",
            look=lambda: watched.heartbeats.alive()[1],
            hold_s=STALLED_AFTER_S,
            clear_s=WELL_S,
        ),
        AlertRule(
            kind="log_output_failed",
            severity="warning",
            title="Log lines are lost or late",
            look=watched.log_trouble,
            hold_s=WELL_S,
            clear_s=WELL_S,
        ),
        *_thresholds(watched, limits),
    ]


def _thresholds(watched: Watched, limits: AlertsConfig) -> list[AlertRule]:
    runs, folder = watched.runs, watched.state_dir
    lateness_s = limits.max_lateness.total_seconds()
    return [
        _above(
            "memory_high", "Much memory is in use", "MB of memory", memory_mb, limits.max_memory_mb
        ),
        AlertRule(
            kind="disk_low",
            severity="critical",
            title="The disk is nearly full",
            look=lambda: _disk(free_mb(folder), limits.min_disk_free_mb, folder),
            clear_s=WELL_S,
        ),
        _above(
            "error_rate_high",
            "Many runs fail",
            "% of the last runs failed",
            runs.failed_pct,
            limits.max_failed_pct,
        ),
        _above(
            "latency_high",
            "Runs begin late",
            "s late began one run in twenty",
            runs.lateness_s,
            lateness_s,
        ),
    ]


def _above(
    kind: str, title: str, unit: str, read: Callable[[], float | None], limit: float
) -> AlertRule:
    """Return a rule for a figure that may not be above `limit`; 0 switches it off."""

    def look() -> str | None:
        figure = read() if limit else None
        if figure is None or figure <= limit:
            return None
        return f"{figure:,.1f} {unit}, limit {limit:,g}"

    return AlertRule(
        kind=kind, severity="warning", title=title, look=look, hold_s=WELL_S, clear_s=WELL_S
    )


def _database(report: Report) -> str | None:
    component = report.components["database"]
    is_down = component.status is Status.UNHEALTHY and component.checked_at is not None
    return component.cause if is_down else None


def _ban(gates: Gates) -> str | None:
    bans = [gate for gate in gates.closed() if gate.source == "ban"]
    return (
        "; ".join(f"{gate.name} until {gate.until:%H:%M:%S} UTC: {gate.reason}" for gate in bans)
        or None
    )


def _disk(free: float, least: float, folder: Path) -> str | None:
    return f"{free:,.0f} MB free at {folder}, limit {least:,g}" if free < least else None


def memory_mb() -> float:
    """Return the memory that this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def free_mb(folder: Path) -> float:
    """Return what is free on the disk of `folder`, or of its nearest parent that exists, in MB."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free / MB
