"""Spans of candles that the exchange was asked for and that are stored, empty minutes included.

Without them a minute in which nobody traded would look missing for ever. Spans of one market and
unit never touch: where two meet they become one.
"""

from datetime import datetime

from jobs.store.db import Database

_SPANS = """
SELECT since, until FROM candle_proofs
WHERE market = %(market)s AND unit = %(unit)s AND until > %(since)s AND since < %(until)s
ORDER BY since
"""
_ADD = """
WITH touching AS (
    DELETE FROM candle_proofs
    WHERE market = %(market)s AND unit = %(unit)s AND since <= %(until)s AND until >= %(since)s
    RETURNING since, until
)
INSERT INTO candle_proofs (market, unit, since, until)
SELECT %(market)s, %(unit)s, least(%(since)s, min(since)), greatest(%(until)s, max(until))
FROM touching
ON CONFLICT (market, unit, since) DO UPDATE
    SET until = greatest(candle_proofs.until, excluded.until)
"""
_CUT = """
WITH gone AS (
    DELETE FROM candle_proofs WHERE unit = %(unit)s AND until <= %(before)s
)
UPDATE candle_proofs SET since = %(before)s
WHERE unit = %(unit)s AND since < %(before)s AND until > %(before)s
"""


async def spans(
    db: Database, market: str, unit: int, since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """The proven spans that reach into [since, until), oldest first, each half open."""
    wanted = {"market": market, "unit": unit, "since": since, "until": until}
    async with db.connection() as connection:
        cursor = await connection.execute(_SPANS, wanted)
        return [(begin, end) async for begin, end in cursor]


async def add(db: Database, market: str, unit: int, since: datetime, until: datetime) -> None:
    """Note that every candle of [since, until) is stored; call it after storing them."""
    wanted = {"market": market, "unit": unit, "since": since, "until": until}
    async with db.connection() as connection:
        await connection.execute(_ADD, wanted)


async def forget_before(db: Database, unit: int, before: datetime) -> None:
    """Take proofs back whose candles are deleted."""
    async with db.connection() as connection:
        await connection.execute(_CUT, {"unit": unit, "before": before})
