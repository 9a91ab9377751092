"""Listings go by an index at 100,000 rows, the first page and a later one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fixtures.postgres import copied
from sqlalchemy.dialects import postgresql

from daemon.embedded import EmbeddedPostgres
from jobs.store.listing import (
    Page,
    SlotPage,
    alert_query,
    order_query,
    position_query,
    signal_query,
    slot_query,
)

MANY = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
SELECT 'KRW-M' || n % 50, now() - n * interval '1 second', 1, 1, 1, 0
FROM generate_series(1, 100000) AS n;
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts,
                     status, created_at)
SELECT 1, 'KRW-M' || n % 50, 'hold', 0.5, 'r', 'rules', 'rules', now() - n * interval '1 minute',
       CASE WHEN n % 1000 = 0 THEN 'new' ELSE 'expired' END, now() - n * interval '1 minute'
FROM generate_series(1, 100000) AS n;
INSERT INTO orders (mode, identifier, purpose, market, side, ord_type, volume, state,
                    created_at)
SELECT CASE WHEN n % 3 = 0 THEN 'live' ELSE 'paper' END, 'i' || n, 'entry', 'KRW-M' || n % 50,
       'bid', 'market', 1, CASE WHEN n % 1000 = 0 THEN 'intent' ELSE 'done' END,
       now() - n * interval '1 minute'
FROM generate_series(1, 100000) AS n;
INSERT INTO positions (mode, market, volume, avg_price)
SELECT 'paper', 'KRW-M' || n, 1, 1 FROM generate_series(1, 50) AS n;
INSERT INTO job_runs (job, scheduled_at, run_id, outcome)
SELECT 'job' || n % 4, now() - n * interval '10 seconds', 'r' || n, 'ok'
FROM generate_series(1, 100000) AS n;
INSERT INTO alerts (incident, kind, severity, body, created_at, resolved_at)
SELECT 'i' || n, 'halted', 'info', '{}', now() - n * interval '1 minute', now()
FROM generate_series(1, 100000) AS n;
INSERT INTO alert_deliveries (alert_id, hook) SELECT id, 'hook' FROM alerts;
ANALYZE;
"""

SINCE = datetime.now(UTC) - timedelta(days=30)
LATER = Page(before=50_000)


@pytest.fixture(scope="module")
def many(postgres: EmbeddedPostgres, template: str) -> Iterator[psycopg.Connection]:
    """A database with 100,000 rows in every listed table."""
    with copied(postgres, template) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MANY.encode())
        yield connection


QUERIES = [
    ("orders", order_query(Page(), "paper"), "orders_mode_created_at"),
    ("orders, next page", order_query(LATER, "paper"), "orders_mode_created_at"),
    ("orders since", order_query(Page(since=SINCE), "paper"), "orders_mode_created_at"),
    ("orders of a market", order_query(Page(), "paper", "KRW-M7"), "orders_m"),
    ("orders in a rare state", order_query(Page(), "paper", None, "intent"), "orders_"),
    ("signals", signal_query(Page()), "signals_created_at"),
    ("signals, next page", signal_query(LATER), "signals_created_at"),
    ("signals of a market", signal_query(Page(), "KRW-M7"), "signals_"),
    ("new signals", signal_query(Page(), None, "new"), "signals_status_created_at"),
    ("positions", position_query("paper"), "market_data_market_ts"),
    ("slots", slot_query(SlotPage()), "job_runs_scheduled_at"),
    ("slots, next page", slot_query(SlotPage(before=SINCE)), "job_runs_scheduled_at"),
    ("slots of a job", slot_query(SlotPage(), "job1"), "job_runs_"),
    ("alerts", alert_query(Page()), "alerts_created_at"),
    ("alerts, next page", alert_query(LATER), "alerts_created_at"),
    ("open alerts", alert_query(Page(), open_only=True), "alerts_open_incident"),
]


@pytest.mark.parametrize(("query", "index"), [q[1:] for q in QUERIES], ids=[q[0] for q in QUERIES])
def test_a_listing_uses_its_index_and_reads_few_rows(
    many: psycopg.Connection, query: Any, index: str
) -> None:
    compiled = query.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
    statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}"
    plan = many.execute(statement.encode()).fetchall()[0][0][0]
    used = list(_values(plan, "Index Name"))
    assert any(name.startswith(index) for name in used), plan
    big = {"orders", "signals", "job_runs", "alerts", "alert_deliveries", "market_data"}
    for node in _nodes(plan["Plan"]):
        assert not (node["Node Type"] == "Seq Scan" and node["Relation Name"] in big), plan
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 1500


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _values(plan: dict[str, Any], key: str) -> Iterator[str]:
    return (node[key] for node in _nodes(plan["Plan"]) if key in node)
