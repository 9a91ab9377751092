"""The newest snapshot of each market, from a cache in front of `market_data`.

The market job writes through it, so that what it has just stored is found without a query. A
snapshot carries its instant: whoever must not act on old data looks at that, wherever it came
from. Prices for exits are asked of the exchange and never come from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from jobs.store import market_data
from jobs.store.cache import Cache
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.store.shared_tier import Codec
from jobs.upbit.wire import Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """Snapshots of markets; without a cache every question goes to the database."""

    db: Database
    cache: Cache[Snapshot] | None = None

    async def insert(self, tickers: Sequence[Ticker]) -> dict[str, int]:
        """Store a snapshot of each market; return the new row's id per market."""
        ids = await market_data.insert(self.db, tickers)
        if self.cache is not None:
            await self.cache.put_many({each.market: _snapshot(each, ids) for each in tickers})
        return ids

    async def latest(self, markets: Sequence[str]) -> Mapping[str, Snapshot]:
        """Return the newest snapshot of each market that has any."""
        if self.cache is None:
            return await market_data.latest(self.db, markets)
        return await self.cache.get_many(markets, lambda rest: market_data.latest(self.db, rest))


def _snapshot(ticker: Ticker, ids: Mapping[str, int]) -> Snapshot:
    return Snapshot(
        id=ids[ticker.market],
        market=ticker.market,
        ts=ticker.ts,
        price=ticker.price,
        volume_24h=ticker.volume_24h,
        value_24h=ticker.value_24h,
        change_rate=ticker.change_rate,
    )


def _encode(snapshot: Snapshot | None) -> object:
    if snapshot is None:
        return None
    return [
        snapshot.id,
        snapshot.market,
        snapshot.ts.isoformat(),
        *(format(each, "f") for each in _amounts(snapshot)),
    ]


def _amounts(snapshot: Snapshot) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return snapshot.price, snapshot.volume_24h, snapshot.value_24h, snapshot.change_rate


def _decode(raw: Any) -> Snapshot | None:
    if raw is None:
        return None
    number, market, ts, *amounts = raw
    price, volume_24h, value_24h, change_rate = map(Decimal, amounts)
    if not (isinstance(number, int) and isinstance(market, str) and price.is_finite()):
        raise ValueError("no snapshot")
    at = datetime.fromisoformat(ts)
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return Snapshot(
        id=number,
        market=market,
        ts=at,
        price=price,
        volume_24h=volume_24h,
        value_24h=value_24h,
        change_rate=change_rate,
    )


CODEC: Codec[Snapshot] = Codec(encode=_encode, decode=_decode)  # type: ignore[arg-type]  # None too
"""Snapshots as JSON: exact, and nothing else is taken for one."""
