"""A migration may be killed at any statement and run again; one of an older release keeps all."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from fixtures.postgres import copied

from daemon.postgres import schema
from daemon.postgres.server import EmbeddedPostgres
from jobs.core.errors import Unavailable

# killed by itself: before the statement, or when the server has run it and nothing is committed
KILLED = """
import os, signal, sys
from daemon.postgres import schema
left = int(sys.argv[2])
def watch(step):
    if step.number == left:
        os.kill(os.getpid(), signal.SIGKILL)
schema.upgrade(sys.argv[1], watch)
"""
TABLES = ("candles", "market_data", "signals", "orders", "order_events", "fills", "job_runs")


def counts(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        found = {}
        for table in TABLES:
            row = connection.execute(f"SELECT count(*) FROM public.{table}".encode()).fetchone()  # noqa: S608
            assert row is not None
            found[table] = row[0]
        return found


def shape(url: str) -> list[tuple[object, ...]]:
    """Every index with its definition and whether it is whole, and every trigger."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid),"
            " indisvalid AND indisready FROM pg_index"
            " JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE relnamespace = 'public'::regnamespace AND relname !~ '^candles_2'"
            " UNION ALL SELECT tgname, pg_get_triggerdef(oid), true FROM pg_trigger"
            " WHERE NOT tgisinternal ORDER BY 1, 2"
        ).fetchall()


def test_the_newest_schema_reached_from_the_first_release_keeps_every_row(
    postgres: EmbeddedPostgres, first_release: str, dsn: str
) -> None:
    with copied(postgres, first_release) as url:
        assert schema.status(url).current == "0001"
        before = counts(url)
        assert all(before.values()), "the dump is filled"
        schema.upgrade(url)
        assert counts(url) == before
        assert shape(url) == shape(dsn)


def statements(postgres: EmbeddedPostgres, first_release: str) -> int:
    seen: list[schema.Step] = []
    with copied(postgres, first_release) as url:
        schema.upgrade(url, seen.append)
    return seen[-1].number


def test_killed_at_every_statement_and_run_again_it_ends_whole(
    postgres: EmbeddedPostgres, first_release: str, dsn: str
) -> None:
    total = statements(postgres, first_release)
    assert total > 10
    want = shape(dsn)
    killed = 0
    for number in range(1, total + 1):
        with copied(postgres, first_release) as url:
            before = counts(url)
            ended = subprocess.run(
                [sys.executable, "-c", KILLED, url, str(number)], check=False, capture_output=True
            )
            assert ended.returncode == -9, ended.stderr
            killed += 1
            schema.upgrade(url)
            assert schema.status(url).at_head
            assert shape(url) == want
            assert counts(url) == before
    print(f"killed at {killed} of {total} statements, whole again each time")  # noqa: T201


def test_an_index_left_half_built_is_built_anew(
    postgres: EmbeddedPostgres, first_release: str, dsn: str
) -> None:
    with (
        ThreadPoolExecutor(1) as threads,
        copied(postgres, first_release) as url,
        psycopg.connect(url) as holder,
    ):
        holder.execute("INSERT INTO job_runs (job, scheduled_at, run_id) VALUES ('x', now(), 'x')")
        building = threading.Event()

        def migrate() -> None:
            def watch(step: schema.Step) -> None:
                if step.statement.startswith("CREATE INDEX CONCURRENTLY"):
                    building.set()

            schema.upgrade(url, watch)

        cut_off = threads.submit(migrate)
        assert building.wait(60)
        with psycopg.connect(url, autocommit=True) as other:
            while not _invalid(other):  # it stands, and waits for the holder to end
                pass
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s",
                (schema.APPLICATION_NAME,),
            )
            with pytest.raises(Unavailable):
                cut_off.result(60)
            assert _invalid(other)
            holder.rollback()
            schema.upgrade(url)
            assert not _invalid(other)
        assert shape(url) == shape(dsn)


def _invalid(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid").fetchall()
