"""Every query of a job run, a probe and a delivery goes by an index at 100,000 rows.

The functions are called for real; what they ask is caught on its way and explained.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.postgres.pool import PoolOptions, open_database
from jobs.core.errors import JobError
from jobs.domain.portfolio import Money
from jobs.store import (
    alerts,
    candles,
    llm_calls,
    market_data,
    orders,
    page_queries,
    paper,
    positions,
    retention,
    runs,
    signals,
    statistics,
    story,
    vitals,
)
from jobs.store.db import Database

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MARKETS = ["KRW-M1", "KRW-M2"]
BIG = {
    "alert_deliveries",
    "alerts",
    "candles_default",
    "equity",
    "fills",
    "job_runs",
    "llm_calls",
    "market_data",
    "order_events",
    "orders",
    "paper_orders",
    "signals",
}
MOST_BLOCKS = 1500

Ask = Callable[[Database], Awaitable[object]]


def within(ask: Callable[[AsyncConnection], Awaitable[object]]) -> Ask:
    async def in_transaction(db: Database) -> object:
        async with db.begin() as tx:
            return await ask(tx)

    return in_transaction


MONEY = Money(free_krw=Decimal(1), total_krw=Decimal(1), at=NOW, free_volumes={})
WANTED = page_queries.Wanted(mode="paper", jobs=["job1"], day=NOW.date(), since=NOW - DAY / 24)

ASKED: dict[str, Ask] = {
    "alerts due": lambda db: alerts.claim(db, "hook", NOW, DAY),
    "alerts waiting": alerts.undelivered,
    "alert resolved": lambda db: alerts.resolve(db, "i77", NOW),
    "candles newest": lambda db: candles.newest(db, MARKETS, 1),
    "candles gaps": lambda db: candles.gaps(db, "KRW-M1", 1, NOW - DAY, NOW),
    "candles window": lambda db: candles.window(db, MARKETS, 1, 200, NOW),
    "the page": lambda db: page_queries.lines(db, WANTED),
    "model spent": within(lambda tx: llm_calls.spent_usd(tx, NOW.date())),
    "prices": lambda db: market_data.latest(db, MARKETS),
    "orders open": within(lambda tx: orders.unfinished(tx, "paper")),
    "orders by name": within(lambda tx: orders.by_identifier(tx, "paper", ["i1", "i2"])),
    "orders doubted": within(lambda tx: orders.doubted_markets(tx, "paper", NOW - DAY / 2)),
    "orders buried": within(lambda tx: orders.buried(tx, "paper", NOW - DAY)),
    "order of a signal": within(lambda tx: orders.has_order(tx, "paper", 77)),
    "explain by id": lambda db: story.story(db, "77"),
    "explain by identifier": lambda db: story.story(db, "i77"),
    "explain nobody": lambda db: story.story(db, "00000000-0000-4000-8000-000000000000"),
    "signals new": within(orders.new_signals),
    "risk": within(
        lambda tx: positions.portfolio(tx, "paper", "KRW-M1", money=MONEY, prices={}, now=NOW)
    ),
    "paper open": within(paper.open_bodies),
    "paper closed": within(lambda tx: paper.closed_bodies(tx, market="KRW-M1", start=NOW - DAY)),
    "slots newest": runs.newest,
    "slots abandoned": runs.abandoned,
    "slots closed": lambda db: runs.close_abandoned(db, ["r1"], "why", NOW),
    "signals decided": lambda db: signals.already_decided(db, "rules", {"KRW-M1": NOW}),
    "statistics of jobs": lambda db: statistics.job_stats(db, NOW - DAY / 24),
    "statistics of models": lambda db: statistics.model_days(db, NOW - DAY),
    "health: signal": vitals.latest_signal,
    "health: orders": lambda db: vitals.order_vitals(db, "paper"),
    "health: no order yet": lambda db: vitals.order_vitals(db, "live-without-any"),
    "health: model": lambda db: vitals.model_vitals(db, NOW.date()),
    "upkeep: signals": lambda db: retention.expire_signals(db, NOW - 365 * DAY, "old"),
    "upkeep: prompts": lambda db: retention.blank_prompts(db, NOW - 365 * DAY),
    "upkeep: slots": lambda db: retention.delete_runs(db, NOW - 365 * DAY),
    "upkeep: snapshots": lambda db: retention.delete_snapshots(db, NOW - 365 * DAY),
}


@pytest.fixture
async def many(many_url: str) -> AsyncIterator[Database]:
    async with open_database(many_url, PoolOptions(pool_min=1, pool_max=2)) as opened:
        yield opened


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Each statement with its values, as it goes to the server."""
    statements: list[tuple[Any, Any]] = []
    execute = psycopg.AsyncCursor.execute

    async def spy(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        statements.append((query, params))
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", spy)
    return statements


@pytest.mark.parametrize("name", ASKED)
async def test_a_job_reads_few_rows_however_many_there_are(
    many: Database, many_url: str, caught: list[tuple[Any, Any]], name: str
) -> None:
    try:
        await ASKED[name](many)
    except JobError:
        pytest.fail("the query failed")
    explained = [each for each in caught if _is_explainable(each[0])]
    assert explained, "nothing was asked"
    with psycopg.connect(many_url) as connection:
        for query, params in explained:
            text = query.decode() if isinstance(query, bytes) else str(query)
            asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"
            row = connection.execute(asked.encode(), params).fetchone()
            assert row is not None
            _judge(row[0][0]["Plan"], text)
        connection.rollback()


def _is_explainable(query: Any) -> bool:
    text = query.decode() if isinstance(query, bytes) else str(query)
    return text.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT"))


def _judge(plan: dict[str, Any], text: str) -> None:
    for node in _nodes(plan):
        scanned = node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG
        assert not scanned, f"{text}\nreads all of {node.get('Relation Name')}"
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks < MOST_BLOCKS, f"{text}\ntouches {blocks} blocks"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
