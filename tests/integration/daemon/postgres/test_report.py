"""`upbitd doctor --database` on a database with everything the matter with it."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import doctor
from daemon.postgres.pool import PoolOptions, open_database
from daemon.postgres.report import report

ROWS = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
SELECT 'KRW-BTC', now() - n * interval '1 s', 1, 1, 1, 0 FROM generate_series(1, 60000) AS n;
CREATE TABLE scanned AS SELECT n FROM generate_series(1, 20000) AS n;
CREATE INDEX never_used ON market_data (price, volume_24h, value_24h, change_rate);
DELETE FROM market_data WHERE id % 2 = 0;
DROP INDEX fills_ts;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SELECT pg_sleep(0.01), 'a secret value';
"""


@pytest.fixture
def troubled(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ROWS.encode())
        for _ in range(12):
            connection.execute("SELECT count(*) FROM scanned").fetchone()
        connection.execute("INSERT INTO candles SELECT 'K', 1, now(), 1, 1, 1, 1, 1, 1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY half ON market_data (market)")
        connection.execute("ANALYZE")
        connection.execute("SELECT pg_stat_force_next_flush()")
    return dsn


def run(tmp_path: Path, url: str, *arguments: str) -> Result:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{url}'\n")
    app = typer.Typer()
    doctor.register(app)
    options = ["--database", *arguments, "--config", str(path)]
    return CliRunner().invoke(app, options, catch_exceptions=False)


def test_each_trouble_is_named_with_its_mend(tmp_path: Path, troubled: str) -> None:
    found = run(tmp_path, troubled, "--json")
    assert found.exit_code == 1
    told: dict[str, Any] = json.loads(found.stdout)
    assert told["missing"] == ["fills_ts"]
    assert [each["name"] for each in told["invalid"]] == ["half"]
    assert "never_used" in [each["name"] for each in told["unused"]]
    assert [each["name"] for each in told["scanned"]] == ["scanned"]
    assert told["bloated"][0]["name"] == "market_data"
    assert 0.3 < told["bloated"][0]["share"] < 0.6
    sizes = {each["name"]: each for each in told["sizes"]}
    assert sizes["market_data"]["bytes"] > sizes["market_data"]["index_bytes"] > 0
    assert not any(name.startswith("candles_") for name in sizes), "partitions count as one"
    slept = next(each for each in told["statements"] if "pg_sleep" in each["statement"])
    assert slept["mean_ms"] > 5
    assert "secret" not in found.stdout
    shown = run(tmp_path, troubled)
    for words in ("Broken indexes", "Missing indexes: fills_ts", "REINDEX", "VACUUM"):
        assert words in shown.stdout


def test_a_database_that_is_well_is_called_so(tmp_path: Path, dsn: str) -> None:
    found = run(tmp_path, dsn)
    assert found.exit_code == 0, found.stdout
    assert "nothing has to be mended" in found.stdout
    assert "CREATE EXTENSION pg_stat_statements" in found.stdout


async def test_a_transaction_that_stays_open_is_named(dsn: str) -> None:
    with psycopg.connect(dsn, application_name="forgetful") as idle:
        idle.execute("SELECT 1")
        async with open_database(dsn, PoolOptions(pool_min=1, pool_max=2)) as database:
            found = await report(database, long_s=0.0)
    assert [(each.application, each.state) for each in found.transactions] == [
        ("forgetful", "idle in transaction")
    ]
    assert not found.is_good


async def test_a_role_that_may_not_look_is_told(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("DROP ROLE IF EXISTS humble")
        connection.execute("CREATE ROLE humble LOGIN")
        connection.execute("REVOKE SELECT ON pg_stat_statements FROM PUBLIC")
    url = dsn.replace("postgres@", "humble@")
    try:
        async with open_database(url, PoolOptions(pool_min=1, pool_max=2)) as database:
            found = await report(database)
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("DROP ROLE humble")
    assert found.statements is None
    assert "pg_read_all_stats" in found.notes[0]
