"""Candles in a real database: stored once, corrected, and what is missing of them."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.store import candles
from jobs.store.db import Database
from jobs.upbit.wire import Candle

START = datetime(2026, 3, 31, 23, 50, tzinfo=UTC)  # the next month begins within


def candle(minute: int, *, market: str = "KRW-BTC", unit: int = 1) -> Candle:
    return Candle(
        market=market,
        unit=unit,
        ts=START + timedelta(minutes=minute),
        open=Decimal("100.5"),
        high=Decimal(110),
        low=Decimal(90),
        close=Decimal("0.00000001"),
        volume=Decimal("123456789.12345678"),
        value=Decimal("99999999999999999.99999999"),
    )


def minutes(*numbers: int) -> list[Candle]:
    return [candle(number) for number in numbers]


async def stored(database: Database, market: str = "KRW-BTC", unit: int = 1) -> list[Candle]:
    far = START + timedelta(days=10)
    return (await candles.window(database, [market], unit, 10_000, far))[market]


async def test_only_rows_that_change_are_counted(database: Database) -> None:
    first, second = minutes(0, 1)
    assert await candles.upsert(database, [first, second]) == 2
    assert await candles.upsert(database, [first, second]) == 0
    corrected = replace(second, close=Decimal(7))
    assert await candles.upsert(database, [first, corrected, candle(2)]) == 2
    assert await stored(database) == [first, corrected, candle(2)]


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume", "value"])
async def test_a_difference_in_any_value_is_a_change(database: Database, field: str) -> None:
    await candles.upsert(database, minutes(0))
    changed = replace(candle(0), **{field: Decimal("0.1")})  # type: ignore[arg-type]  # by name
    assert await candles.upsert(database, [changed]) == 1
    assert await stored(database) == [changed]


async def test_a_row_that_is_the_same_is_not_written_again(database: Database) -> None:
    await candles.upsert(database, minutes(0))
    versions = []
    for _ in range(2):
        async with database.connection() as connection:
            row = await (await connection.execute("SELECT xmin::text FROM candles")).fetchone()
            versions.append(row)
        await candles.upsert(database, [replace(candle(0), open=Decimal("100.50"))])
    assert versions[0] == versions[1]


async def test_nothing_to_store_is_nothing(database: Database) -> None:
    assert await candles.upsert(database, []) == 0


async def test_of_two_with_the_same_key_the_later_counts(database: Database) -> None:
    later = replace(candle(0), close=Decimal(9))
    assert await candles.upsert(database, [candle(0), later]) == 1
    assert await stored(database) == [later]


async def test_a_batch_is_stored_whole_or_not_at_all(database: Database) -> None:
    bad = replace(candle(1), unit=0)  # the table refuses it
    with pytest.raises(Exception, match="candles"):
        await candles.upsert(database, [candle(0), bad])
    assert await stored(database) == []
    assert await candles.upsert(database, minutes(0)) == 1


async def test_writers_of_the_same_candles_do_not_collide(database: Database) -> None:
    batch = minutes(*range(200))
    await asyncio.gather(
        *(candles.upsert(database, batch[:: 1 if forward else -1]) for forward in (0, 1) * 4)
    )
    assert await stored(database) == batch


async def test_the_newest_is_found_per_market_and_unit(database: Database) -> None:
    await candles.upsert(
        database,
        [*minutes(0, 5, 20), candle(3, market="KRW-ETH"), candle(30, unit=5)],
    )
    markets = ["KRW-BTC", "KRW-ETH", "KRW-NONE"]
    newest = await candles.newest(database, markets, 1)
    assert newest == {"KRW-BTC": candle(20).ts, "KRW-ETH": candle(3).ts}
    assert await candles.newest(database, markets, 5) == {"KRW-BTC": candle(30).ts}
    assert await candles.newest(database, [], 1) == {}


def spans(found: Iterable[tuple[datetime, datetime]]) -> list[tuple[float, float]]:
    minute = timedelta(minutes=1)
    return [((start - START) / minute, (end - START) / minute) for start, end in found]


@pytest.mark.parametrize(
    ("present", "since", "until", "missing"),
    [
        ((), 0, 10, [(0, 10)]),
        ((0, 1, 2, 3), 0, 4, []),
        ((2, 3, 7), 0, 10, [(0, 2), (4, 7), (8, 10)]),
        ((0, 9), 0, 10, [(1, 9)]),
        ((20,), 0, 10, [(0, 10)]),
        ((-1, 10), 0, 10, [(0, 10)]),
        ((0, 1), 0.5, 3.5, [(2, 3)]),
        ((), 0.2, 0.8, []),
        ((), 5, 5, []),
        ((), 9, 5, []),
        ((8, 9, 11, 12), 8, 13, [(10, 11)]),
    ],
)
async def test_gaps_are_what_is_missing(
    database: Database,
    present: tuple[int, ...],
    since: float,
    until: float,
    missing: list[tuple[float, float]],
) -> None:
    await candles.upsert(database, [*minutes(*present), candle(1, market="KRW-ETH")])
    start, end = START + timedelta(minutes=since), START + timedelta(minutes=until)
    assert spans(await candles.gaps(database, "KRW-BTC", 1, start, end)) == missing


async def test_gaps_follow_the_grid_of_their_unit(database: Database) -> None:
    await candles.upsert(database, [candle(5, unit=5)])
    start, end = START + timedelta(minutes=-3), START + timedelta(minutes=18)
    found = await candles.gaps(database, "KRW-BTC", 5, start, end)
    assert spans(found) == [(0, 5), (10, 15)]


async def test_a_window_holds_the_last_of_each_market_oldest_first(database: Database) -> None:
    eth = candle(1, market="KRW-ETH")
    await candles.upsert(database, [*minutes(0, 1, 2, 3, 11), eth, candle(2, unit=5)])
    until = START + timedelta(minutes=3)
    markets = ["KRW-BTC", "KRW-ETH", "KRW-NONE"]
    found = await candles.window(database, markets, 1, 2, until)
    assert found == {"KRW-BTC": minutes(1, 2), "KRW-ETH": [eth], "KRW-NONE": []}
    assert found["KRW-BTC"][0].ts.utcoffset() == timedelta(0)


async def test_reading_takes_one_query_however_many_markets(database: Database) -> None:
    markets = [f"KRW-{number}" for number in range(200)]
    await candles.upsert(database, [candle(1, market=market) for market in markets])
    far = START + timedelta(days=1)
    before = await _calls(database)
    assert len(await candles.newest(database, markets, 1)) == 200
    assert sum(map(len, (await candles.window(database, markets, 1, 5, far)).values())) == 200
    assert await _calls(database) - before == 2


async def _calls(database: Database) -> int:
    async with database.connection() as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        cursor = await connection.execute(
            "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements(true)"
            " WHERE query LIKE '%CROSS JOIN LATERAL%' AND query NOT LIKE '%pg_stat%' AND dbid ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_rows_that_do_not_change_are_not_even_locked(database: Database) -> None:
    rows = [candle(minute) for minute in range(20)]
    await candles.upsert(database, rows)
    rows[7] = replace(rows[7], close=rows[7].close + 1)
    assert await candles.upsert(database, rows) == 1
    async with database.connection() as connection:
        # xmax names whoever locked a row or replaced it
        touched = await connection.execute(
            "SELECT count(*) FROM candles WHERE xmax <> '0' AND ts <> %s", (rows[7].ts,)
        )
        assert await touched.fetchone() == (0,)


async def test_a_name_with_what_copy_treats_specially_is_stored_as_it_is(
    database: Database,
) -> None:
    odd = replace(candle(0), market="KRW-\t\\\n\r%")
    assert await candles.upsert(database, [odd]) == 1
    assert await stored(database, odd.market) == [odd]
