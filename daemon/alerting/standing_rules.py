"""Alert rules for what lasts too long: a bad component, an old signal, a paused job."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.alerting.monitor import AlertRule
from daemon.config.sections import AlertsConfig
from health.report import COMPONENTS, Report, Status, hms
from jobs.core.job import Clock

WELL_S = 60.0
"""A component that flaps stays one incident."""
LATEST_SIGNAL = "latest_signal"
ALERTED_OTHERWISE = {(LATEST_SIGNAL, Status.DEGRADED), ("database", Status.UNHEALTHY)}
"""`signal_stale` and `database_down` tell of these, and sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What these rules read. `paused` says since when each paused job is."""

    snapshot: Callable[[], Report]
    paused: Callable[[], Mapping[str, datetime]]
    jobs: tuple[str, ...]
    clock: Clock
    started_at: datetime
    signal_max_age: Callable[[datetime], timedelta]


def standing_rules(standing: Standing, limits: AlertsConfig) -> Iterator[AlertRule]:
    """Yield every rule whose limit is not switched off."""
    for status, limit in (
        (Status.UNHEALTHY, limits.max_unhealthy),
        (Status.DEGRADED, limits.max_degraded),
    ):
        for name in COMPONENTS:
            if limit and (name, status) not in ALERTED_OTHERWISE:
                yield _component(standing, name, status, limit)
    yield AlertRule(
        kind="signal_stale",
        severity="warning",
        title="No new signal",
        look=lambda: stale_signal(standing),
        hold_s=5.0,
        clear_s=5.0,
    )
    for job in standing.jobs if limits.max_paused else ():
        yield _paused(standing, job, limits.max_paused)


def _component(standing: Standing, name: str, status: Status, limit: timedelta) -> AlertRule:
    def look() -> str | None:
        component = standing.snapshot().components[name]
        if component.status is not status:
            return None
        return f"{component.cause} (for more than {hms(limit.total_seconds())})"

    spoken = name.replace("_", " ")
    return AlertRule(
        kind="component_unhealthy",
        about=name if status is Status.UNHEALTHY else f"{name}:{status}",
        severity="critical" if status is Status.UNHEALTHY else "warning",
        title=f"The component {spoken} is {status}",
        look=look,
        hold_s=limit.total_seconds(),
        clear_s=min(WELL_S, limit.total_seconds()),
    )


def stale_signal(standing: Standing) -> str | None:
    """Return how old the latest signal is, when it is older than its limit."""
    component = standing.snapshot().components[LATEST_SIGNAL]
    limit_s = standing.signal_max_age(standing.clock()).total_seconds()
    age_s = component.detail.get("age_s")
    if isinstance(age_s, int | float):
        is_old = component.status is not Status.HEALTHY and age_s > limit_s
        return f"last signal {hms(age_s)} ago, limit {hms(limit_s)}" if is_old else None
    running_s = (standing.clock() - standing.started_at).total_seconds()
    if component.status is Status.DEGRADED and running_s > limit_s:
        return f"no signal in the {hms(running_s)} since the start, limit {hms(limit_s)}"
    return None


def _paused(standing: Standing, job: str, limit: timedelta) -> AlertRule:
    def look() -> str | None:
        since = standing.paused().get(job)
        if since is None or standing.clock() - since <= limit:
            return None
        return f"{job} is paused since {since:%Y-%m-%d %H:%M} UTC, limit {limit}"

    return AlertRule(
        kind="job_paused",
        about=job,
        severity="warning",
        title=f"{job} is paused for long",
        look=look,
        job=job,
    )
