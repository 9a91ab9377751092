"""What is deleted when it is old enough, a bounded number of rows at a time, and what expires.

Everything here changes nothing when run again. Every function returns how many rows it changed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import LiteralString

from jobs.store.db import Database

DAY = timedelta(days=1)
BATCH = 10_000
"""Rows a statement: locks stay short, and a deadline loses one statement's work."""

# A row's ctid is its place within one partition. Where two partitions share one, both conditions
# hold for both rows, so that the second is deleted a batch early and nothing else.
_CANDLES_OF = """
DELETE FROM candles WHERE unit = %(unit)s AND ts < %(before)s AND ctid = ANY (ARRAY(
    SELECT ctid FROM candles WHERE unit = %(unit)s AND ts < %(before)s LIMIT %(batch)s
))
"""
# one day in one statement: whoever looks sees the small candles or the large ones, and what is cut
# off is as if it had never begun. A large candle that is there already is the exchange's own.
_ROLL_UP = """
WITH gone AS (
    DELETE FROM candles WHERE unit = %(unit)s AND ts >= %(since)s AND ts < %(until)s
    RETURNING market, ts, open, high, low, close, volume, value
)
INSERT INTO candles (market, unit, ts, open, high, low, close, volume, value)
SELECT market, %(larger)s, date_bin(%(step)s, ts, 'epoch'::timestamptz),
    (array_agg(open ORDER BY ts))[1], max(high), min(low),
    (array_agg(close ORDER BY ts DESC))[1], sum(volume), sum(value)
FROM gone
GROUP BY 1, 3
ORDER BY 1, 3
ON CONFLICT (market, unit, ts) DO NOTHING
"""
_OLDEST = "SELECT min(ts) FROM candles WHERE unit = %(unit)s AND ts < %(before)s"
_CANDLES_OF_OTHERS = """
DELETE FROM candles WHERE unit <> ALL (%(units)s) AND ts < %(before)s AND ctid = ANY (ARRAY(
    SELECT ctid FROM candles WHERE unit <> ALL (%(units)s) AND ts < %(before)s LIMIT %(batch)s
))
"""
# snapshots come in the order of time: the scan ends at the first one that is young enough, however
# long the table is, and passes only those that signals still refer to
_FIRST_KEPT_SNAPSHOT = "SELECT id FROM market_data WHERE ts >= %(before)s ORDER BY id LIMIT 1"
_SNAPSHOTS = """
DELETE FROM market_data WHERE id = ANY (ARRAY(
    SELECT old.id FROM market_data AS old
    WHERE old.id < coalesce(%(first_kept)s, 9223372036854775807) AND old.ts < %(before)s
        AND NOT EXISTS (SELECT FROM signals WHERE signals.market_data_id = old.id)
    ORDER BY old.id LIMIT %(batch)s
))
"""
_RUNS = """
DELETE FROM job_runs WHERE (job, scheduled_at) IN (
    SELECT job, scheduled_at FROM job_runs WHERE scheduled_at < %(before)s
    ORDER BY scheduled_at LIMIT %(batch)s
)
"""
_PROMPTS = """
UPDATE llm_calls SET prompt = '' WHERE id = ANY (ARRAY(
    SELECT id FROM llm_calls WHERE created_at < %(before)s AND prompt <> ''
    ORDER BY created_at LIMIT %(batch)s
))
"""
_SIGNALS = """
UPDATE signals SET status = 'expired', status_reason = %(reason)s
WHERE status = 'new' AND created_at < %(before)s
"""


async def roll_up(db: Database, unit: int, larger: int, before: datetime) -> int:
    """Turn the candles of `unit` from before `before` into candles of `larger` minutes.

    `before` lies on the grid of days. Returns how many large ones were made; the small ones are
    gone. Raises ValueError unless `larger` is a multiple of `unit` that a day holds evenly.
    """
    if larger % unit or DAY % timedelta(minutes=larger):
        raise ValueError(f"candles of {unit} minutes do not roll up to {larger}")
    async with db.connection() as connection:
        cursor = await connection.execute(_OLDEST, {"unit": unit, "before": before})
        row = await cursor.fetchone()
    oldest = None if row is None else row[0]
    made = 0
    while oldest is not None and oldest < before:
        day = oldest.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        oldest = day + DAY
        values = {
            "unit": unit,
            "larger": larger,
            "step": timedelta(minutes=larger),
            "since": day,
            "until": min(oldest, before),
        }
        async with db.connection() as connection:
            made += (await connection.execute(_ROLL_UP, values)).rowcount
    return made


async def delete_candles(db: Database, unit: int, before: datetime) -> int:
    """Delete the candles of `unit` that start before `before`."""
    return await _in_batches(db, _CANDLES_OF, {"unit": unit, "before": before})


async def delete_other_candles(db: Database, units: list[int], before: datetime) -> int:
    """Delete the candles of all units but `units` that start before `before`."""
    return await _in_batches(db, _CANDLES_OF_OTHERS, {"units": units, "before": before})


async def delete_snapshots(db: Database, before: datetime) -> int:
    """Delete the market snapshots from before `before` that no signal was made from."""
    async with db.connection() as connection:
        cursor = await connection.execute(_FIRST_KEPT_SNAPSHOT, {"before": before})
        row = await cursor.fetchone()
    first_kept = None if row is None else row[0]
    return await _in_batches(db, _SNAPSHOTS, {"before": before, "first_kept": first_kept})


async def delete_runs(db: Database, before: datetime) -> int:
    """Delete the ledger rows of slots that were due before `before`."""
    return await _in_batches(db, _RUNS, {"before": before})


async def blank_prompts(db: Database, before: datetime) -> int:
    """Blank the prompts of model calls from before `before`; hash, answer and cost stay."""
    return await _in_batches(db, _PROMPTS, {"before": before})


async def expire_signals(db: Database, before: datetime, reason: str) -> int:
    """End the signals from before `before` that nobody acted on."""
    async with db.connection() as connection:
        cursor = await connection.execute(_SIGNALS, {"before": before, "reason": reason})
        return cursor.rowcount


async def _in_batches(db: Database, statement: LiteralString, values: Mapping[str, object]) -> int:
    """Run the statement until it finds less than a whole batch."""
    changed = 0
    while True:
        async with db.connection() as connection:
            cursor = await connection.execute(statement, {**values, "batch": BATCH})
        changed += cursor.rowcount
        if cursor.rowcount < BATCH:
            return changed
