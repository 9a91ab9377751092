"""The tasks that tell people of trouble that no job would tell of."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.alerting.dead_mans_switch import DeadMansSwitch
from daemon.alerting.key_expiry import KeyExpiryMonitor
from daemon.alerting.monitor import AlertMonitor
from daemon.alerting.rules import RecentRuns, Watched, rules
from daemon.alerting.settings_monitor import SettingsWatch
from daemon.alerting.standing_rules import Standing, standing_rules
from daemon.config.load import Config
from daemon.process.background import Work
from daemon.scheduling.pace import signal_age
from health.report import Report, Status
from health.watchdog import Heartbeats
from jobs import ALL
from jobs.core.cooldowns import Gates
from jobs.core.job import Clock, Notifier
from jobs.store.db import Database
from jobs.upbit.wire import ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the watches read, and whom they tell."""

    config: Config
    snapshot: Callable[[], Report]
    heartbeats: Heartbeats
    gates: Gates
    runs: RecentRuns
    list_keys: Callable[[], Awaitable[Sequence[ApiKey]]]
    may_withdraw: Callable[[], Awaitable[bool | None]]
    database: Database
    is_leader: Callable[[], bool]
    notifier: Notifier
    clock: Clock
    log_trouble: Callable[[], str | None] = lambda: None
    paused: Callable[[], Mapping[str, datetime]] = dict

    def is_well(self) -> bool:
        """Whether somebody outside may rest assured."""
        return self.snapshot().status is not Status.UNHEALTHY and self.heartbeats.alive()[0]


def watches(means: Means) -> Iterator[tuple[str, Work]]:
    """Yield each watch that the configuration asks for, by name."""
    config = means.config
    watched = Watched(
        snapshot=means.snapshot,
        heartbeats=means.heartbeats,
        gates=means.gates,
        runs=means.runs,
        state_dir=config.daemon.state_dir,
        log_trouble=means.log_trouble,
    )
    standing = Standing(
        snapshot=means.snapshot,
        paused=means.paused,
        jobs=ALL,
        clock=means.clock,
        started_at=means.clock(),
        signal_max_age=signal_age(config),
    )
    found = [*rules(watched, config.alerts), *standing_rules(standing, config.alerts)]
    monitor = AlertMonitor(found, means.notifier, monotonic=time.monotonic)
    yield "vigil", monitor.keep
    settings = SettingsWatch(
        db=means.database,
        notifier=means.notifier,
        clock=means.clock,
        is_live=config.trading.mode == "live",
        is_leader=means.is_leader,
    )
    yield "settings watch", settings.keep
    if (key := config.secrets.upbit_access_key) is not None and config.secrets.upbit_secret_key:
        key_watch = KeyExpiryMonitor(
            access_key=key.get_secret_value(),
            list_keys=means.list_keys,
            may_withdraw=means.may_withdraw,
            notifier=means.notifier,
            clock=means.clock,
        )
        yield "key watch", key_watch.keep
    if url := config.health.ping_url.get_secret_value():
        every_s = config.health.ping_every.total_seconds()
        yield "ping", DeadMansSwitch(url=url, every_s=every_s, is_well=means.is_well).keep
