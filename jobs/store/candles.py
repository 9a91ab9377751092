"""Candles in the database: stored once, corrected when they differ, and what is missing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter

from jobs.candles.resample import whole
from jobs.store.db import Database
from jobs.upbit.wire import Candle

COLUMNS = ("market", "unit", "ts", "open", "high", "low", "close", "volume", "value")
KEY = 3  # the first so many columns

_key = attrgetter(*COLUMNS[:KEY])

CHUNK = 1000
"""Rows that are put into text at once: long enough to be quick, short enough for the loop."""

ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
"""What would end a field or a row of COPY, as COPY wants it written."""

CREATE_INCOMING = "CREATE TEMP TABLE incoming_candles (LIKE candles) ON COMMIT DROP"
COPY_INCOMING = (
    "COPY incoming_candles (market, unit, ts, open, high, low, close, volume, value) FROM STDIN"
)
INSERT_NEW = """
INSERT INTO candles (market, unit, ts, open, high, low, close, volume, value)
SELECT market, unit, ts, open, high, low, close, volume, value FROM incoming_candles
ON CONFLICT (market, unit, ts) DO NOTHING
"""
# DO UPDATE would lock and so write every row that it finds, the equal ones included. The bounds
# keep the search to the months that the candles are of.
UPDATE_DIFFERENT = """
WITH different AS (
    SELECT incoming.*
    FROM incoming_candles AS incoming
    JOIN candles AS stored USING (market, unit, ts)
    WHERE stored.ts BETWEEN %(first)s AND %(last)s
        AND (stored.open, stored.high, stored.low, stored.close, stored.volume, stored.value)
        IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close,
            incoming.volume, incoming.value)
    ORDER BY market, unit, ts
    FOR UPDATE OF stored
)
UPDATE candles AS stored SET
    open = different.open, high = different.high, low = different.low, close = different.close,
    volume = different.volume, value = different.value
FROM different
WHERE (stored.market, stored.unit, stored.ts)
    = (different.market, different.unit, different.ts)
    AND stored.ts BETWEEN %(first)s AND %(last)s
"""
LAST_CLOSES = """
SELECT DISTINCT ON (market) market, close
FROM candles
WHERE unit = 1 AND market = ANY(%(markets)s) AND ts BETWEEN %(since)s AND %(until)s
ORDER BY market, ts DESC
"""

NEWEST = """
SELECT wanted.market, newest.ts
FROM unnest(%(markets)s::text[]) AS wanted (market)
CROSS JOIN LATERAL (
    SELECT ts FROM candles
    WHERE market = wanted.market AND unit = %(unit)s
    ORDER BY ts DESC LIMIT 1
) AS newest
"""
GAPS = """
SELECT market, previous + %(step)s, ts
FROM (
    SELECT market, ts,
        lag(ts, 1, %(since)s - %(step)s) OVER (PARTITION BY market ORDER BY ts) AS previous
    FROM (
        SELECT market, ts FROM candles
        WHERE market = ANY (%(markets)s::text[]) AND unit = %(unit)s
            AND ts >= %(since)s AND ts < %(until)s
        UNION ALL SELECT unnest(%(markets)s::text[]), %(until)s
    ) AS stored
) AS pairs
WHERE ts > previous + %(step)s
ORDER BY market, ts
"""
WINDOW = """
SELECT last.market, last.unit, last.ts, last.open, last.high, last.low, last.close,
    last.volume, last.value
FROM unnest(%(markets)s::text[]) AS wanted (market)
CROSS JOIN LATERAL (
    SELECT * FROM candles
    WHERE market = wanted.market AND unit = %(unit)s AND ts < %(until)s
    ORDER BY ts DESC LIMIT %(count)s
) AS last
ORDER BY last.market, last.ts
"""

JOINED = """
SELECT wanted.market, wanted.since, (array_agg(open ORDER BY ts))[1], max(high), min(low),
    (array_agg(close ORDER BY ts DESC))[1], sum(volume), sum(value)
FROM unnest(%(markets)s::text[], %(begins)s::timestamptz[], %(ends)s::timestamptz[])
    AS wanted (market, since, until)
JOIN candles ON candles.market = wanted.market AND candles.unit = %(base)s
    AND candles.ts >= wanted.since AND candles.ts < wanted.until
    AND candles.ts >= %(first)s AND candles.ts < %(last)s
GROUP BY 1, 2
"""

# one pass over the small candles; the oldest open and the newest close of each interval
AGGREGATED = """
SELECT market, date_bin(%(step)s, ts, 'epoch'::timestamptz) AS start,
    (array_agg(open ORDER BY ts))[1], max(high), min(low),
    (array_agg(close ORDER BY ts DESC))[1], sum(volume), sum(value), min(ts)
FROM candles
WHERE market = ANY (%(markets)s::text[]) AND unit = %(base)s
    AND ts >= %(begin)s AND ts < %(end)s
GROUP BY 1, 2
ORDER BY 1, 2
"""


async def upsert(db: Database, candles: Sequence[Candle]) -> int:
    """Store the candles in one transaction; return how many rows are new or different.

    Storing the same candles again changes nothing. Of two with the same key the later one counts.
    """
    if not candles:
        return 0
    latest = {_key(candle): candle for candle in candles}
    # one order for all writers, so that two of them cannot wait for each other
    ordered = [latest[key] for key in sorted(latest)]
    async with db.connection() as connection, connection.transaction():
        cursor = connection.cursor()
        await cursor.execute(CREATE_INCOMING)
        async with cursor.copy(COPY_INCOMING) as copy:
            for start in range(0, len(ordered), CHUNK):
                await copy.write(_lines(ordered[start : start + CHUNK]))
        await cursor.execute(INSERT_NEW)
        changed = cursor.rowcount
        if changed < len(ordered):
            stamps = [candle.ts for candle in ordered]
            await cursor.execute(UPDATE_DIFFERENT, {"first": min(stamps), "last": max(stamps)})
            changed += cursor.rowcount
        return changed


def _lines(candles: Sequence[Candle]) -> str:
    """The candles as COPY wants text; three times as quick as row by row."""
    return "".join(
        [
            f"{_escaped(c.market)}\t{c.unit}\t{c.ts.isoformat()}\t{c.open!s}\t{c.high!s}\t"
            f"{c.low!s}\t{c.close!s}\t{c.volume!s}\t{c.value!s}\n"
            for c in candles
        ]
    )


@lru_cache(maxsize=4096)
def _escaped(market: str) -> str:
    return market.translate(ESCAPES)


async def last_closes(
    db: Database, markets: Sequence[str], since: datetime, until: datetime
) -> dict[str, Decimal]:
    """Return the close of each market's newest minute that began in [since, until]."""
    async with db.connection() as connection:
        params = {"markets": list(markets), "since": since, "until": until}
        cursor = await connection.execute(LAST_CLOSES, params)
        return {market: close async for market, close in cursor}


async def newest(db: Database, markets: Sequence[str], unit: int) -> dict[str, datetime]:
    """Return the start of the newest stored candle of each market that has any."""
    async with db.connection() as connection:
        cursor = await connection.execute(NEWEST, {"markets": list(markets), "unit": unit})
        return {market: ts async for market, ts in cursor}


async def gaps(
    db: Database, market: str, unit: int, since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """Return what is missing of one market; see `gaps_of`."""
    return (await gaps_of(db, [market], unit, since, until))[market]


async def gaps_of(
    db: Database, markets: Sequence[str], unit: int, since: datetime, until: datetime
) -> dict[str, list[tuple[datetime, datetime]]]:
    """Return what each market misses of [since, until): start of the first and end of the last.

    Each gap is half open, oldest first. The venue has no candle for a minute without a trade, so
    a gap may stay one.
    """
    found: dict[str, list[tuple[datetime, datetime]]] = {market: [] for market in markets}
    step = timedelta(minutes=unit)
    first, end = _up_to_grid(since, step), _down_to_grid(until, step)
    if first >= end or not markets:
        return found
    wanted = {"markets": list(found), "unit": unit, "since": first, "until": end, "step": step}
    async with db.connection() as connection:
        async for market, start, stop in await connection.execute(GAPS, wanted):
            found[market].append((start, stop))
    return found


async def window(
    db: Database, markets: Sequence[str], unit: int, count: int, until: datetime
) -> dict[str, list[Candle]]:
    """Return the last `count` candles of each market that start before `until`, oldest first."""
    wanted = {"markets": list(markets), "unit": unit, "count": count, "until": until}
    found: dict[str, list[Candle]] = {market: [] for market in markets}
    async with db.connection() as connection:
        cursor = await connection.execute(WINDOW, wanted)
        async for row in cursor:
            candle = Candle(**dict(zip(COLUMNS, row, strict=True)))
            found[candle.market].append(candle)
    return found


async def aggregated(
    db: Database, markets: Sequence[str], base: int, unit: int, span: tuple[datetime, datetime]
) -> dict[str, list[Candle]]:
    """Return the candles of `unit` inside `span`, made of those of `base`, oldest first.

    `span` begins and ends on the grid of `unit`. The same as jobs/candles/resample.py makes.
    """
    begin, end = span
    wanted = {
        "markets": list(markets),
        "base": base,
        "step": timedelta(minutes=unit),
        "begin": begin,
        "end": end,
    }
    found: dict[str, list[Candle]] = {market: [] for market in markets}
    first_seen: dict[str, datetime] = {}
    async with db.connection() as connection:
        async for market, start, *prices, first in await connection.execute(AGGREGATED, wanted):
            first_seen.setdefault(market, first)
            values = (market, unit, start, *prices)
            found[market].append(Candle(**dict(zip(COLUMNS, values, strict=True))))
    return {market: whole(made, first_seen.get(market, begin)) for market, made in found.items()}


async def joined(
    db: Database, base: int, unit: int, spans: Mapping[str, tuple[datetime, datetime]]
) -> dict[str, Candle]:
    """Return each market's candle of `unit` made of those of `base` that begin in its span.

    It begins with the span, which may be cut off anywhere. A market without any has none.
    """
    if not spans:
        return {}
    begins = [since for since, _ in spans.values()]
    ends = [until for _, until in spans.values()]
    wanted = {
        "markets": list(spans),
        "begins": begins,
        "ends": ends,
        "base": base,
        "first": min(begins),  # bounds that the partitions can be chosen by
        "last": max(ends),
    }
    async with db.connection() as connection:
        cursor = await connection.execute(JOINED, wanted)
        return {
            market: Candle(**dict(zip(COLUMNS, (market, unit, *rest), strict=True)))
            async for market, *rest in cursor
        }


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _down_to_grid(instant: datetime, step: timedelta) -> datetime:
    return instant - (instant - _EPOCH) % step


def _up_to_grid(instant: datetime, step: timedelta) -> datetime:
    return instant + (_EPOCH - instant) % step
