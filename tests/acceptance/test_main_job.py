"""Collect → signal → order, by the real process, equal to the recording and to the ledger."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from fixtures.process import Daemon, Start
from fixtures.venue import Venue
from sqlalchemy import func, select

from daemon.demo.verify import Book, read_ledger, read_tables
from jobs.store.db import Database
from jobs.store.tables import candles, job_runs, llm_calls, market_data, orders, signals

FIELDS = ("open", "high", "low", "close", "volume", "value")


def ledger_of(venue: Venue) -> Book:
    return read_ledger({"pockets": {"main": venue.ledger()}})


async def tables_of(database: Database) -> Book:
    async with database.begin() as tx:
        return await read_tables(tx)


def trade_once(daemon: Daemon) -> None:
    """Read on until an order has reached its final state with a fill."""
    daemon.ready()
    daemon.until("order.fill")
    if not any(line["state"] in ("done", "cancel") for line in daemon.of("order.state")):
        daemon.until("order.state", from_state="wait")


async def test_the_tables_equal_the_recording_and_the_ledger(
    start_daemon: Start, venue: Venue, database: Database
) -> None:
    daemon = start_daemon()
    trade_once(daemon)
    assert daemon.stop() == 0

    tables, ledger = await tables_of(database), ledger_of(venue)
    assert tables.differences(ledger) == []
    assert any(fills for *_, fills in tables.orders.values())
    assert tables.holdings

    await candles_are_the_recording(venue, database)
    await every_slot_has_one_outcome(daemon, database)
    await signals_know_where_they_come_from(database)


async def candles_are_the_recording(venue: Venue, database: Database) -> None:
    async with database.begin() as tx:
        rows = (await tx.execute(select(candles).order_by(candles.c.ts))).mappings().all()
    assert len({row["market"] for row in rows}) == 5
    assert len(rows) > 5 * 150
    for row in rows[:: len(rows) // 100]:
        recorded = source(venue, row["market"], row["ts"])
        assert {name: row[name] for name in FIELDS} == recorded


def source(venue: Venue, market: str, ts: datetime) -> Mapping[str, Decimal]:
    answer = venue.http.get("/sandbox/tape/source", params={"market": market, "ts": ts.isoformat()})
    found: dict[str, Any] = answer.json(parse_float=Decimal)["candle"]
    return {name: Decimal(found[name]) for name in FIELDS}


async def every_slot_has_one_outcome(daemon: Daemon, database: Database) -> None:
    query = select(job_runs.c.run_id, job_runs.c.outcome)
    async with database.begin() as tx:
        rows = {row[0]: row[1] for row in await tx.execute(query)}
    lines = {line["run_id"]: line["outcome"] for line in daemon.of("job.metric")}
    assert lines == rows
    assert None not in rows.values()
    assert "failed" not in rows.values()


async def signals_know_where_they_come_from(database: Database) -> None:
    made = select(func.count()).select_from(
        signals.join(market_data, signals.c.market_data_id == market_data.c.id).join(
            llm_calls, signals.c.llm_call_id == llm_calls.c.id
        )
    )
    async with database.begin() as tx:
        assert (await tx.execute(made)).scalar_one() >= 5
        costs = await tx.execute(select(func.sum(llm_calls.c.cost_usd)))
        assert 0 < costs.scalar_one() < 1


async def test_a_killed_daemon_continues_without_a_doubled_or_lost_order(
    start_daemon: Start, venue: Venue, database: Database
) -> None:
    first = start_daemon()
    first.ready()
    first.until("order.sent")
    first.kill()

    second = start_daemon()
    second.ready()
    metric = second.until("job.metric", job="orders", outcome="ok")
    assert metric["attempts"] == 1
    assert second.stop() == 0

    tables, ledger = await tables_of(database), ledger_of(venue)
    assert tables.differences(ledger) == []
    async with database.begin() as tx:
        per_signal = select(func.count()).where(orders.c.signal_id.is_not(None))
        counts = await tx.execute(
            per_signal.where(orders.c.uuid.is_not(None)).group_by(orders.c.signal_id)
        )
        assert set(counts.scalars()) <= {1}
    assert [line["outcome"] for line in second.lines if line["event"] == "job.metric"]


async def test_the_paper_account_trades_on_the_same_path(
    start_daemon: Start, venue: Venue, database: Database
) -> None:
    daemon = start_daemon(mode="paper")
    trade_once(daemon)
    assert daemon.stop() == 0
    assert venue.orders() == []
    async with database.begin() as tx:
        modes = await tx.execute(select(orders.c.mode).distinct())
        assert list(modes.scalars()) == ["paper"]


def test_the_port_answers_in_the_shape_of_the_contract(start_daemon: Start) -> None:
    daemon = start_daemon()
    trade_once(daemon)
    body = daemon.get("/health").json()
    assert set(body) >= {
        *("status", "checked_at", "version", "mode", "role", "uptime_s", "halted", "components"),
    }
    assert set(body["components"]) == {
        *("database", "upbit", "gemini", "scheduler", "latest_signal", "latest_order"),
    }
    assert (body["mode"], body["role"]) == ("live", "leader")
    for path in ("/livez", "/readyz", "/stats?since=1h", "/cache-stats", "/metrics", "/"):
        assert daemon.get(path).status_code == 200, path
    assert daemon.get("/nothing").status_code == 404
    assert daemon.stop() == 0
