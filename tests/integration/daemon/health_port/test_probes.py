"""What the database's probe says of a database that does not answer, and what others make of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from daemon.health_port import probes
from daemon.postgres import schema
from daemon.postgres.pool import PoolOptions, open_database
from daemon.scheduling.job_status import JobStatus
from health.check_inputs import DatabaseFacts
from health.report import COMPONENTS, Examiner, Status
from health.watchdog import Heartbeats
from jobs.core.cooldowns import Gates
from jobs.core.errors import Unauthorized, Unavailable
from jobs.store import vitals
from jobs.store.db import Database


def now() -> datetime:
    return datetime.now(UTC)


async def reached() -> None:
    """A server that takes connections."""


async def refused() -> None:
    raise Unavailable("the database takes no connection", cause="it is full")


async def hangs() -> None:
    await asyncio.Event().wait()


def sources(database: Database, **changes: Any) -> probes.Sources:
    beats = Heartbeats()
    beats.expect("loop", 8)

    async def date() -> datetime:
        return now()

    made = probes.Sources(
        clock=now,
        database=database,
        reach_database=reached,
        head_revision=schema.head(),
        max_waiting=10,
        mode="live",
        latest_signal=lambda: vitals.latest_signal(database),
        public_call=date,
        private_call=date,
        model_probe=reached,
        daily_budget_usd=Decimal(1),
        gates=Gates(now),
        heartbeats=beats,
        board=JobStatus({}),
        role=lambda: "standby",
        reason=lambda: None,
        unwritten_since=lambda: None,
        signals_enabled=True,
        orders_enabled=True,
        signal_max_age=lambda _: timedelta(hours=1),
        order_max_age=timedelta(days=1),
    )
    return replace(made, **changes)


async def examined(made: probes.Sources) -> dict[str, tuple[Status, str]]:
    """What each component says after every probe was asked once."""
    how = probes.explain(str)
    examiner = Examiner(probes.build(made, how), explain=how, clock=now)
    for name in COMPONENTS:
        await examiner.probe(name)
    report = examiner.snapshot()
    return {name: (each.status, each.cause or "") for name, each in report.components.items()}


class Away(Database):
    """A database whose pool has nothing to give."""

    def begin(self) -> object:  # type: ignore[override]
        raise Unavailable("the database does not answer")


def away(database: Database) -> Database:
    return Away(engine=database.engine, checkout=database.checkout, pool_stats=database.pool_stats)


async def test_a_fresh_daemon_is_well_but_for_its_first_signal(database: Database) -> None:
    said = await examined(sources(database))
    assert {name for name, (status, _) in said.items() if status is not Status.HEALTHY} == {
        "latest_signal"
    }


@pytest.mark.parametrize(
    ("reach", "cause"),
    [
        (refused, "the database takes no connection (cause=it is full)"),
        (hangs, "not even to connect"),
        (reached, "the database does not answer"),
    ],
)
async def test_a_database_that_is_away_is_told_by_its_cause(
    database: Database,
    reach: Callable[[], Awaitable[None]],
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "CONNECT_S", 0.05)
    said = await examined(sources(away(database), reach_database=reach))
    assert said["database"][0] is Status.UNHEALTHY
    assert cause in said["database"][1]
    assert said["scheduler"] == (
        Status.UNHEALTHY,
        "no job can run: the database does not answer",
    )
    assert said["gemini"] == (Status.DEGRADED, "the day's budget is not known")
    assert said["latest_order"][0] is Status.UNHEALTHY
    assert said["upbit"][0] is Status.HEALTHY


async def test_a_query_that_is_refused_is_told_of_the_database_and_of_no_job(
    database: Database,
) -> None:
    async with database.begin() as tx:
        await tx.execute(text("ALTER TABLE alembic_version RENAME TO away"))
    said = await examined(sources(database))
    assert said["database"][0] is Status.UNHEALTHY
    assert "alembic_version" in said["database"][1]
    assert said["scheduler"] == (Status.HEALTHY, "")


async def test_a_pool_in_full_use_is_told_from_a_server_that_is_away(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one kept for orders is free, and yet nobody else gets any."""
    monkeypatch.setattr(probes, "QUERY_S", 0.2)
    options = PoolOptions(pool_min=1, pool_max=3, kept_for_orders=1)
    async with open_database(dsn, options) as database, AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(database.checkout())
        status, cause = (await examined(sources(database)))["database"]
    assert status is Status.UNHEALTHY
    assert "all connections are in use, 0 wait, limit 2" in cause


async def test_a_query_that_hangs_on_a_server_that_answers_is_said_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: probes.Sources) -> DatabaseFacts:
        await hangs()
        raise AssertionError

    monkeypatch.setattr(probes, "QUERY_S", 0.05)
    monkeypatch.setattr(probes, "_database", never)
    _, cause = (await examined(sources(database)))["database"]
    assert "no answer within 0.05 s, though it takes connections" in cause


async def test_without_keys_and_model_nothing_is_asked_of_them(database: Database) -> None:
    made = sources(database, mode="paper", private_call=None, model_probe=None)
    said = await examined(made)
    assert said["gemini"][0] is Status.HEALTHY
    assert said["upbit"][0] is Status.HEALTHY


async def test_a_refused_key_is_unhealthy_at_once(database: Database) -> None:
    async def refuses() -> None:
        raise Unauthorized("refused", name="invalid_access_key", status=401)

    said = await examined(sources(database, private_call=refuses))
    assert said["upbit"][0] is Status.UNHEALTHY
    assert "invalid_access_key" in said["upbit"][1]
