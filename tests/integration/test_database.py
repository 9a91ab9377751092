"""The pool on a real Postgres: warm, bounded, honest when the server is away, and back alone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import text

from daemon.postgres.pool import RECONNECT_S, PoolOptions, open_database, without_password
from daemon.postgres.server import EmbeddedPostgres
from jobs.core.errors import Permanent, Transient, Unavailable
from jobs.store.db import Database, PoolExhausted

if TYPE_CHECKING:
    from loguru import Record

SMALL = PoolOptions(pool_min=1, pool_max=2, acquire_timeout_s=0.3, max_waiting=1)


@pytest.fixture
async def small(dsn: str) -> AsyncIterator[Database]:
    async with open_database(dsn, SMALL) as database:
        yield database


@pytest.fixture
def own_server(open_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server that a test may hurt."""
    settings = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "8"}
    with EmbeddedPostgres(open_directory / "pg", settings=settings) as server:
        yield server


async def test_the_pool_is_warm_when_it_is_handed_out(dsn: str) -> None:
    async with open_database(dsn) as database:
        stats = database.pool_stats()
    assert (stats.size, stats.available, stats.max) == (10, 10, 20)
    assert (stats.busy, stats.waiting, stats.exhausted) == (0, 0, 0)


async def test_sessions_are_set_up_as_promised(dsn: str) -> None:
    options = replace(SMALL, statement_timeout_s=1.5, application_name="a test")
    async with open_database(dsn, options) as database, database.begin() as connection:
        expected = {
            "transaction_isolation": "read committed",
            "timezone": "UTC",
            "statement_timeout": "1500ms",
            "application_name": "a test",
        }
        for name, value in expected.items():
            assert (await connection.execute(text(f"SHOW {name}"))).scalar_one() == value


async def test_another_isolation_can_be_chosen(dsn: str) -> None:
    options = replace(SMALL, isolation="repeatable read")
    async with open_database(dsn, options) as database, database.begin() as connection:
        shown = await connection.execute(text("SHOW transaction_isolation"))
        assert shown.scalar_one() == "repeatable read"


async def test_a_transaction_is_kept_or_undone_whole(small: Database) -> None:
    insert = text("INSERT INTO gates VALUES ('g', now(), 's', 'r')")

    async def fail() -> None:
        async with small.begin() as connection:
            await connection.execute(insert)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    count = text("SELECT count(*) FROM gates")
    async with small.begin() as connection:
        assert (await connection.execute(count)).scalar_one() == 0
        await connection.execute(insert)
    async with small.begin() as connection:
        assert (await connection.execute(count)).scalar_one() == 1


async def test_both_kinds_of_connection_share_the_same_few_sessions(small: Database) -> None:
    pids = set()
    for _ in range(10):
        async with small.connection() as raw:
            assert raw.autocommit
            row = await (await raw.execute("SELECT pg_backend_pid()")).fetchone()
            assert row is not None
            pids.add(row[0])
        async with small.begin() as connection:
            pids.add((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
    assert len(pids) == 1
    assert small.pool_stats().busy == 0


async def test_thirty_tasks_share_twenty_connections(dsn: str) -> None:
    async with open_database(dsn) as database:

        async def work() -> None:
            async with database.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(0.01)"))

        await asyncio.gather(*(work() for _ in range(30)))
        stats = database.pool_stats()
    assert (stats.busy, stats.exhausted) == (0, 0)
    assert stats.size <= 20


async def test_a_pool_in_full_use_says_so_and_counts(small: Database) -> None:
    async with small.begin(), small.connection():
        with pytest.raises(PoolExhausted, match="all 2 database connections are in use"):
            async with small.begin():
                pass
        with pytest.raises(PoolExhausted):
            async with small.connection():
                pass
        assert small.pool_stats().exhausted == 2
    async with small.begin():
        pass


async def test_a_queue_that_is_full_refuses_at_once(dsn: str) -> None:
    async with open_database(dsn, replace(SMALL, acquire_timeout_s=60.0)) as database:

        async def use() -> None:
            async with database.begin():
                pass

        async with database.begin(), database.begin():
            waiting = asyncio.ensure_future(use())
            while not database.pool_stats().waiting:  # noqa: ASYNC110 (the pool has no event)
                await asyncio.sleep(0)
            with pytest.raises(PoolExhausted, match="waiting"):
                await use()
        await waiting


async def test_a_cancelled_statement_gives_its_connection_back(small: Database) -> None:
    async def work() -> None:
        async with small.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))

    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    for _ in range(5):  # more often than there are connections
        task = asyncio.ensure_future(work())
        async with small.connection() as raw:
            while await (await raw.execute(sleeping)).fetchone() == (0,):
                pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with small.begin(), small.begin():
        assert small.pool_stats().busy == 2
    assert small.pool_stats().busy == 0


async def test_a_session_ended_by_the_server_is_unavailable_and_replaced(small: Database) -> None:
    async def end_in_transaction() -> None:
        async with small.begin() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async def end_in_raw() -> None:
        async with small.connection() as raw:
            await raw.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async with asyncio.timeout(60):
        for end in (end_in_transaction, end_in_raw) * 3:  # more often than there are connections
            with pytest.raises(Unavailable, match="does not answer"):
                await end()
            await _first_success(small)
    assert small.pool_stats().busy == 0


@pytest.mark.parametrize("reconnect_s", [RECONNECT_S, 0.01])
async def test_a_server_that_went_away_is_unavailable_and_found_again(
    own_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, reconnect_s: float
) -> None:
    monkeypatch.setattr("daemon.postgres.pool.RECONNECT_S", reconnect_s)
    options = replace(SMALL, acquire_timeout_s=0.2)
    async with open_database(own_server.url, options) as database:
        own_server.stop()
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                async with database.begin() as connection:
                    await connection.execute(text("SELECT 1"))
            assert not isinstance(caught.value, PoolExhausted)
        with pytest.raises(Unavailable):
            async with database.connection() as raw:
                await raw.execute("SELECT 1")
        own_server.start()
        async with asyncio.timeout(30):
            await _first_success(database)


async def test_a_connection_closed_by_its_user_is_counted_back_once(dsn: str) -> None:
    patient = replace(SMALL, acquire_timeout_s=30.0)  # a new connection takes a slow machine long
    async with open_database(dsn, patient) as database:
        for _ in range(3):
            async with database.connection() as raw:
                await raw.close()
        assert database.pool_stats().busy == 0
        async with database.begin(), database.begin():
            pass


async def _first_success(database: Database) -> None:
    while True:
        try:
            async with database.begin() as connection:
                await connection.execute(text("SELECT 1"))
        except Unavailable:
            await asyncio.sleep(0.01)
        else:
            return


async def test_a_statement_over_its_time_asks_to_be_tried_again(dsn: str) -> None:
    async with open_database(dsn, replace(SMALL, statement_timeout_s=0.02)) as database:
        with pytest.raises(Transient, match="try again") as caught:
            async with database.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))
        assert not isinstance(caught.value, Unavailable)
        assert caught.value.context["sqlstate"] == "57014"


async def test_no_server_in_time_is_unavailable_without_the_password() -> None:
    options = replace(SMALL, start_timeout_s=0.0)
    url = "postgresql://me:hunter2@127.0.0.1:1/db"
    with pytest.raises(Unavailable, match=r"postgresql://me@127.0.0.1:1/db") as caught:
        async with open_database(url, options):
            pass
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


async def test_a_database_that_does_not_exist_is_told_with_the_cause(dsn: str) -> None:
    url = dsn.replace("/test", "/no_such_test")
    with pytest.raises(Unavailable, match=r"no_such_test.* does not exist"):
        async with open_database(url, replace(SMALL, start_timeout_s=0.0)):
            pass


async def test_a_server_that_is_late_is_waited_for(own_server: EmbeddedPostgres) -> None:
    own_server.stop()
    opening = asyncio.ensure_future(_open_and_ask(own_server.url))
    await asyncio.sleep(0)
    own_server.start()
    assert await opening == 1


async def _open_and_ask(url: str) -> object:
    async with open_database(url, SMALL) as database, database.begin() as connection:
        return (await connection.execute(text("SELECT 1"))).scalar_one()


async def test_a_server_with_too_few_connections_is_told_with_the_mend(
    own_server: EmbeddedPostgres,
) -> None:
    options = PoolOptions(pool_min=20, start_timeout_s=0.3)
    with pytest.raises(Unavailable, match=r"lower database.pool_min"):
        async with open_database(own_server.url, options):
            pass


async def test_an_address_that_is_none_is_permanent_and_stays_unsaid() -> None:
    with pytest.raises(Permanent) as caught:
        async with open_database("postgres//me:hunter2@x"):
            pass
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:1/d?sslmode=require", "postgresql://u@h:1/d"),
        ("postgresql:///d?password=secret", "postgresql://localhost/d"),
        ("host=/run/pg dbname=d password=secret", "postgresql:///run/pg/d"),
        ("postgresql://hostaddr/", "postgresql://hostaddr/"),
        ("postgresql://?hostaddr=10.0.0.1", "postgresql://10.0.0.1/"),
    ],
)
def test_addresses_are_shown_without_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


async def test_a_notice_is_told_once_however_often_the_connection_was_used(
    small: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="sqlalchemy.dialects.postgresql"):
        for _ in range(5):
            async with small.begin() as connection:
                await connection.execute(text("DO $$ BEGIN RAISE NOTICE 'hear me'; END $$"))
    assert sum("hear me" in record.getMessage() for record in caplog.records) == 5


async def test_every_way_to_a_slow_statement_is_logged_without_values(
    dsn: str, log_records: "list[Record]"
) -> None:
    async with open_database(dsn, replace(SMALL, slow_query_s=0.0)) as database:
        log_records.clear()
        async with database.begin() as connection:
            await connection.execute(
                text("SELECT :secret ::text, 'literal-secret'"), {"secret": "bound-secret"}
            )
        async with database.connection() as raw:
            cursor = raw.cursor()
            await cursor.executemany("SELECT %s::text", [("many-secret",)])
            async with cursor.copy("COPY gates FROM STDIN") as copy:
                await copy.write_row(("copy-secret", "2026-01-01", "s", "r", "2026-01-01"))
            await raw.execute(psycopg.sql.SQL("SELECT {}").format("composed-secret"))
            await raw.execute(b"SELECT 1")
    extras = [record["extra"] for record in log_records]
    slow = [extra for extra in extras if extra.get("event") == "db.slow_query"]
    statements = [extra["statement"] for extra in slow]
    for statement in ("SELECT ?::text", "COPY gates FROM STDIN", "SELECT ?"):
        assert statement in statements
    assert "secret" not in " ".join(statements).replace(":secret", "")
    assert all(extra["duration_ms"] >= 0 and len(extra["fingerprint"]) == 12 for extra in slow)
    assert next(e["rows"] for e in slow if e["statement"].startswith("COPY")) == 1


async def test_a_quick_statement_is_not_logged(
    small: Database, log_records: "list[Record]"
) -> None:
    async with small.begin() as connection:
        await connection.execute(text("SELECT 1"))
    assert [r for r in log_records if r["extra"].get("event") == "db.slow_query"] == []


async def test_a_connection_that_is_not_given_back_is_told_of_once_with_its_line(
    dsn: str, log_records: "list[Record]"
) -> None:
    async def forgetful(database: Database) -> None:
        async with database.begin() as connection:
            await connection.execute(text("SELECT 1"))
            while not database.pool_stats().held_too_long:  # noqa: ASYNC110 (nobody has an event)
                await asyncio.sleep(0.001)

    options = replace(SMALL, hold_limit_s=0.01)
    async with open_database(dsn, options) as database:
        async with asyncio.timeout(30):
            await forgetful(database)
        assert database.pool_stats().held_too_long == 1
    told = [r["extra"] for r in log_records if r["extra"].get("event") == "db.connection_held"]
    assert len(told) == 1
    assert "forgetful" in told[0]["where"][0]
    assert "test_database.py" in told[0]["where"][0]
    assert told[0]["held_s"] >= 0
