"""Rows a second into `candles`: ours beside raw psycopg COPY-to-temp and the ORM's add_all.

Each round stores the same candles in a fresh database, then again unchanged; the order of the
contestants turns with each round, and the medians count. The reference does what ours does on the
server and nothing else in Python: rows that are tuples already, no check for duplicates.

    python -m bench.data_upsert [--rows 100000] [--rounds 5]
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from loguru import logger
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from bench._scratch import fresh_database, scratch_server
from daemon.postgres.pool import PoolOptions, open_database
from jobs.store import candles, tables
from jobs.store.db import Database
from jobs.upbit.wire import Candle

GOAL = 0.9
Store = Callable[[Database, Sequence[Candle], Sequence[tuple[object, ...]]], Awaitable[int]]


class Base(DeclarativeBase):
    """The ORM's root."""


class OrmCandle(Base):
    """A candle as an ORM class."""

    __table__ = tables.candles.to_metadata(Base.metadata)


def sample(rows: int) -> list[Candle]:
    """Candles of 200 markets, minute after minute, with prices as long as real ones."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Candle(
            market=f"KRW-M{n % 200}",
            unit=1,
            ts=start + timedelta(minutes=n // 200),
            open=Decimal(95_000_000 + n),
            high=Decimal(95_100_000 + n),
            low=Decimal(94_900_000 + n),
            close=Decimal(95_050_000 + n),
            volume=Decimal(n * 7 + 1).scaleb(-8),
            value=Decimal(n * 95 + 3).scaleb(-2),
        )
        for n in range(rows)
    ]


async def ours(db: Database, rows: Sequence[Candle], _tuples: Sequence[tuple[object, ...]]) -> int:
    """What the market job calls."""
    return await candles.upsert(db, rows)


async def raw(db: Database, _rows: Sequence[Candle], tuples: Sequence[tuple[object, ...]]) -> int:
    """COPY to a temporary table and one upsert, row by row as psycopg's documentation has it."""
    async with db.connection() as connection, connection.transaction():
        cursor = connection.cursor()
        await cursor.execute(candles.CREATE_INCOMING)
        async with cursor.copy(candles.COPY_INCOMING) as copy:
            for row in tuples:
                await copy.write_row(row)
        await cursor.execute(UPSERT)
        return cursor.rowcount


async def orm(db: Database, rows: Sequence[Candle], tuples: Sequence[tuple[object, ...]]) -> int:
    """add_all; what is there already is what a merge would ask for one by one, so fresh only."""
    names = [column.name for column in tables.candles.columns]
    async with AsyncSession(db.engine) as session:
        session.add_all([OrmCandle(**dict(zip(names, row, strict=True))) for row in tuples])
        await session.commit()
    return len(rows)


async def core(db: Database, rows: Sequence[Candle], tuples: Sequence[tuple[object, ...]]) -> int:
    """SQLAlchemy Core's insert of many, ignoring what is there."""
    names = [column.name for column in tables.candles.columns]
    statement = insert(tables.candles).on_conflict_do_nothing()
    async with db.begin() as tx:
        await tx.execute(statement, [dict(zip(names, row, strict=True)) for row in tuples])
    return len(rows)


UPSERT = """
INSERT INTO candles AS stored (market, unit, ts, open, high, low, close, volume, value)
SELECT market, unit, ts, open, high, low, close, volume, value FROM incoming_candles
ON CONFLICT (market, unit, ts) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, value = excluded.value
WHERE (stored.open, stored.high, stored.low, stored.close, stored.volume, stored.value)
    IS DISTINCT FROM
    (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.value)
"""
CONTESTANTS: dict[str, Store] = {"ours": ours, "raw COPY": raw, "Core": core, "ORM": orm}
REPEATED = ("ours", "raw COPY")


async def measure(server_url: str, name: str, rows: Sequence[Candle]) -> dict[str, float]:
    """Rows a second of one contestant in a fresh database."""
    tuples = [tuple(getattr(each, column) for column in candles.COLUMNS) for each in rows]
    found = {}
    with fresh_database(server_url) as url:
        async with open_database(url, PoolOptions(pool_min=1, pool_max=2)) as db:
            for kind in ("fresh", "repeated"):
                if kind == "repeated" and name not in REPEATED:
                    continue
                began = time.perf_counter()
                changed = await CONTESTANTS[name](db, rows, tuples)
                found[kind] = len(rows) / (time.perf_counter() - began)
                assert changed == (len(rows) if kind == "fresh" else 0)
    return found


async def compare(server_url: str, rows: int, rounds: int) -> int:
    """Measure all of them in turn, print the medians, and tell whether the goal is missed."""
    candles_ = sample(rows)
    names = list(CONTESTANTS)
    results: dict[tuple[str, str], list[float]] = {}
    for round_ in range(rounds):
        turn = names[round_ % len(names) :] + names[: round_ % len(names)]
        for name in turn:
            for kind, rate in (await measure(server_url, name, candles_)).items():
                results.setdefault((name, kind), []).append(rate)
    print(f"{rows:,} candles, {rounds} rounds, median rows/s")
    missed = 0
    for (name, kind), rates in sorted(results.items(), key=lambda each: each[0][1]):
        ratios = [a / b for a, b in zip(rates, results["raw COPY", kind], strict=True)]
        ratio = statistics.median(ratios)
        verdict = ""
        if name == "ours":
            missed += ratio < GOAL
            verdict = f"goal {GOAL} {'met' if ratio >= GOAL else 'MISSED'}"
        rate = statistics.median(rates)
        print(f"{kind:<9} {name:<9} {rate:>10,.0f}   x {ratio:.2f} of raw COPY  {verdict}")
    return 1 if missed else 0


def main() -> int:
    """Start a server, compare, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logger.remove()
    with scratch_server() as url:
        return asyncio.run(compare(url, options.rows, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
