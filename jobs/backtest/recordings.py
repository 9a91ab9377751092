"""Where recorded candles come from: CSV files, or the daemon's own table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jobs.candles.files import candle_of, files_in, rows_of
from jobs.store.db import Database
from jobs.upbit.wire import Candle

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

RANGE = """
SELECT market, unit, ts, open, high, low, close, volume, value FROM candles
WHERE market = %(market)s AND unit = %(unit)s AND ts >= %(since)s AND ts < %(until)s
ORDER BY ts
"""
SPAN = """
SELECT market, min(ts), max(ts) FROM candles WHERE unit = %(unit)s GROUP BY market ORDER BY market
"""


def read_files(
    place: Path, markets: Sequence[str], *, since: datetime | None, until: datetime | None
) -> dict[str, list[Candle]]:
    """One-minute candles of `markets` (empty: all) in [since, until), oldest first.

    Reads every recording of the folder (jobs/candles/files.py), or the one file; of two rows for
    one minute the later one counts, and a row without turnover is a minute without a trade. Raises
    FileNotFoundError when there is none, BadData for a file that is not what it should be.
    """
    wanted = frozenset(markets)
    first, end = since or FIRST, until or LAST
    found: dict[str, dict[datetime, Candle]] = {}
    for file in files_in(place):
        for row in rows_of(file):
            if first <= row.ts < end and (not wanted or row.market in wanted):
                candle = candle_of(file, row)
                if candle.volume or candle.value:
                    found.setdefault(row.market, {})[row.ts] = candle
    return {market: [rows[ts] for ts in sorted(rows)] for market, rows in sorted(found.items())}


async def read_table(
    db: Database, markets: Sequence[str], unit: int, *, since: datetime, until: datetime
) -> dict[str, list[Candle]]:
    """Stored candles of `markets` in [since, until), oldest first; no entry without any."""
    found: dict[str, list[Candle]] = {}
    async with db.connection() as connection:
        for market in markets:
            wanted = {"market": market, "unit": unit, "since": since, "until": until}
            cursor = await connection.execute(RANGE, wanted)
            names = ("market", "unit", "ts", "open", "high", "low", "close", "volume", "value")
            rows = [Candle(**dict(zip(names, row, strict=True))) async for row in cursor]
            if rows:
                found[market] = rows
    return found


async def stored_span(db: Database, unit: int) -> dict[str, tuple[datetime, datetime]]:
    """The first and the last stored candle of each market."""
    async with db.connection() as connection:
        cursor = await connection.execute(SPAN, {"unit": unit})
        return {market: (first, last) async for market, first, last in cursor}
