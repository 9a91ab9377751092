"""Every session is the same: whatever a role, a server, a pooler or the environment would have."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from fixtures.pooler import pgbouncer
from fixtures.postgres import QUICK, open_to_all
from psycopg.sql import SQL, Identifier
from sqlalchemy import text

from daemon.leadership import election
from daemon.leadership.election import Claim, leading
from daemon.postgres import schema
from daemon.postgres.ping import reach
from daemon.postgres.pool import PoolOptions, open_database
from daemon.postgres.server import EmbeddedPostgres, prove_ours
from daemon.postgres.server_paths import EmbeddedError
from daemon.scheduling.job_controls import Controls
from jobs.cache.listener import listen
from jobs.core.errors import Permanent, Unavailable
from jobs.store import connecting
from jobs.store.connecting import ReadOnlyServer, connect, connect_blocking, ping
from jobs.store.db import Database
from jobs.store.poolers import refuse_shared_sessions

if TYPE_CHECKING:
    from loguru import Record

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PINNED = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
}
ODD = {
    "client_encoding": "EUC_KR",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Seoul",
}
SMALL = PoolOptions(pool_min=2, pool_max=4, acquire_timeout_s=5.0, start_timeout_s=3.0)
ASKED = "SELECT '2026-03-04 05:06:07+00'::timestamptz, interval '-1 day 2 hours', '비트'"
ANSWER = (AT, timedelta(hours=-22), "비트")
Raw = psycopg.AsyncConnection


def admin(url: str) -> psycopg.Connection:
    options = "-c default_transaction_read_only=off"
    return psycopg.connect(url, autocommit=True, options=options)


def set_for_all(url: str, values: dict[str, str]) -> None:
    """Let every new session of the database begin with these values."""
    with admin(url) as connection:
        name = Identifier(connection.info.dbname)
        for key, value in values.items():
            connection.execute(
                SQL("ALTER DATABASE {} SET {} = {}").format(name, Identifier(key), value)
            )


@pytest.fixture
def odd_dsn(dsn: str) -> str:
    set_for_all(dsn, ODD)
    return dsn


async def shown(connection: Raw) -> dict[str, str]:
    found = {}
    for name in PINNED:
        row = await (await connection.execute(SQL("SHOW {}").format(Identifier(name)))).fetchone()
        assert row is not None
        found[name] = row[0]
    return found


async def test_roles_and_databases_change_nothing_in_a_session(odd_dsn: str) -> None:
    async with open_database(odd_dsn, SMALL) as database, database.connection() as pooled:
        assert await shown(pooled) == PINNED
        assert await (await pooled.execute(ASKED)).fetchone() == ANSWER
    async with await connect(odd_dsn) as single:
        assert await shown(single) == PINNED
        assert single.autocommit
    with connect_blocking(odd_dsn) as blocking:
        assert blocking.execute(ASKED).fetchone() == ANSWER
        assert not blocking.autocommit
        blocking.rollback()
        assert blocking.execute("SHOW TimeZone").fetchone() == ("UTC",)
    assert schema.status(odd_dsn).at_head


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGCLIENTENCODING", "EUC_KR"),
        ("PGDATESTYLE", "SQL, DMY"),
        ("PGTZ", "Asia/Seoul"),
        ("PGOPTIONS", "-c IntervalStyle=iso_8601"),
        ("PGPORT", "1"),
        ("PGHOST", "127.0.0.1"),
        ("PGDATABASE", "none"),
        ("PGUSER", "none"),
    ],
)
async def test_variables_of_libpq_change_neither_server_nor_session(
    dsn: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    async with await connect(dsn) as single:
        assert await shown(single) == PINNED
    async with open_database(dsn, SMALL) as database, database.connection() as pooled:
        assert await shown(pooled) == PINNED
    await reach(dsn)
    assert schema.status(dsn).at_head


def test_our_own_server_drops_the_variables_and_proves_itself(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, log_records: "list[Record]"
) -> None:
    for name in ("PGSERVICE", "PGHOSTADDR", "PGOPTIONS"):
        monkeypatch.setenv(name, "nowhere")
    with open_to_all() as folder, EmbeddedPostgres(folder / "pg", settings=QUICK) as own:
        (said,) = [r for r in log_records if r["extra"].get("event") == "database.environment"]
        assert said["extra"]["variables"] == ["PGHOSTADDR", "PGOPTIONS", "PGSERVICE"]
        with psycopg.connect(own.url) as connection:
            prove_ours(connection, folder / "pg" / "data")
        not_ours = pytest.raises(EmbeddedError, match="does not run on")
        with psycopg.connect(postgres.url) as other, not_ours:
            prove_ours(other, folder / "pg" / "data")


def test_a_network_connection_in_place_of_a_socket_is_refused(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**QUICK, "listen_addresses": "127.0.0.1"}
    with EmbeddedPostgres(open_directory / "pg", settings=settings) as server:
        try:
            over_network = psycopg.connect(server.url, hostaddr="127.0.0.1")
        except psycopg.OperationalError:
            pytest.skip("port 5432 of loopback is another's")
        with over_network, pytest.raises(Permanent, match="over the network instead of"):
            connecting.check(over_network, server.url)


@pytest.fixture
def ascii_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    with admin(postgres.url) as connection:
        connection.execute(
            "CREATE DATABASE odd_encoding ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
            " TEMPLATE template0"
        )
        try:
            yield postgres.url.replace("/postgres?", "/odd_encoding?")
        finally:
            connection.execute("DROP DATABASE odd_encoding WITH (FORCE)")


async def _open(url: str) -> None:
    async with open_database(url, SMALL):
        raise AssertionError("it was taken")


async def _status(url: str) -> None:
    await asyncio.to_thread(schema.status, url)


async def _upgrade(url: str) -> None:
    await asyncio.to_thread(schema.upgrade, url)


async def _lead(url: str) -> None:
    async with leading(Claim(dsn=url, account="a", holder="h"), wait=False):
        raise AssertionError("it was taken")


@pytest.mark.parametrize("way", [_open, _status, _upgrade, _lead, connect, reach])
async def test_a_database_that_does_not_hold_every_text_is_refused_by_name(
    ascii_dsn: str, way: Callable[[str], Awaitable[object]]
) -> None:
    with pytest.raises(Permanent, match="odd_encoding has the encoding SQL_ASCII"):
        await way(ascii_dsn)


# --- a server that takes no writes for a while


def read_only(url: str, *, on: bool) -> None:
    set_for_all(url, {"default_transaction_read_only": "on" if on else "off"})


async def write(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("UPDATE settings SET updated_by = 'x'"))


async def write_raw(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE settings SET updated_by = 'x'")


@pytest.mark.parametrize("writes", [write, write_raw])
async def test_sessions_from_before_a_failover_are_given_up(
    dsn: str, writes: Callable[[Database], Awaitable[None]]
) -> None:
    read_only(dsn, on=True)
    async with open_database(dsn, SMALL) as database:
        with pytest.raises(Unavailable, match="25006"):
            await writes(database)
        read_only(dsn, on=False)  # for new sessions only, as after a failover
        for _ in range(SMALL.pool_max + 1):
            try:
                await writes(database)
                break
            except Unavailable:
                continue
        for _ in range(SMALL.pool_max + 1):  # none of the old ones is left
            await writes(database)
        assert database.pool_stats().busy == 0


async def test_a_session_that_reports_its_servers_end_is_given_up(database: Database) -> None:
    """As a pooler passes it on: the error comes, and the connection stays open."""
    raise_it = "DO $$ BEGIN RAISE EXCEPTION 'gone' USING ERRCODE = '57P01'; END $$"
    seen: list[int] = []

    async def fail() -> None:
        async with database.connection() as connection:
            seen.append(connection.info.backend_pid)
            await connection.execute(raise_it)

    with pytest.raises(Unavailable):
        await fail()
    for _ in range(12):
        async with database.connection() as connection:
            assert connection.info.backend_pid not in seen


async def test_a_ping_tells_a_server_that_takes_no_writes(dsn: str) -> None:
    async with await connect(dsn) as connection:
        await ping(connection)
        await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(ReadOnlyServer):
            await ping(connection)


class Ear:
    def __init__(self) -> None:
        self.is_deaf, self.hears_again = asyncio.Event(), asyncio.Event()

    def invalidate(self) -> None: ...

    def deafen(self) -> None:
        self.is_deaf.set()

    def hear(self) -> None:
        if self.is_deaf.is_set():
            self.hears_again.set()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jobs.cache.listener", "daemon.scheduling.job_controls"):
        monkeypatch.setattr(f"{module}.PING_EVERY_S", 0.05)
        monkeypatch.setattr(f"{module}.RECONNECT_S", 0.05)


async def test_a_listener_leaves_a_server_that_takes_no_writes(dsn: str, hasty: None) -> None:
    read_only(dsn, on=True)
    ear = Ear()
    listening = asyncio.create_task(listen(dsn, {"settings_changed": ear}))
    async with asyncio.timeout(60):
        await ear.is_deaf.wait()
        read_only(dsn, on=False)
        await ear.hears_again.wait()
    listening.cancel()


async def test_the_listener_for_controls_does_as_well(
    dsn: str, database: Database, hasty: None, log_records: "list[Record]"
) -> None:
    read_only(dsn, on=True)
    lost = asyncio.Event()

    async def wait_a_moment(seconds: float) -> None:
        lost.set()
        await asyncio.sleep(seconds)

    listening = asyncio.create_task(Controls(database, dsn).listen(sleep=wait_a_moment))
    async with asyncio.timeout(60):
        await lost.wait()
    listening.cancel()
    assert any(r["extra"].get("error_type") == "ReadOnlyServer" for r in log_records)


async def test_nobody_leads_on_a_server_that_takes_no_writes(dsn: str) -> None:
    read_only(dsn, on=True)
    with pytest.raises(Unavailable):
        await _lead(dsn)
    read_only(dsn, on=False)
    async with leading(Claim(dsn=dsn, account="a", holder="h"), wait=False) as leadership:
        assert leadership.holds()
        await leadership._session.execute("SET default_transaction_read_only = on")
        await leadership.lost()
        assert not leadership.holds()


# --- poolers


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("round_robin", [0, 1])
async def test_a_pooler_that_shares_sessions_is_refused(
    dsn: str, open_directory: Path, mode: str, round_robin: int
) -> None:
    with pgbouncer(dsn, open_directory, mode, round_robin=round_robin) as url:
        async with AsyncExitStack() as stack:  # several idle sessions behind it
            for each in [await connect(url) for _ in range(3)]:
                await stack.enter_async_context(each)
        with pytest.raises(Permanent, match="pooler in transaction mode"):
            await _open(url)


async def test_a_pooler_that_keeps_sessions_is_taken(dsn: str, open_directory: Path) -> None:
    with pgbouncer(dsn, open_directory, "session") as url:
        async with open_database(url, replace(SMALL, pool_min=1)) as database:
            await write(database)


async def test_a_server_without_a_pooler_is_asked_one_question(dsn: str) -> None:
    async with await connect(dsn) as connection:
        await refuse_shared_sessions(connection, "postgresql://nobody@127.0.0.1:1/none")


# --- who holds a lock


@pytest.fixture
async def reader(dsn: str) -> AsyncIterator[Raw]:
    """Somebody who looked at a table, and went to lunch."""
    async with await Raw.connect(dsn, application_name="psql of Kim") as connection:
        await connection.execute("SELECT count(*) FROM settings")
        yield connection


async def test_a_migration_gives_up_and_names_who_is_in_its_way(dsn: str, reader: Raw) -> None:
    async with await connect(dsn) as orders:
        down = asyncio.create_task(asyncio.to_thread(schema.downgrade, dsn, "base", patience_s=4.0))
        while not down.done():
            async with asyncio.timeout(30):  # is not held up for as long as the migration waits
                await orders.execute("SELECT count(*) FROM settings")
            await asyncio.sleep(0.01)
    with pytest.raises(Unavailable) as failed:
        await down
    said = str(failed.value)
    assert "others hold: process" in said
    assert f"{reader.info.backend_pid} (psql of Kim, role postgres, idle in transaction" in said
    assert f"pg_terminate_backend({reader.info.backend_pid})" in said


async def test_a_migration_goes_on_when_the_table_comes_free(dsn: str, reader: Raw) -> None:
    down = asyncio.create_task(asyncio.to_thread(schema.downgrade, dsn, "base", patience_s=60.0))
    async with await connect(dsn) as looking:
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while True:
            row = await (await looking.execute(waits)).fetchone()
            if row is not None and row[0]:
                break
    await reader.rollback()
    await down
    await asyncio.to_thread(schema.upgrade, dsn)
    assert schema.status(dsn).at_head


async def test_a_second_migration_names_the_first(dsn: str) -> None:
    async with await connect(dsn, application_name="upbitd-migrate") as first:
        pid = first.info.backend_pid
        await first.execute("SELECT pg_advisory_lock(%s)", (schema.MIGRATION_LOCK,))
        with pytest.raises(Unavailable) as failed:
            await asyncio.to_thread(schema.upgrade, dsn, patience_s=0.2)
    said = str(failed.value)
    assert f"another migration holds the lock: process {pid} " in said


async def test_a_second_leader_is_told_who_leads(dsn: str) -> None:
    one = Claim(dsn=dsn, account="a", holder="h")
    async with leading(one, wait=False) as leadership:
        pid = leadership._session.info.backend_pid
        with pytest.raises(election.NotLeader, match=rf"process {pid} \(upbitd {one.session}"):
            await _lead(dsn)


async def test_a_lock_that_nobody_renews_is_taken_whoever_holds_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pooler leaves behind: a session without a client, under a name of its own."""
    monkeypatch.setattr(election, "TAKE_OVER_AFTER_S", 0.3)
    monkeypatch.setattr(election, "TRY_EVERY_S", 0.02)
    claim = Claim(dsn=dsn, account="a", holder="h")
    async with leading(claim, wait=False):
        pass
    async with await connect(dsn, application_name="left behind") as orphan:
        await orphan.execute("SELECT pg_advisory_lock(%s)", (claim.key,))
        async with asyncio.timeout(60), leading(claim, wait=True) as leadership:
            assert leadership.epoch == 2
        with pytest.raises(psycopg.OperationalError):
            await orphan.execute("SELECT 1")
