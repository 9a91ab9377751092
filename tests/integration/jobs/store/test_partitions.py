import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from jobs.core.errors import Transient
from jobs.store import candles, partitions
from jobs.store.db import Database
from jobs.upbit.wire import Candle

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def candle(ts: datetime, unit: int = 1) -> Candle:
    one = Decimal(1)
    return Candle(
        market="KRW-BTC",
        unit=unit,
        ts=ts,
        open=one,
        high=one,
        low=one,
        close=one,
        volume=one,
        value=one,
    )


async def places(db: Database) -> Sequence[tuple[str, datetime]]:
    """Which table holds each candle."""
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT tableoid::regclass::text, ts FROM candles ORDER BY ts"
        )
        return [(name, ts) async for name, ts in cursor]


@pytest.mark.parametrize(
    ("month", "months", "expected"),
    [(11, 1, (2026, 12)), (11, 2, (2027, 1)), (12, 12, (2027, 12)), (1, 0, (2026, 1))],
)
def test_months_pass_the_end_of_the_year(
    month: int, months: int, expected: tuple[int, int]
) -> None:
    found = partitions.later(datetime(2026, month, 1, tzinfo=UTC), months)
    assert (found.year, found.month, found.day) == (*expected, 1)


def test_a_month_is_one_of_utc() -> None:
    seoul = datetime.fromisoformat("2026-12-01T08:59:59+09:00")
    assert partitions.month_of(seoul) == datetime(2026, 11, 1, tzinfo=UTC)


async def test_this_month_and_the_next_ones_are_made_once(database: Database) -> None:
    assert await partitions.prepare(database, NOW, ahead=2) == 3
    assert await partitions.prepare(database, NOW, ahead=2) == 0
    assert await partitions.names(database) == [
        "candles_202611",
        "candles_202612",
        "candles_202701",
    ]


async def test_rows_go_to_their_months_and_others_wait_in_the_default(database: Database) -> None:
    await partitions.prepare(database, NOW, ahead=0)
    edges = [
        datetime(2026, 10, 31, 23, 59, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2026, 11, 30, 23, 59, tzinfo=UTC),
        datetime(2026, 12, 1, tzinfo=UTC),
    ]
    await candles.upsert(database, [candle(ts) for ts in edges])
    assert [name for name, _ in await places(database)] == [
        "candles_default",
        "candles_202611",
        "candles_202611",
        "candles_default",
    ]


async def test_waiting_rows_move_into_their_month_and_none_is_lost(database: Database) -> None:
    rows = [candle(datetime(2026, month, 15, tzinfo=UTC)) for month in (9, 11, 12)]
    await candles.upsert(database, rows)
    assert await partitions.prepare(database, NOW, ahead=0) == 3
    assert await places(database) == [
        ("candles_202609", rows[0].ts),
        ("candles_202611", rows[1].ts),
        ("candles_202612", rows[2].ts),
    ]
    assert await candles.upsert(database, rows) == 0  # the key still holds


async def test_two_at_once_make_each_month_once(database: Database) -> None:
    made = await asyncio.gather(*(partitions.prepare(database, NOW, ahead=2) for _ in range(4)))
    assert sum(made) == 3


async def test_a_writer_who_does_not_end_is_not_waited_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_TIMEOUT_MS", 50)
    await candles.upsert(database, [candle(NOW)])  # it is to move
    async with database.connection() as writer, writer.transaction():
        await writer.execute("LOCK TABLE candles IN ROW EXCLUSIVE MODE")
        with pytest.raises(Transient):
            await partitions.prepare(database, NOW, ahead=0)
    assert await partitions.prepare(database, NOW, ahead=0) == 1


async def test_a_writer_and_the_months_to_come_do_not_wait_for_each_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_TIMEOUT_MS", 1)
    await partitions.prepare(database, NOW, ahead=0)
    insert = b"INSERT INTO candles SELECT 'KRW-X', 1, %s, 1, 1, 1, 1, 1, 1"
    async with database.connection() as writer, writer.transaction():
        await writer.execute(insert, (NOW,))
        assert await partitions.prepare(database, NOW, ahead=2) == 2
        await writer.execute(insert, (NOW.replace(month=12),))
    assert [name for name, _ in await places(database)] == ["candles_202611", "candles_202612"]


async def test_writing_goes_on_while_months_are_made(database: Database) -> None:
    stamps = [
        datetime(2026, month, 1, hour, tzinfo=UTC) for month in (11, 12) for hour in range(20)
    ]

    async def write() -> None:
        for ts in stamps:
            await candles.upsert(database, [candle(ts)])

    await asyncio.gather(write(), partitions.prepare(database, NOW, ahead=2))
    await partitions.prepare(database, NOW, ahead=2)
    assert [ts for _, ts in await places(database)] == stamps


async def test_only_whole_old_months_are_dropped(database: Database) -> None:
    rows = [candle(datetime(2026, month, 15, tzinfo=UTC)) for month in (8, 9, 10)]
    await candles.upsert(database, rows)
    await partitions.prepare(database, NOW, ahead=0)
    assert await partitions.retire(database, datetime(2026, 10, 31, tzinfo=UTC)) == 2
    assert await partitions.retire(database, datetime(2026, 10, 31, tzinfo=UTC)) == 0
    assert await partitions.names(database) == ["candles_202610", "candles_202611"]
    assert [ts for _, ts in await places(database)] == [rows[2].ts]
