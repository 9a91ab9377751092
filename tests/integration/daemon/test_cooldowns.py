"""A server's wait outlives the process, never its meaning, and ends when a person says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import cooldowns
from daemon.cooldowns import UNTOLD, GateKeeper, restore_gates
from jobs.core.cooldowns import MISTAKEN_S, Closed, Gates
from jobs.core.errors import RateLimited
from jobs.core.untrusted import LONGEST_WAIT_S
from jobs.store import cooldowns as gate_rows
from jobs.store.db import Database

AT = datetime.now(UTC).replace(microsecond=0)
YEARS = timedelta(days=7000 * 365)
Run = Callable[..., Result]


def now() -> datetime:
    return AT


@asynccontextmanager
async def kept(database: Database) -> AsyncIterator[Gates]:
    """Gates with a keeper that stores closings and obeys lifts, without pauses."""
    keeper = GateKeeper()
    gates = Gates(now, keeper.on_close, lambda: 0.0)

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keeper.run(database)),
            group.create_task(keeper.obey_lifts(gates, database, sleep=at_once)),
        ]
        yield gates
        for task in tasks:
            task.cancel()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def until_stored(database: Database, name: str) -> Closed:
    async def is_stored() -> bool:
        return name in await gate_rows.stored(database)

    await until(is_stored)
    return (await gate_rows.stored(database))[name]


async def test_a_lift_is_obeyed_and_the_next_wait_is_kept_again(database: Database) -> None:
    async with kept(database) as gates:
        gates.close("upbit:order", 3600, source="ban", reason="418")
        await until_stored(database, "upbit:order")
        gates.close("upbit:default", 60, source="retry-after", reason="429")
        with pytest.raises(RateLimited):
            gates.check("upbit:default")
        assert await gate_rows.lift(database, ["upbit:order"], now=AT, by="cli:ann") == [
            "upbit:order"
        ]

        async def is_open() -> bool:
            return gates.wait_s("upbit:order") == 0

        await until(is_open)
        assert gates.wait_s("upbit:default") == 60
        assert (await until_stored(database, "upbit:order")).reason == "lifted by cli:ann: 418"
        gates.close("upbit:order", 120, source="ban", reason="418 again")

        async def is_kept() -> bool:
            return (await gate_rows.stored(database))["upbit:order"].until > AT

        await until(is_kept)
        assert gates.wait_s("upbit:order") == 120


async def test_a_reason_that_no_table_holds_costs_the_reason_alone(database: Database) -> None:
    reason = "Requests\x00 \ud800 \x1b[2J" + "x " * 900
    async with kept(database) as gates:
        gates.close("gemini", 60, source="retry-info", reason=reason)
        found = await until_stored(database, "gemini")
    assert found.reason.startswith("Requests\ufffd \ufffd \ufffd[2J")
    assert len(found.reason) < 400


async def test_a_row_that_the_database_refuses_loses_its_reason(
    database: Database, dsn: str
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE gates ADD CHECK (reason NOT LIKE 'odd%')")
    async with kept(database) as gates:
        gates.close("gemini", 60, source="retry-info", reason="odd")
        assert (await until_stored(database, "gemini")).reason == UNTOLD


@pytest.mark.parametrize(
    ("closed", "now_is", "left_s"),
    [
        (timedelta(0), timedelta(seconds=10), 50),
        (timedelta(0), -YEARS / 200, 60),  # our clock is 35 years behind
        (None, timedelta(0), 60),
        (None, -YEARS / 200, MISTAKEN_S),
    ],
)
def test_a_stored_wait_is_never_longer_than_was_meant(
    closed: timedelta | None, now_is: timedelta, left_s: float
) -> None:
    gates = Gates(lambda: AT + now_is, None, lambda: 0.0)
    row = Closed(
        name="upbit:order",
        until=AT + timedelta(seconds=60),
        source="ban",
        reason="418",
        closed_at=None if closed is None else AT + closed,
    )
    gates.restore(row)
    assert gates.wait_s("upbit:order") == left_s


async def test_a_wait_of_an_earlier_version_until_9999_is_an_hour(database: Database) -> None:
    far = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    row = Closed(name="upbit:default", until=far, source="ban", reason="418", closed_at=AT)
    await gate_rows.save(database, row)
    gates = Gates(now, None, lambda: 0.0)
    await restore_gates(gates, database, now)
    assert gates.wait_s("upbit:default") == MISTAKEN_S
    assert (await gate_rows.stored(database))["upbit:default"].until == AT + timedelta(hours=1)


def test_no_wait_is_longer_than_a_week() -> None:
    gates = Gates(now, None, lambda: 0.0)
    gates.close("gemini", 1e12, source="retry-after", reason="")
    assert gates.wait_s("gemini") == LONGEST_WAIT_S


# --- the commands ------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{dsn}'\n")
    app = typer.Typer()
    cooldowns.register(app)

    def call(*arguments: str) -> Result:
        command = ["cooldowns", *arguments, "--config", str(path)]
        return CliRunner().invoke(app, command, catch_exceptions=False)

    return call


@pytest.fixture
def filled(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO gates (name, closed_until, source, reason) VALUES"
            " ('upbit:order', now() + interval '1 hour', 'ban', E'418 \x1b[2J from Upbit'),"
            " ('upbit:default', now() + interval '1 hour', 'ban', '418'),"
            " ('upbit:candle', now() - interval '1 hour', 'ban', 'over'),"
            " ('gemini', now() + interval '6 hours', 'retry-info', 'PerDay')"
        )


@pytest.mark.usefixtures("filled")
def test_cooldowns_in_force_are_listed(run: Run) -> None:
    shown = run("list")
    assert shown.exit_code == 0
    assert "upbit:order" in shown.output
    assert "upbit:candle" not in shown.output
    assert "\x1b" not in shown.output
    rows = json.loads(run("list", "--json").output)
    assert [row["name"] for row in rows] == ["gemini", "upbit:default", "upbit:order"]
    assert 3500 < rows[2]["left_s"] <= 3600


def test_without_cooldowns_the_list_is_empty(run: Run) -> None:
    assert "No cooldowns." in run("list").output
    assert json.loads(run("list", "--json").output) == []
    assert "no cooldown is in force" in run("lift", "all").output


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("upbit:order", ["gemini", "upbit:default"]),
        ("upbit", ["gemini"]),
        ("gemini", ["upbit:default", "upbit:order"]),
        ("all", []),
        ("upbit:ticker", ["gemini", "upbit:default", "upbit:order"]),
    ],
)
def test_a_lift_ends_what_it_names(run: Run, name: str, left: list[str]) -> None:
    assert run("lift", name).exit_code == 0
    assert [row["name"] for row in json.loads(run("list", "--json").output)] == left


def test_an_unknown_name_is_refused_with_the_known_ones(run: Run) -> None:
    refused = run("lift", "upbit:ordr")
    assert refused.exit_code == 2
    assert "no cooldown is called upbit:ordr: all, gemini, upbit, upbit:candle" in refused.output


def test_a_closing_keeps_when_it_was_said() -> None:
    told: list[Closed] = []
    gates = Gates(now, told.append)
    gates.close("gemini", 60, source="retry-info", reason="a\nb")
    assert told == [
        Closed(
            name="gemini",
            until=AT + timedelta(seconds=60),
            source="retry-info",
            reason="a b",
            closed_at=AT,
        )
    ]
    assert replace(told[0], closed_at=None).closed_at is None
