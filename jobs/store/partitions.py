"""The monthly partitions of `candles`: made ahead, filled from the default one, dropped when old.

Partitions are named candles_YYYYMM and hold one UTC month. A month without a partition is no
trouble: its rows wait in candles_default until `prepare` moves them.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from jobs.store.db import Database

_LOCK_TIMEOUT_MS = 5000
"""A partition is attached under a lock that holds up writers: better later than making them wait
behind somebody's long transaction."""

_CHILDREN = """
SELECT child.relname
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'candles'::regclass AND child.relname ~ '^candles_[0-9]{6}$'
ORDER BY child.relname
"""
_STRAY_MONTHS = """
SELECT DISTINCT date_trunc('month', ts AT TIME ZONE 'UTC') FROM candles_default ORDER BY 1
"""
# columns, defaults, checks and the key, and none of the parent's partitioning
_CREATE = SQL("CREATE TABLE {name} (LIKE candles INCLUDING ALL)")
_MOVE = SQL("""
WITH moved AS (DELETE FROM candles_default WHERE ts >= {since} AND ts < {to} RETURNING *)
INSERT INTO {name} SELECT * FROM moved
""")
_ATTACH = SQL("ALTER TABLE candles ATTACH PARTITION {name} FOR VALUES FROM ({since}) TO ({to})")


def month_of(instant: datetime) -> datetime:
    """The first instant of the UTC month that `instant` falls in."""
    return instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def later(month: datetime, months: int) -> datetime:
    """The first instant of the month that comes `months` after `month`."""
    years, index = divmod(month.month - 1 + months, 12)
    return month.replace(year=month.year + years, month=index + 1)


def name_of(month: datetime) -> str:
    """The name of the month's partition."""
    return f"candles_{month:%Y%m}"


async def names(db: Database) -> list[str]:
    """The monthly partitions there are, oldest first."""
    async with db.connection() as connection:
        return await _names(connection)


async def prepare(db: Database, now: datetime, *, ahead: int) -> int:
    """Make the partitions of this month, the `ahead` next, and of months with stray rows.

    Returns how many were made.
    """
    async with db.connection() as connection:
        cursor = await connection.execute(_STRAY_MONTHS)
        strays = {row[0].replace(tzinfo=UTC) async for row in cursor}
    wanted = strays | {later(month_of(now), months) for months in range(ahead + 1)}
    return await make(db, wanted, now)


async def make(db: Database, months: Collection[datetime], now: datetime) -> int:
    """Make the partitions of those months that have none; return how many were made.

    Each is made in a transaction of its own. For a month to come no writer waits. For one that has
    begun they wait until its empty table stands, because a row on its way to the default partition
    would be refused; and until rows that stood there have moved, so that nobody ever misses one.
    """
    async with db.connection() as connection:
        present = set(await _names(connection))
        missing = sorted(month for month in months if name_of(month) not in present)
        return sum([await _make(connection, month, now) for month in missing])


async def retire(db: Database, oldest: datetime) -> int:
    """Drop every partition whose whole month lies before `oldest`; return how many."""
    first_kept = name_of(month_of(oldest))
    dropped = 0
    async with db.connection() as connection:
        for name in await _names(connection):
            if name < first_kept:
                async with connection.transaction():
                    await _limit_lock_wait(connection)
                    await connection.execute(SQL("DROP TABLE {}").format(Identifier(name)))
                dropped += 1
    return dropped


async def _names(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    cursor = await connection.execute(_CHILDREN)
    return [str(row[0]) async for row in cursor]


async def _make(connection: psycopg.AsyncConnection[Any], month: datetime, now: datetime) -> bool:
    if month > now:
        try:
            return await _make_one(connection, month, is_written=False)
        except psycopg.errors.CheckViolation:
            pass  # the default partition holds rows of a month to come
    return await _make_one(connection, month, is_written=True)


async def _make_one(
    connection: psycopg.AsyncConnection[Any], month: datetime, *, is_written: bool
) -> bool:
    parts = {
        "name": Identifier(name_of(month)),
        "since": Literal(month),
        "to": Literal(later(month, 1)),
    }
    async with connection.transaction():
        await _limit_lock_wait(connection)
        # one at a time makes partitions; where somebody may write into the month, nobody does from
        # here on, so that no row can slip into the default one behind the move
        lock = "SHARE ROW EXCLUSIVE" if is_written else "SHARE UPDATE EXCLUSIVE"
        await connection.execute(f"LOCK TABLE candles IN {lock} MODE".encode())
        if name_of(month) in await _names(connection):
            return False  # somebody else was quicker
        for statement in (_CREATE, *([_MOVE] if is_written else []), _ATTACH):
            await connection.execute(statement.format(**parts))
    return True


async def _limit_lock_wait(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_TIMEOUT_MS)))
