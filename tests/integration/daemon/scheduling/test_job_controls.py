"""Jobs are paused, resumed and run now from the command line, at once and for good."""

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import jobs_control, settings
from daemon.scheduling.job_controls import Controls
from jobs.store import job_controls
from jobs.store.db import Database


class Shift:
    """Remembers what it was told, and lets a test wait for the next word."""

    def __init__(self) -> None:
        self.paused: list[list[str]] = []
        self.ran: list[str] = []
        self.told = asyncio.Event()

    def pause(self, jobs: Iterable[str]) -> None:
        self.paused.append(sorted(jobs))
        self.told.set()

    def run_now(self, job: str) -> None:
        self.ran.append(job)
        self.told.set()

    async def until_told(self) -> None:
        self.told.clear()
        await self.told.wait()


async def test_a_change_reaches_the_leader_by_itself(database: Database, dsn: str) -> None:
    shift, controls = Shift(), Controls(database, dsn)
    await job_controls.pause(database, ["orders"], paused=True, by="test")
    await controls.attach(shift)
    assert shift.paused == [["orders"]]
    listening = asyncio.create_task(controls.listen())
    await shift.until_told()  # it looks again once it listens
    assert await job_controls.pause(database, ["signals", "orders"], paused=True, by="t") == [
        "signals"
    ]
    await shift.until_told()
    assert shift.paused[-1] == ["orders", "signals"]
    await job_controls.ask_run(database, "market", by="test")
    while not shift.ran:
        await shift.until_told()
    assert shift.ran == ["market"]
    listening.cancel()


async def test_who_notifies_without_end_is_one_look_for_many(database: Database, dsn: str) -> None:
    shift, controls = Shift(), Controls(database, dsn)
    await controls.attach(shift)
    listening = asyncio.create_task(controls.listen())
    await shift.until_told()
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        for number in range(300):  # all told at the commit
            await other.execute(f"NOTIFY job_controls, 'noise {number}'".encode())
    await job_controls.pause(database, ["orders"], paused=True, by="test")
    while shift.paused[-1] != ["orders"]:
        await shift.until_told()
    assert len(shift.paused) < 100
    listening.cancel()


async def test_since_when_a_job_is_paused_survives_a_run_of_it(
    database: Database, dsn: str
) -> None:
    await job_controls.pause(database, ["orders"], paused=True, by="test")
    since = (await job_controls.read(database))["orders"].paused_at
    await job_controls.ask_run(database, "orders", by="test")
    await job_controls.pause(database, ["orders"], paused=True, by="again")
    controls = Controls(database, dsn)
    await controls.attach(Shift())
    assert controls.paused == {"orders": since}
    controls.detach()
    assert controls.paused == {}
    await job_controls.pause(database, ["orders"], paused=False, by="test")
    assert (await job_controls.read(database))["orders"].paused_at is None


async def test_an_asked_run_waits_for_a_leader_and_is_taken_once(
    database: Database, dsn: str
) -> None:
    for _ in range(3):
        await job_controls.ask_run(database, "market", by="test")
    first, second, controls = Shift(), Shift(), Controls(database, dsn)
    await controls.attach(first)
    controls.detach()
    await controls.attach(second)
    assert (first.ran, second.ran) == (["market"], [])


async def test_who_goes_while_the_controls_are_read_is_not_told(
    database: Database, dsn: str
) -> None:
    await job_controls.pause(database, ["orders"], paused=True, by="test")
    shift, controls = Shift(), Controls(database, dsn)
    attaching = asyncio.create_task(controls.attach(shift))
    await asyncio.sleep(0)  # it has begun to read
    controls.detach()
    await attaching
    assert shift.paused == []


async def test_the_listener_comes_back_after_its_connection_was_lost(
    database: Database, dsn: str
) -> None:
    shift, controls = Shift(), Controls(database, dsn)
    await controls.attach(shift)
    listening = asyncio.create_task(controls.listen(sleep=lambda _: asyncio.sleep(0)))
    await shift.until_told()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'upbitd-controls' AND datname = current_database()"
        )
        await admin.execute("INSERT INTO job_controls (job, paused) VALUES ('upkeep', true)")
    while ["upkeep"] not in shift.paused:
        await shift.until_told()
    listening.cancel()


async def test_a_promise_is_kept_until_it_came_due(database: Database) -> None:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    await job_controls.promise(database, "market", at)
    assert (await job_controls.read(database))["market"].follow_up_at == at
    await job_controls.keep(database, "market", at.replace(year=2025))
    assert (await job_controls.read(database))["market"].follow_up_at == at
    await job_controls.keep(database, "market", at)
    assert (await job_controls.read(database))["market"].follow_up_at is None


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{dsn}'\n[jobs.upkeep]\nenabled = false\n")
    return path


def run(config: Path, *arguments: str) -> Result:
    app = typer.Typer()
    for family in (jobs_control, settings):
        family.register(app)
    return CliRunner().invoke(app, ["jobs", *arguments, "--config", str(config)])


def test_the_commands_pause_resume_and_list(config: Path) -> None:
    assert run(config, "pause", "signals", "orders").output == "signals: paused\norders: paused\n"
    assert run(config, "pause", "orders").output == "orders: paused already\n"
    listed = json.loads(run(config, "list", "--json").output)
    assert [each["job"] for each in listed] == ["market", "signals", "orders", "upkeep"]
    assert [each["paused"] for each in listed] == [False, True, True, False]
    assert [each["enabled"] for each in listed] == [True, True, True, False]
    assert listed[1]["changed_by"].startswith("cli:")
    assert run(config, "resume", "all").output == (
        "market: running already\nsignals: running\norders: running\nupkeep: running already\n"
    )
    assert not any(each["paused"] for each in json.loads(run(config, "list", "--json").output))


def test_the_commands_ask_for_a_run_and_refuse_what_is_not_there(config: Path, dsn: str) -> None:
    assert run(config, "run", "market").exit_code == 0
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT job, runs_asked, runs_done FROM job_controls")
        assert found.fetchall() == [("market", 1, 0)]
    assert run(config, "run", "upkeep").exit_code == 2
    assert run(config, "run", "nothing").exit_code == 2
    assert run(config, "pause", "nothing").exit_code == 2
