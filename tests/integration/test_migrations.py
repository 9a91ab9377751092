"""The schema goes up and down on a filled database and is what the tables say."""

import asyncio

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from daemon.postgres import schema
from daemon.postgres.schema import Status
from jobs.core.errors import Unavailable
from jobs.store.tables import metadata

FILL = (
    "INSERT INTO candles SELECT 'KRW-BTC', 1, ts, 1, 2, 1, 2, 3, 4"
    " FROM generate_series(now() - interval '2 h', now(), '1 min') AS ts",
    "INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)"
    " VALUES ('KRW-BTC', now(), 1, 1, 1, 0)",
    "INSERT INTO llm_calls (model, prompt_hash, prompt, outcome, day)"
    " VALUES ('m', 'h', 'p', 'ok', current_date)",
    "INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model,"
    " candle_ts) SELECT id, market, 'buy', 0.7, 'r', 'rules', 'm', ts FROM market_data",
    "INSERT INTO orders (mode, identifier, purpose, market, side, ord_type, signal_id)"
    " SELECT 'paper', 'i1', 'entry', market, 'bid', 'limit', id FROM signals",
    "INSERT INTO order_events (order_id, kind) SELECT id, 'intent' FROM orders",
    "INSERT INTO fills (order_id, uuid, price, volume, funds, fee, ts)"
    " SELECT id, 'f1', 1, 1, 1, 0, now() FROM orders",
    "INSERT INTO settings (key, value) VALUES ('halted', 'true')",
    "INSERT INTO job_runs (job, scheduled_at, run_id) VALUES ('market', now(), 'r')",
    "INSERT INTO alerts (incident, kind, severity, body) VALUES ('i', 'k', 'info', '{}')",
    "INSERT INTO alert_deliveries (alert_id, hook) SELECT id, 'h' FROM alerts",
)


COLUMNS = {
    "candles": "(market, unit, ts, open, close)::text",
    "market_data": "(id, market, ts, price)::text",
    "llm_calls": "(id, model, prompt, outcome, day)::text",
    "signals": "(id, market_data_id, market, action, reason, candle_ts, status)::text",
    "orders": "(id, mode, identifier, signal_id, state, created_at)::text",
    "order_events": "(id, order_id, kind)::text",
    "fills": "(id, order_id, uuid, price, ts)::text",
    "settings": "(key, value)::text",
    "settings_audit": "(id, key, old, new)::text",
    "job_runs": "(job, scheduled_at, run_id)::text",
    "alerts": "(id, incident, kind)::text",
    "alert_deliveries": "(alert_id, hook)::text",
}


def fill(url: str) -> None:
    """Put a row into every kind of table, unless there are some."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT count(*) FROM orders").fetchone() == (0,):
            for statement in FILL:
                connection.execute(statement)


def content(url: str) -> dict[str, list[str]]:
    """Every row of every table as text, as far as the first revision knows its columns."""
    with psycopg.connect(url) as connection:
        return {
            name: [row for (row,) in connection.execute(f"SELECT {expression} FROM {name}")]  # noqa: S608
            for name, expression in COLUMNS.items()
        }


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in found}


def test_an_empty_database_has_every_revision_before_it(empty_dsn: str) -> None:
    status = schema.status(empty_dsn)
    assert status.current is None
    assert status.pending[0] == "0001"
    assert status.pending[-1] == status.head
    assert not status.at_head


def test_upgrade_reaches_head_and_makes_every_table(empty_dsn: str) -> None:
    schema.upgrade(empty_dsn)
    status = schema.status(empty_dsn)
    assert status == Status(current=status.head, head=status.head, pending=())
    assert status.at_head
    assert set(metadata.tables) <= tables(empty_dsn)


def test_upgrade_twice_changes_nothing(dsn: str) -> None:
    fill(dsn)
    schema.upgrade(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM candles").fetchone() == (121,)


def test_each_revision_goes_up_down_and_up_on_a_filled_database(empty_dsn: str) -> None:
    revisions = schema.status(empty_dsn).pending
    schema.upgrade(empty_dsn)
    for below in reversed(("base", *revisions[:-1])):
        fill(empty_dsn)
        before = content(empty_dsn)
        schema.downgrade(empty_dsn, below)
        assert schema.status(empty_dsn).current == (None if below == "base" else below)
        schema.upgrade(empty_dsn)
        assert schema.status(empty_dsn).at_head
        assert below == "base" or content(empty_dsn) == before


def test_the_way_down_leaves_nothing_behind(dsn: str) -> None:
    fill(dsn)
    schema.downgrade(dsn, "base")
    assert tables(dsn) == {"alembic_version"}
    with psycopg.connect(dsn) as connection:
        left = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        assert left.fetchall() == []


def differences(url: str) -> list[object]:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool
    )
    options = {
        "include_name": lambda name, kind, _: (
            kind != "table" or not name.startswith(("candles_", "alembic_"))
        ),
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))


def test_the_tables_in_code_are_those_of_the_database(dsn: str) -> None:
    assert differences(dsn) == []


@pytest.mark.parametrize(
    "planted",
    [
        "DROP INDEX fills_ts",
        "ALTER TABLE gates ADD COLUMN extra text",
        "ALTER TABLE orders ALTER COLUMN price SET NOT NULL",
        "ALTER TABLE orders ALTER COLUMN epoch TYPE integer",
        "ALTER TABLE alerts ALTER COLUMN occurrences SET DEFAULT 2",
    ],
)
def test_a_planted_difference_is_seen(dsn: str, planted: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(planted.encode())
    assert len(differences(dsn)) == 1


async def test_two_migrators_at_once_do_not_collide(empty_dsn: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(schema.upgrade, empty_dsn) for _ in range(3)))
    assert schema.status(empty_dsn).at_head


def test_a_revision_from_a_newer_program_is_not_head(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    status = schema.status(dsn)
    assert (status.current, status.pending, status.at_head) == ("9999", (), False)
    assert status.is_newer
    for move in (schema.upgrade, lambda url: schema.downgrade(url, "0001")):
        with pytest.raises(schema.NewerSchema, match=r"9999, which is newer.*restore` a back-up"):
            move(dsn)  # Alembic's own words were a traceback: "Can't locate revision" (fault I6)


def test_no_server_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        schema.status("postgresql://nobody:hidden@127.0.0.1:1/x")


def test_a_change_of_a_setting_by_hand_is_stamped_and_audited(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO settings (key, value, updated_by) VALUES ('cooldown_s', '1', 'somebody')"
        )
        connection.execute("UPDATE settings SET value = '2'")
        connection.execute("DELETE FROM settings")
        audit = connection.execute("SELECT old, new, changed_by FROM settings_audit ORDER BY id")
        assert audit.fetchall() == [
            (None, 1, "somebody"),
            (1, 2, "postgres"),
            (2, None, "postgres"),
        ]
