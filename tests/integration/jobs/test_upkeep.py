from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg.rows import dict_row

from jobs.core.job import Slot
from jobs.domain.settings import Settings
from jobs.store import candle_proofs, candles, market_data, partitions, retention
from jobs.store.db import Database
from jobs.upbit.wire import Candle, Ticker
from jobs.upkeep import Keep, UpkeepJob

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SLOT = Slot(job="upkeep", scheduled_at=NOW, run_id="r")
DAY = timedelta(days=1)
ONE = Decimal(1)


async def current() -> Settings:
    return Settings(signal_max_age_s=300)


def upkeep(db: Database) -> UpkeepJob:
    keep = Keep(candles={1: 20 * DAY}, other_candles=60 * DAY)
    return UpkeepJob(db=db, clock=lambda: NOW, settings=current, keep=keep)


def candle(ts: datetime, unit: int) -> Candle:
    return Candle(
        market="KRW-BTC",
        unit=unit,
        ts=ts,
        open=ONE,
        high=ONE,
        low=ONE,
        close=ONE,
        volume=ONE,
        value=ONE,
    )


async def snapshot(db: Database, age: timedelta) -> int:
    ticker = Ticker(
        market="KRW-BTC", price=ONE, volume_24h=ONE, value_24h=ONE, change_rate=ONE, ts=NOW - age
    )
    return (await market_data.insert(db, [ticker]))["KRW-BTC"]


async def signal(db: Database, age: timedelta, market_data_id: int, status: str = "new") -> int:
    return await insert(
        db,
        "INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, "
        "candle_ts, status, created_at) "
        "VALUES (%s, 'KRW-BTC', 'buy', 1, 'x', 's', 'm', %s, %s, %s) RETURNING id",
        market_data_id,
        NOW - age,
        status,
        NOW - age,
    )


async def insert(db: Database, statement: str, *values: object) -> int:
    async with db.connection() as connection:
        cursor = await connection.execute(statement.encode(), values)
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def rows(db: Database, statement: str) -> list[dict[str, object]]:
    async with db.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(statement.encode())
        return await cursor.fetchall()


async def test_signals_nobody_acted_on_in_time_expire(database: Database) -> None:
    seen = await snapshot(database, timedelta())
    old = await signal(database, timedelta(seconds=301), seen)
    young = await signal(database, timedelta(seconds=299), seen)
    acted_on = await signal(database, timedelta(hours=1), seen, "executed")
    await upkeep(database).run(SLOT)
    found = await rows(database, "SELECT id, status, status_reason FROM signals ORDER BY id")
    assert [tuple(row.values()) for row in found] == [
        (old, "expired", "nobody acted on it within 300 s"),
        (young, "new", None),
        (acted_on, "executed", None),
    ]


async def test_candles_go_by_unit_and_whole_month(database: Database) -> None:
    kept = [
        candle(datetime(2026, 10, 1, tzinfo=UTC), 1),  # October: not all of it is 20 days old
        candle(datetime(2026, 9, 30, tzinfo=UTC), 60),
    ]
    gone = [
        candle(datetime(2026, 9, 30, tzinfo=UTC), 1),
        candle(datetime(2026, 8, 31, tzinfo=UTC), 60),
        candle(datetime(2025, 8, 31, tzinfo=UTC), 1),
    ]
    await candles.upsert(database, kept + gone)
    await upkeep(database).run(SLOT)
    found = await rows(database, "SELECT ts, unit FROM candles ORDER BY unit")
    assert found == [{"ts": each.ts, "unit": each.unit} for each in kept]
    assert await partitions.names(database) == [
        f"candles_{month}" for month in (202609, 202610, 202611, 202612, 202701)
    ]


async def test_old_snapshots_go_unless_a_signal_was_made_from_them(database: Database) -> None:
    used = await snapshot(database, 40 * DAY)
    await snapshot(database, 31 * DAY)
    young = await snapshot(database, 29 * DAY)
    await signal(database, 40 * DAY, used)
    await upkeep(database).run(SLOT)
    found = await rows(database, "SELECT id FROM market_data ORDER BY id")
    assert [row["id"] for row in found] == [used, young]


async def test_snapshots_that_are_all_old_go_too(database: Database) -> None:
    await snapshot(database, 31 * DAY)
    await upkeep(database).run(SLOT)
    assert await rows(database, "SELECT id FROM market_data") == []


async def test_old_runs_go(database: Database) -> None:
    for days in (91, 89):
        await insert(
            database,
            "INSERT INTO job_runs (job, scheduled_at, run_id) VALUES ('j', %s, 'r') RETURNING 1",
            NOW - days * DAY,
        )
    await upkeep(database).run(SLOT)
    found = await rows(database, "SELECT scheduled_at FROM job_runs")
    assert [row["scheduled_at"] for row in found] == [NOW - 89 * DAY]


async def test_old_prompts_are_blanked_and_their_records_stay(database: Database) -> None:
    for days in (181, 179):
        await insert(
            database,
            "INSERT INTO llm_calls (model, prompt_hash, prompt, answer, outcome, day, created_at) "
            "VALUES ('m', 'h', 'p', 'a', 'ok', '2026-01-01', %s) RETURNING id",
            NOW - days * DAY,
        )
    await upkeep(database).run(SLOT)
    found = await rows(database, "SELECT prompt, prompt_hash, answer FROM llm_calls ORDER BY id")
    assert [tuple(row.values()) for row in found] == [("", "h", "a"), ("p", "h", "a")]


async def test_twice_changes_nothing_more(database: Database) -> None:
    await candles.upsert(database, [candle(NOW - 100 * DAY, unit) for unit in (1, 60)])
    await signal(database, timedelta(hours=1), await snapshot(database, 40 * DAY))
    assert await upkeep(database).run(SLOT) > 0
    assert await upkeep(database).run(SLOT) == 0


async def test_more_than_a_batch_goes_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    old = [candle(start + timedelta(minutes=minute), 1) for minute in range(10)]
    await candles.upsert(database, old)
    assert await retention.delete_candles(database, 1, NOW) == 10
    for _ in range(7):
        await snapshot(database, 31 * DAY)
    assert await retention.delete_snapshots(database, NOW - 30 * DAY) == 7


async def test_old_candles_become_larger_ones_and_nothing_is_lost(database: Database) -> None:
    begin = datetime(2026, 9, 1, 22, tzinfo=UTC)
    small = [
        replace(
            candle(begin + timedelta(minutes=n), 1),
            open=Decimal(n + 1),
            high=Decimal(1000 + n),
            low=Decimal(n),
            close=Decimal(n + 2),
        )
        for n in range(4 * 60)
        if n // 60 != 1  # an hour without a trade
    ]
    theirs = replace(candle(begin + timedelta(hours=2), 60), close=Decimal(77))
    await candles.upsert(database, [*small, theirs])
    assert await retention.roll_up(database, 1, 60, datetime(2026, 9, 2, 1, tzinfo=UTC)) == 1
    found = (await candles.window(database, ["KRW-BTC"], 60, 10, NOW))["KRW-BTC"]
    want = replace(
        candle(begin, 60),
        open=Decimal(1),
        high=Decimal(1059),
        low=Decimal(0),
        close=Decimal(61),
        volume=Decimal(60),
        value=Decimal(60),
    )
    assert found == [want, theirs]  # what the exchange itself said stays
    left = (await candles.window(database, ["KRW-BTC"], 1, 1000, NOW))["KRW-BTC"]
    assert left == [each for each in small if each.ts >= datetime(2026, 9, 2, 1, tzinfo=UTC)]


async def test_a_length_that_does_not_fit_is_refused(database: Database) -> None:
    for unit, larger in ((3, 10), (1, 7)):
        with pytest.raises(ValueError, match="do not roll up"):
            await retention.roll_up(database, unit, larger, NOW)


async def test_proofs_go_with_their_candles(database: Database) -> None:
    await candle_proofs.add(database, "KRW-BTC", 1, NOW - 400 * DAY, NOW)
    await upkeep(database).run(SLOT)
    ((since, _),) = await candle_proofs.spans(database, "KRW-BTC", 1, NOW - 500 * DAY, NOW)
    assert since == partitions.month_of(NOW - 20 * DAY)
