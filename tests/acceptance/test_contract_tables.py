"""The columns, keys and words that other programs may rely on, as the database itself has them."""

from collections.abc import Iterator, Mapping

import psycopg
import pytest
from fixtures.postgres import copied

from daemon.postgres.server import EmbeddedPostgres

TEXT, WHOLE, ID, MONEY = "text", "integer", "bigint", "numeric"
WHEN, JSON, REAL = "timestamp with time zone", "jsonb", "double precision"

TABLES: Mapping[str, Mapping[str, str]] = {
    "candles": {
        "market": TEXT,
        "unit": WHOLE,
        "ts": WHEN,
        "open": MONEY,
        "high": MONEY,
        "low": MONEY,
        "close": MONEY,
        "volume": MONEY,
        "value": MONEY,
    },
    "market_data": {
        "id": ID,
        "market": TEXT,
        "ts": WHEN,
        "price": MONEY,
        "volume_24h": MONEY,
        "value_24h": MONEY,
        "change_rate": MONEY,
    },
    "signals": {
        "id": ID,
        "market_data_id": ID,
        "market": TEXT,
        "action": TEXT,
        "confidence": MONEY,
        "reason": TEXT,
        "model": TEXT,
        "llm_call_id": ID,
        "status": TEXT,
        "created_at": WHEN,
    },
    "llm_calls": {
        "id": ID,
        "model": TEXT,
        "prompt_hash": TEXT,
        "tokens_in": WHOLE,
        "tokens_out": WHOLE,
        "tokens_thought": WHOLE,
        "cost_usd": MONEY,
        "latency_ms": WHOLE,
        "outcome": TEXT,
        "created_at": WHEN,
    },
    "orders": {
        "id": ID,
        "identifier": TEXT,
        "uuid": TEXT,
        "signal_id": ID,
        "market": TEXT,
        "side": TEXT,
        "ord_type": TEXT,
        "price": MONEY,
        "volume": MONEY,
        "state": TEXT,
        "executed_volume": MONEY,
        "executed_funds": MONEY,
        "paid_fee": MONEY,
        "reason": TEXT,
        "created_at": WHEN,
        "updated_at": WHEN,
    },
    "fills": {
        "id": ID,
        "order_id": ID,
        "uuid": TEXT,
        "price": MONEY,
        "volume": MONEY,
        "funds": MONEY,
        "fee": MONEY,
        "ts": WHEN,
    },
    "positions": {
        "market": TEXT,
        "volume": MONEY,
        "avg_price": MONEY,
        "realized_krw": MONEY,
        "opened_at": WHEN,
        "updated_at": WHEN,
    },
    "settings": {"key": TEXT, "value": JSON, "updated_at": WHEN, "updated_by": TEXT},
    "job_runs": {
        "job": TEXT,
        "scheduled_at": WHEN,
        "started_at": WHEN,
        "finished_at": WHEN,
        "outcome": TEXT,
        "reason": TEXT,
        "attempts": WHOLE,
        "duration_s": REAL,
        "error_type": TEXT,
        "error": TEXT,
    },
    "alerts": {
        "id": ID,
        "kind": TEXT,
        "severity": TEXT,
        "body": JSON,
        "occurrences": WHOLE,
        "created_at": WHEN,
        "delivered_at": WHEN,
    },
}
KEYS = {
    "candles": ("market", "unit", "ts"),
    "job_runs": ("job", "scheduled_at"),
    "settings": ("key",),
    **dict.fromkeys(("market_data", "signals", "llm_calls", "orders", "fills", "alerts"), ("id",)),
}
WORDS = [
    ("signals", "action", ("buy", "sell", "hold")),
    ("signals", "status", ("new", "executed", "refused", "expired")),
    ("orders", "side", ("bid", "ask")),
    ("orders", "state", ("intent", "sent", "unknown", "wait", "done", "cancel", "refused")),
    ("alerts", "severity", ("info", "warning", "critical")),
    ("job_runs", "outcome", ("ok", "failed", "timeout", "deferred", "skipped", "cancelled")),
]


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A migrated database for looking at."""
    with copied(postgres, template) as url:
        yield url


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_its_columns(database: str, table: str) -> None:
    query = """SELECT column_name, data_type FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name = %s"""
    with psycopg.connect(database) as connection:
        found: dict[str, str] = dict(connection.execute(query, (table,)).fetchall())
    assert {name: found.get(name) for name in TABLES[table]} == TABLES[table]


@pytest.mark.parametrize(("table", "key"), KEYS.items())
def test_a_table_has_its_key(database: str, table: str, key: tuple[str, ...]) -> None:
    query = """SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid
               WHERE indrelid = %s::regclass AND indisprimary AND attnum = ANY (indkey)
               ORDER BY array_position(indkey::int2[], attnum)"""
    with psycopg.connect(database) as connection:
        assert tuple(row[0] for row in connection.execute(query, (table,))) == key


@pytest.mark.parametrize("table", [name for name, key in KEYS.items() if key == ("id",)])
def test_an_id_is_an_identity(database: str, table: str) -> None:
    query = """SELECT is_identity FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name = %s AND column_name = 'id'"""
    with psycopg.connect(database) as connection:
        assert connection.execute(query, (table,)).fetchone() == ("YES",)


@pytest.mark.parametrize(("table", "column", "words"), WORDS)
def test_a_column_allows_its_words_and_no_other(
    database: str, table: str, column: str, words: tuple[str, ...]
) -> None:
    query = """SELECT pg_get_constraintdef(oid) FROM pg_constraint
               WHERE conrelid = %s::regclass AND contype = 'c' AND conkey = ARRAY[(
                   SELECT attnum FROM pg_attribute WHERE attrelid = conrelid AND attname = %s)]"""
    with psycopg.connect(database) as connection:
        checks = [row[0] for row in connection.execute(query, (table, column))]
    assert any({f"'{word}'::text" for word in words} == quoted(check) for check in checks), checks


def quoted(check: str) -> set[str]:
    """The texts in a check."""
    return {f"'{part}'::text" for part in check.split("'")[1::2]}


def test_an_identifier_is_unique_and_short(dsn: str) -> None:
    insert = """INSERT INTO orders (mode, identifier, purpose, market, side, ord_type)
                VALUES ('paper', %s, 'entry', 'KRW-BTC', 'bid', 'limit')"""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(insert, ("x" * 32,))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert, ("x" * 32,))
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(insert, ("y" * 33,))


@pytest.mark.parametrize("confidence", ["-0.01", "1.01"])
def test_confidence_is_between_nought_and_one(dsn: str, confidence: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
               VALUES ('KRW-BTC', now(), 1, 1, 1, 0)"""
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(
                """INSERT INTO signals (market_data_id, market, action, confidence, reason, source,
                                        model, candle_ts)
                   SELECT id, market, 'buy', %s, '', 'rules', 'rules', now() FROM market_data""",
                (confidence,),
            )
