"""Market snapshots: what a signal was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from jobs.store.db import Database
from jobs.upbit.wire import Ticker

INSERT = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
SELECT * FROM unnest(
    %s::text[], %s::timestamptz[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[])
RETURNING market, id
"""
LATEST = """
SELECT last.id, last.market, last.ts, last.price, last.volume_24h, last.value_24h,
    last.change_rate
FROM unnest(%s::text[]) AS wanted (market)
CROSS JOIN LATERAL (
    SELECT * FROM market_data WHERE market = wanted.market ORDER BY ts DESC LIMIT 1
) AS last
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One market at one instant. `volume_24h` in coins, `value_24h` in won."""

    id: int
    market: str
    ts: datetime
    price: Decimal
    volume_24h: Decimal
    value_24h: Decimal
    change_rate: Decimal


async def insert(db: Database, tickers: Sequence[Ticker]) -> dict[str, int]:
    """Store a snapshot of each market; return the new row's id per market."""
    if not tickers:
        return {}
    columns = (
        [ticker.market for ticker in tickers],
        [ticker.ts for ticker in tickers],
        [ticker.price for ticker in tickers],
        [ticker.volume_24h for ticker in tickers],
        [ticker.value_24h for ticker in tickers],
        [ticker.change_rate for ticker in tickers],
    )
    async with db.connection() as connection:
        cursor = await connection.execute(INSERT, columns)
        return {market: number async for market, number in cursor}


async def latest(db: Database, markets: Sequence[str]) -> dict[str, Snapshot]:
    """Return the newest snapshot of each market that has any."""
    names = ("id", "market", "ts", "price", "volume_24h", "value_24h", "change_rate")
    async with db.connection() as connection:
        cursor = await connection.execute(LATEST, (list(markets),))
        rows = [Snapshot(**dict(zip(names, row, strict=True))) async for row in cursor]
    return {snapshot.market: snapshot for snapshot in rows}
