"""The newest snapshot of each market, from a cache in front of `market_data`, to be shown.

The market job writes through it, so that what it has just stored is found without a query. Nothing
that decides reads from here: with a Redis others can write what it says. Orders and signals ask
the exchange and `market_data` itself (jobs/orders/quotes.py, jobs/signals/job.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.cache.cache import Cache
from jobs.cache.shared_tier import Codec
from jobs.core.job import Clock
from jobs.store import market_data
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.upbit.wire import Ticker

AHEAD = timedelta(seconds=5)
"""How far another process's clock may be ahead of ours."""
MOST_DIGITS, MOST_EXPONENT = 80, 30
LARGEST_ID = 2**63


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


def codec(clock: Clock) -> Codec[Snapshot]:
    """Snapshots as JSON: exact, and nothing else is taken for one.

    Whoever can write into the Redis can write these: what is of another market, without a positive
    price, out of all proportion or from the future is refused. An exponent is refused before
    anything is computed: `1E+30000000` alone would be a text of 30 MB.
    """

    def decode(key: str, raw: Any) -> Snapshot | None:
        if raw is None:
            return None
        number, market, ts, *amounts = raw
        price, volume_24h, value_24h, change_rate = map(_amount, amounts)
        if market != key or price <= 0 or volume_24h < 0 or value_24h < 0:
            raise ValueError("no snapshot of this market")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < LARGEST_ID:
            raise ValueError("no row")
        at = datetime.fromisoformat(ts)
        if at.tzinfo is None or at > clock() + AHEAD:
            raise ValueError("no instant that was")
        return Snapshot(
            id=number,
            market=market,
            ts=at,
            price=price,
            volume_24h=volume_24h,
            value_24h=value_24h,
            change_rate=change_rate,
        )

    return Codec(encode=_encode, decode=decode)  # type: ignore[arg-type]  # None too


def _amount(raw: object) -> Decimal:
    if not isinstance(raw, str) or len(raw) > MOST_DIGITS:
        raise ValueError("no amount")
    amount = Decimal(raw)
    if not amount.is_finite() or abs(amount.adjusted()) > MOST_EXPONENT:
        raise ValueError("no amount")
    return amount
