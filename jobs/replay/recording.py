"""Where recorded candles come from: gzip CSV files, or the daemon's own table."""

import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from jobs.errors import BadData
from jobs.store.db import Database
from jobs.upbit.wire import Candle

PATTERN = "candles_1m_*.csv.gz"
COLUMNS = 8
"""market, ts_utc, open, high, low, close, volume, value; more may follow."""

RANGE = """
SELECT market, unit, ts, open, high, low, close, volume, value FROM candles
WHERE market = %(market)s AND unit = %(unit)s AND ts >= %(since)s AND ts < %(until)s
ORDER BY ts
"""
SPAN = """
SELECT market, min(ts), max(ts) FROM candles WHERE unit = %(unit)s GROUP BY market ORDER BY market
"""


def read_files(
    folder: Path, markets: Sequence[str], *, since: datetime | None, until: datetime | None
) -> dict[str, list[Candle]]:
    """One-minute candles of `markets` (empty: all) in [since, until), oldest first.

    Reads every candles_1m_*.csv.gz of the folder; of two rows for one minute the later one counts.
    Raises FileNotFoundError when there is none, BadData for a row that is no candle.
    """
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise FileNotFoundError(f"no {PATTERN} in {folder}")
    wanted, first = frozenset(markets), "" if since is None else _stamp(since)
    end = "9999" if until is None else _stamp(until)
    found: dict[str, dict[str, Candle]] = {}
    for file in files:
        for fields in _rows(file):
            if first <= fields[1] < end and (not wanted or fields[0] in wanted):
                found.setdefault(fields[0], {})[fields[1]] = _candle(file, fields)
    return {
        market: [rows[stamp] for stamp in sorted(rows)] for market, rows in sorted(found.items())
    }


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


def _rows(file: Path) -> Iterator[list[str]]:
    with gzip.open(file, "rt", encoding="ascii") as stream:
        next(stream, None)  # the heading
        for line in stream:
            yield line.rstrip("\n").split(",")


def _stamp(at: datetime) -> str:
    """An instant as the files spell it; rows start on whole minutes."""
    whole = at.astimezone(UTC).replace(second=0, microsecond=0)
    if whole < at:
        whole += timedelta(minutes=1)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def _candle(file: Path, fields: list[str]) -> Candle:
    try:
        opened, high, low, close, volume, value = map(Decimal, fields[2:COLUMNS])
        ts = datetime.fromisoformat(fields[1]).astimezone(UTC)
    except (ValueError, InvalidOperation) as exc:
        raise BadData("not a candle", file=file.name, row=",".join(fields)) from exc
    return Candle(
        market=fields[0],
        unit=1,
        ts=ts,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        value=value,
    )
