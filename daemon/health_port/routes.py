"""The health port of this daemon: which path answers from what."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial

from daemon.config.job_sections import JobConfig
from daemon.config.load import Config
from daemon.health_port.page_data import Dashboard, Scope, board_state
from daemon.process.state import ProcessStatus
from daemon.telemetry.metrics import Metrics
from daemon.telemetry.stats import collect
from daemon.wiring.jobs import job_configs
from health import routes
from health.render import page, page_json
from health.report import Report
from health.response import Route
from health.server import HealthServer, Listen
from health.watchdog import Heartbeats
from jobs.cache.snapshots import Snapshots
from jobs.cache.stats import TierStats
from jobs.core.errors import Transient
from jobs.core.job import Clock
from jobs.store.db import Database
from jobs.store.llm_calls import day_of

ON_LOOP_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the port's paths are answered from. `snapshot` and `caches` are thread-safe."""

    config: Config
    database: Database
    clock: Clock
    status: ProcessStatus
    heartbeats: Heartbeats
    metrics: Metrics
    snapshot: Callable[[], Report]
    caches: Callable[[], Sequence[TierStats]]
    snapshots: Snapshots


def make_server(answers: Answers, loop: asyncio.AbstractEventLoop) -> HealthServer:
    """Return the port, not yet open; what needs the database is asked on `loop`."""
    health = answers.config.health
    token = health.token.get_secret_value() or None
    listen = Listen(host=health.host, port=health.port, token=token)
    return HealthServer(listen, _routes(answers, loop), answers.metrics.port)


def _routes(answers: Answers, loop: asyncio.AbstractEventLoop) -> dict[str, Route]:
    on_loop = partial(
        routes.on_loop, loop, timeout_s=ON_LOOP_S, unavailable=(Transient, TimeoutError)
    )
    about, snapshot = answers.status.about, answers.snapshot
    board = Dashboard(
        db=answers.database,
        snapshots=answers.snapshots,
        scope=_scope(answers.config),
        clock=answers.clock,
    )
    state = board_state(board, on_loop(board.current))

    async def stats(since_s: float) -> Mapping[str, object]:
        since = answers.clock() - timedelta(seconds=since_s)
        return (await collect(answers.database, since)).as_dict()

    return {
        "/": page(snapshot, about, state),
        "/page.json": page_json(snapshot, about, state),
        "/health": routes.health(snapshot, about),
        "/livez": routes.livez(answers.heartbeats.alive),
        "/readyz": routes.readyz(answers.status.readiness),
        "/metrics": routes.metrics(answers.metrics.render),
        "/stats": routes.stats(on_loop(stats)),
        "/cache-stats": routes.facts(lambda: {"caches": [_tier(t) for t in answers.caches()]}),
    }


def _tier(stats: TierStats) -> dict[str, object]:
    return asdict(stats) | {"hit_rate": stats.hit_rate}


def _scope(config: Config) -> Scope:
    return Scope(
        mode=config.trading.mode,
        schedules={name: _when(section) for name, section in job_configs(config).items()},
        budget_usd=config.gemini.daily_budget_usd,
        day_of=day_of,
    )


def _when(section: JobConfig) -> str:
    if section.cron is not None:
        return f"cron {section.cron}"
    seconds = section.every.total_seconds() if section.every else 0.0
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"every {seconds / size:g}{unit}"
    return f"every {seconds:g}s"
