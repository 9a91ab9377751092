"""Listings go by an index at 100,000 rows, the first page and a later one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy.dialects import postgresql

from jobs.store.listing import (
    Page,
    SlotPage,
    alert_query,
    order_query,
    position_query,
    signal_query,
    slot_query,
)

SINCE = datetime.now(UTC) - timedelta(days=30)
LATER = Page(before=50_000)


@pytest.fixture(scope="module")
def many(many_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a database with 100,000 rows in every listed table."""
    with psycopg.connect(many_url, autocommit=True) as connection:
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
    ("positions", position_query(Page(), "paper"), "market_data_market_ts"),
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
