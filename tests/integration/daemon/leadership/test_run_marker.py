"""A run that did not stop in order is told at the next start, once."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.trading import Alerts
from sqlalchemy import text

from daemon.alerting.outbox import Origin, Outbox
from daemon.leadership.run_marker import is_alive, noted_run, process_name
from jobs.store.daemon_runs import DaemonRun
from jobs.store.db import Database


def now() -> datetime:
    return datetime.now(UTC)


def run_of(session: str, process: str = "", *, host: str = "h", instance: str = "i") -> DaemonRun:
    return DaemonRun(
        session=session,
        instance=instance,
        host=host,
        process=process or process_name(),
        version="1",
        mode="paper",
        started_at=now(),
    )


async def start(db: Database, heard: Alerts, run: DaemonRun) -> None:
    """Begin a run and stop it in order."""
    async with noted_run(db, run, heard, now):
        pass


async def killed(db: Database, run: DaemonRun) -> None:
    """Begin a run that never says how it ended."""
    async with noted_run(db, run, Alerts(), now):
        pass
    async with db.begin() as conn:
        await conn.execute(
            text("UPDATE daemon_runs SET ended_at = NULL, exit_code = NULL, is_told = false")
        )


@pytest.fixture
def gone() -> str:
    """The name of a process that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(process.pid)
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    return name


@pytest.fixture
def another() -> Iterator[str]:
    """The name of a process that works."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process_name(process.pid)
    process.communicate()


async def test_a_stop_in_order_is_no_news(database: Database) -> None:
    heard = Alerts()
    for session in ("one", "two"):
        await start(database, heard, run_of(session))
    assert heard.told == []


async def test_a_killed_run_is_told_once(database: Database, gone: str) -> None:
    heard = Alerts()
    await killed(database, run_of("one", gone))
    for session in ("two", "three"):
        await start(database, heard, run_of(session))
    (told,) = heard.told
    assert (told.kind, told.incident) == ("unclean_restart", "unclean_restart:i@h")
    assert told.is_event
    assert f"Process {gone.split(':')[1]} of h" in told.message
    assert "was killed" in told.message


async def test_a_lost_machine_is_told_as_such(database: Database) -> None:
    heard = Alerts()
    await killed(database, run_of("one", "another-boot:7:99"))
    await start(database, heard, run_of("two"))
    assert "ended with its machine" in heard.told[0].message


async def test_a_run_that_works_beside_is_not_taken_for_dead(
    database: Database, another: str
) -> None:
    heard = Alerts()
    await killed(database, run_of("one", another))
    await start(database, heard, run_of("two"))
    assert heard.told == []


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"instance": "other"}])
async def test_runs_of_others_are_theirs(
    database: Database, gone: str, elsewhere: dict[str, str]
) -> None:
    heard = Alerts()
    await killed(database, run_of("one", gone, **elsewhere))
    await start(database, heard, run_of("two"))
    assert heard.told == []


async def test_a_crash_is_told_and_a_refused_start_is_not(database: Database) -> None:
    class Refused(Exception):
        code = 4

    heard = Alerts()
    for session, error in (("one", RuntimeError()), ("two", Refused())):
        with pytest.raises(type(error)):
            async with noted_run(database, run_of(session), heard, now):
                raise error
    await start(database, heard, run_of("three"))
    (told,) = heard.told
    assert "crashed at" in told.message


async def test_the_exit_code_counts(database: Database) -> None:
    heard = Alerts()
    async with noted_run(database, run_of("one"), heard, now) as ends_with:
        ends_with(1)
    await start(database, heard, run_of("two"))
    assert "exit code 1" in heard.told[0].message


async def test_a_database_that_cannot_note_the_end_does_not_hold_the_stop(
    database: Database,
) -> None:
    async with noted_run(database, run_of("one"), Alerts(), now), database.begin() as conn:
        await conn.execute(text("ALTER TABLE daemon_runs RENAME TO gone"))


async def test_a_start_that_cannot_be_noted_is_a_start(database: Database) -> None:
    async with database.begin() as conn:
        await conn.execute(text("ALTER TABLE daemon_runs RENAME TO gone"))
    async with noted_run(database, run_of("one"), Alerts(), now) as ends_with:
        ends_with(0)


async def test_a_crash_loop_is_one_alert(database: Database, gone: str) -> None:
    outbox = Outbox(
        database, [], Origin(host="h", instance="i"), dedupe=timedelta(minutes=15), clock=now
    )
    for number in range(3):
        await killed(database, run_of(f"killed {number}", gone))
        async with noted_run(database, run_of(f"next {number}"), outbox, now):
            await asyncio.sleep(0)
    async with database.begin() as conn:
        rows = (await conn.execute(text("SELECT occurrences, resolved_at FROM alerts"))).all()
    ((occurrences, resolved_at),) = rows
    assert occurrences >= 3
    assert resolved_at is not None


def test_the_name_of_a_process() -> None:
    assert is_alive(process_name())
    assert process_name(os.getpid()) == process_name()
    boot, number, _ = process_name().split(":")
    assert not is_alive(f"{boot}:{number}:1")
    assert not is_alive(f"{boot}:4194305:1")
    assert not is_alive("nonsense")
