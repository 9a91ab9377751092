"""Each watch that the configuration asks for is started, and no other."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.alerting.monitors import Means, watches
from daemon.alerting.rules import RecentRuns
from daemon.config.load import Config
from daemon.config.sections import HealthConfig, Secrets
from health.report import COMPONENTS, Component, Report, Status
from health.watchdog import Heartbeats
from jobs.core.cooldowns import Gates
from jobs.core.job import Incident
from jobs.upbit.wire import ApiKey

NO_DATABASE: Any = None
NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
KEYS = Secrets(upbit_access_key=SecretStr("ACCESS"), upbit_secret_key=SecretStr("SECRET"))
PING = HealthConfig(ping_url=SecretStr("https://example.com/ping"))


class Nobody:
    """A notifier that tells nobody."""

    async def notify(self, incident: Incident) -> None:
        """Say nothing."""

    async def resolve(self, incident: str) -> None:
        """Say nothing."""


def means(config: Config, status: Status = Status.HEALTHY, *, lanes: bool = True) -> Means:
    beats = Heartbeats()
    if lanes:
        beats.expect("loop", 8)
    part = Component(status=status, cause="x", checked_at=NOW, latency_ms=1.0, detail={})

    async def list_keys() -> Sequence[ApiKey]:
        return []

    async def may_withdraw() -> bool:
        return False

    return Means(
        config=config,
        snapshot=lambda: Report(checked_at=NOW, components=dict.fromkeys(COMPONENTS, part)),
        heartbeats=beats,
        gates=Gates(lambda: NOW),
        runs=RecentRuns(lambda: NOW),
        list_keys=list_keys,
        may_withdraw=may_withdraw,
        database=NO_DATABASE,
        is_leader=lambda: False,
        notifier=Nobody(),
        clock=lambda: NOW,
    )


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (Config(), ["vigil", "settings watch"]),
        (Config(secrets=KEYS), ["vigil", "settings watch", "key watch"]),
        (Config(secrets=KEYS, health=PING), ["vigil", "settings watch", "key watch", "ping"]),
    ],
)
def test_what_the_configuration_asks_for_is_watched(config: Config, names: list[str]) -> None:
    started = list(watches(means(config)))
    assert [name for name, _ in started] == names


@pytest.mark.parametrize(
    ("status", "lanes", "well"),
    [
        (Status.HEALTHY, True, True),
        (Status.DEGRADED, True, True),
        (Status.UNHEALTHY, True, False),
        (Status.HEALTHY, False, False),
    ],
)
def test_the_outside_may_rest_while_health_is_not_unhealthy_and_lanes_move(
    status: Status, *, lanes: bool, well: bool
) -> None:
    assert means(Config(), status, lanes=lanes).is_well() is well


def test_a_ping_address_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        HealthConfig(ping_url=SecretStr("ftp://example.com"))
