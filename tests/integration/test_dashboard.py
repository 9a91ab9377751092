"""The page's board over a real database."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from daemon.health_port.page_data import Dashboard, Scope, board_state
from daemon.postgres.pool import open_database
from health.page_model import Board
from health.routes import NoAnswer
from jobs.cache.snapshots import Snapshots
from jobs.core.errors import Unavailable
from jobs.store.db import Database
from jobs.store.page_queries import EquityLine, Wanted, lines

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = date(2026, 5, 4)
WANTED = Wanted(mode="paper", jobs=("market", "orders"), day=DAY, since=NOW - timedelta(hours=24))


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


async def run(db: Database, statement: str, *rows: tuple[object, ...]) -> None:
    async with db.connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(statement.encode(), rows)


async def add_runs(db: Database, *rows: tuple[object, ...]) -> None:
    """(job, scheduled_at, outcome, reason, duration_s, error_type, error)"""
    await run(
        db,
        "INSERT INTO job_runs (job, scheduled_at, outcome, reason, duration_s, error_type, error, "
        "run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, 'r')",
        *rows,
    )


async def add_market_data(db: Database) -> None:
    await run(
        db,
        "INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate) "
        "VALUES ('KRW-BTC', %s, %s, 1, 1, 0)",
        (ago(minutes=2), 100),
        (ago(minutes=1), 110),
    )


async def add_signal(db: Database, at: datetime, action: str = "buy") -> None:
    await run(
        db,
        "INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, "
        "candle_ts, created_at) SELECT min(id), 'KRW-BTC', %s, 0.7, 'why', 'gemini', 'm', %s, %s "
        "FROM market_data",
        (action, at, at),
    )


async def add_orders(db: Database) -> None:
    """A filled paper order, an older paper order without a fill, and one of the live account."""
    await run(
        db,
        "INSERT INTO orders (mode, identifier, purpose, market, side, ord_type, price, volume, "
        "created_at) VALUES (%s, %s, 'entry', 'KRW-BTC', 'bid', 'limit', 100, 2, %s)",
        ("paper", "filled", ago(minutes=1)),
        ("paper", "older", ago(minutes=2)),
        ("live", "other", ago(minutes=1)),
    )
    await run(
        db,
        "INSERT INTO fills (order_id, uuid, price, volume, funds, fee, ts) "
        "SELECT id, %s, 100, 1, 100, 0.05, now() FROM orders WHERE identifier = 'filled'",
        ("a",),
        ("b",),
    )


async def test_an_empty_database_gives_an_empty_board(database: Database) -> None:
    read = await lines(database, WANTED)
    assert [each.name for each in read.jobs] == ["market", "orders"]
    assert (read.jobs[0].outcome, read.jobs[0].runs, read.jobs[0].p95_s) == (None, 0, None)
    assert not [*read.signals, *read.orders, *read.positions, *read.equity]
    assert read.cost.calls == read.cost.spent_usd == 0


async def test_success_counts_tried_runs_of_the_span_only(database: Database) -> None:
    await add_runs(
        database,
        ("market", ago(hours=25), "failed", "exhausted", 9.0, "Unavailable", "gone"),
        ("market", ago(hours=3), "ok", None, 1.0, None, None),
        ("market", ago(hours=2), "failed", "exhausted", 3.0, "Unavailable", "gone"),
        ("market", ago(hours=1), "skipped", "still running", 0.0, None, None),
        ("market", ago(minutes=1), None, None, 0.0, None, None),
    )
    [job, _] = (await lines(database, WANTED)).jobs
    assert (job.runs, job.ok) == (2, 1)
    assert job.p95_s == pytest.approx(2.9)
    assert (job.outcome, job.reason, job.scheduled_at) == ("skipped", "still running", ago(hours=1))


async def test_a_failed_run_shows_its_error(database: Database) -> None:
    await add_runs(
        database, ("orders", ago(hours=1), "failed", "exhausted", 3.0, "Unavailable", "gone")
    )
    [_, job] = (await lines(database, WANTED)).jobs
    assert (job.outcome, job.reason) == ("failed", "Unavailable: gone")


async def test_newest_signals_come_first_and_no_more_than_asked(database: Database) -> None:
    await add_market_data(database)
    await add_signal(database, ago(minutes=3), "hold")
    await add_signal(database, ago(minutes=2), "sell")
    await add_signal(database, ago(minutes=1), "buy")
    read = await lines(database, replace(WANTED, rows=2))
    assert [each.action for each in read.signals] == ["buy", "sell"]


async def test_orders_of_the_mode_with_their_fills(database: Database) -> None:
    await add_orders(database)
    read = await lines(database, WANTED)
    assert [(each.fills, each.at) for each in read.orders] == [
        (2, ago(minutes=1)),
        (0, ago(minutes=2)),
    ]


async def test_open_positions_have_the_newest_price(database: Database) -> None:
    await add_market_data(database)
    await run(
        database,
        "INSERT INTO positions (mode, market, volume, avg_price) VALUES (%s, %s, %s, 100)",
        ("paper", "KRW-BTC", 2),
        ("paper", "KRW-ETH", 0),
        ("paper", "KRW-XRP", 1),
        ("live", "KRW-SOL", 1),
    )
    await run(
        database,
        "INSERT INTO markets (market, english_name, warning, cautions) VALUES (%s, 'x', %s, %s)",
        ("KRW-BTC", False, "[]"),
        ("KRW-XRP", True, '["PRICE_FLUCTUATIONS", "X"]'),
    )
    read = await dashboard_of(database, Time()).current()
    assert [each.marks for each in read.positions] == [None, "WARNING, PRICE_FLUCTUATIONS, X"]
    assert [(each.market, each.last_price) for each in read.positions] == [
        ("KRW-BTC", Decimal(110)),
        ("KRW-XRP", None),
    ]


async def test_equity_is_thinned_and_keeps_its_ends(database: Database) -> None:
    await run(
        database,
        "INSERT INTO equity (mode, ts, cash_krw, positions_krw) VALUES ('paper', %s, %s, 1)",
        *[(ago(minutes=500 - n), n) for n in range(500)],
    )
    equity = (await lines(database, replace(WANTED, points=20))).equity
    assert equity[0] == EquityLine(ts=ago(minutes=500), total_krw=Decimal(1))
    assert equity[-1] == EquityLine(ts=ago(minutes=1), total_krw=Decimal(500))
    assert len(equity) == 21
    assert [each.ts for each in equity] == sorted(each.ts for each in equity)


async def test_a_short_equity_is_shown_whole(database: Database) -> None:
    await run(
        database,
        "INSERT INTO equity (mode, ts, cash_krw, positions_krw) VALUES ('paper', %s, 5, 0)",
        *[(ago(minutes=n),) for n in range(3)],
    )
    assert len((await lines(database, WANTED)).equity) == 3


async def test_cost_sums_the_day_and_keeps_reservations_apart(database: Database) -> None:
    await run(
        database,
        "INSERT INTO llm_calls (model, prompt_hash, prompt, tokens_in, cost_usd, reserved_usd, "
        "outcome, day) VALUES ('m', 'h', 'p', 10, %s, %s, %s, %s)",
        ("0.25", "0.5", "ok", DAY),
        ("0.25", "0.5", "failed", DAY),
        ("0", "0.125", "reserved", DAY),
        ("9", "9", "ok", DAY - timedelta(days=1)),
    )
    cost = (await lines(database, WANTED)).cost
    assert (cost.spent_usd, cost.reserved_usd, cost.calls, cost.tokens_in) == (
        Decimal("0.50"),
        Decimal("0.125"),
        3,
        30,
    )


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def dashboard_of(db: Database, clock: Callable[[], datetime]) -> Dashboard:
    scope = Scope(
        mode="paper",
        schedules={"orders": "every 10s"},
        budget_usd=Decimal(1),
        day_of=lambda at: at.date(),
    )
    return Dashboard(db=db, snapshots=Snapshots(db=db), scope=scope, clock=clock)


async def test_the_board_carries_schedule_and_budget(database: Database) -> None:
    await add_market_data(database)
    await add_signal(database, ago(minutes=1))
    await add_orders(database)
    board = await dashboard_of(database, Time()).current()
    assert [(each.name, each.schedule) for each in board.jobs] == [("orders", "every 10s")]
    assert board.cost.budget_usd == 1
    assert board.signals[0].market == "KRW-BTC"
    assert len(board.orders) == 2


async def test_a_board_is_read_again_only_after_two_seconds(database: Database) -> None:
    clock = Time()
    dashboard = dashboard_of(database, clock)
    first, same = await asyncio.gather(dashboard.current(), dashboard.current())
    assert first is same
    clock.now += timedelta(seconds=1.9)
    assert await dashboard.current() is first
    clock.now += timedelta(seconds=0.1)
    assert await dashboard.current() is not first


async def test_a_clock_that_is_set_back_does_not_freeze_the_board(database: Database) -> None:
    clock = Time()
    dashboard = dashboard_of(database, clock)
    first = await dashboard.current()
    clock.now -= timedelta(hours=1)
    assert await dashboard.current() is not first


async def test_the_newest_board_outlives_the_database(dsn: str) -> None:
    clock = Time()
    async with open_database(dsn) as database:
        dashboard = dashboard_of(database, clock)
        board = await dashboard.current()
    clock.now += timedelta(minutes=1)
    with pytest.raises(Unavailable):
        await dashboard.current()
    assert dashboard.newest() is board


def test_the_page_says_why_its_board_is_old(database: Database) -> None:
    def ask() -> Board:
        raise NoAnswer("no answer within 2 s")

    state = board_state(dashboard_of(database, Time()), ask)()
    assert (state.board, state.fault) == (None, "no answer within 2 s")
