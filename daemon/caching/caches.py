"""The daemon's caches: opened together, warmed at start, counted, and told of when they fail.

Three keep to this process: settings and the newest signal, because the database itself tells of
every change, and the exchange's list of markets, because it decides (names stand in the prompt,
warnings bar entries). One is shared through Redis where there is one: snapshots, the prices that
are shown. Nothing that decides comes from a Redis, which others may be able to write: orders and
signals read prices from the exchange or from Postgres, settings at order time in the order's own
transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from loguru import logger
from sqlalchemy import text

from daemon.config.sections import CacheConfig
from daemon.telemetry.metrics import Metrics, Reading
from jobs.cache import latest_signal, market_names, settings_cache, snapshots
from jobs.cache.cache import Cache, Terms
from jobs.cache.latest_signal import LatestSignal
from jobs.cache.listener import Ear
from jobs.cache.market_names import RememberedListing
from jobs.cache.redis_tier import RedisTier, open_redis
from jobs.cache.settings_cache import SettingsCache
from jobs.cache.snapshots import Snapshots
from jobs.cache.stats import TierStats
from jobs.core.errors import JobError
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.store.vitals import SignalVital
from jobs.upbit.wire import Market

WARM_S = 1.0
AHEAD = 0.1
"""The last tenth of a value's time, in which one that is much used is loaded anew."""
ABSENT_S = 5.0

_IDENTITY = """
SELECT system_identifier::text || '-' || oid::text FROM pg_control_system(), pg_database
WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """What is remembered, and how its tiers do. `shared` is None without Redis."""

    settings: SettingsCache
    latest_signal: LatestSignal
    snapshots: Snapshots
    signals_cache: Cache[SignalVital | None]
    prices_cache: Cache[Snapshot]
    markets_cache: Cache[list[Market]]
    shared: RedisTier | None

    def stats(self) -> list[TierStats]:
        """The counts of every tier in use; may be asked from any thread."""
        caches: tuple[Cache[Any], ...]
        caches = (self.prices_cache, self.signals_cache, self.markets_cache)
        return [self.settings.stats, *(tier for cache in caches for tier in cache.stats())]

    def ears(self) -> dict[str, Ear]:
        """Who is to hear what on which of the database's channels."""
        return {
            settings_cache.CHANNEL: self.settings,
            latest_signal.CHANNEL: self.latest_signal,
        }

    def listing(self, exchange: market_names.Exchange, venue: str) -> RememberedListing:
        """The exchange's list of markets through its cache."""
        return RememberedListing(exchange=exchange, cache=self.markets_cache, venue=venue)

    async def warm(self, markets: Sequence[str]) -> None:
        """Load what the first jobs will ask for; what cannot be had in a second is left."""

        async def all_of_it() -> None:
            await self.latest_signal.heard.wait()  # what was loaded before would not be kept
            await self.settings.current()
            await self.latest_signal.current()
            await self.snapshots.latest(markets)

        await _at_ease("warm", all_of_it())

    async def follow(self) -> None:
        """Forget what other processes change in the shared tier. Runs until cancelled."""
        if self.shared is not None:
            await self.shared.follow(self._forget, self.prices_cache.clear)

    def _forget(self, name: str) -> None:
        cache, _, key = name.partition(":")
        if cache == self.prices_cache.name:
            self.prices_cache.forget(key)

    def watch(self, metrics: Metrics) -> None:
        """Add the counts to /metrics."""

        def reading(count: Callable[[TierStats], int]) -> Callable[[], Reading]:
            return lambda: [((each.cache, each.tier), count(each)) for each in self.stats()]

        for name, count in (
            ("hits", lambda each: each.hits),
            ("misses", lambda each: each.misses),
            ("errors", lambda each: each.errors),
            ("evictions", lambda each: each.evictions),
        ):
            metrics.watch(
                f"upbitd_cache_{name}",
                f"Cache {name}.",
                ("cache", "tier"),
                reading(count),
                kind="counter",
            )


@asynccontextmanager
async def open_caches(
    db: Database, config: CacheConfig, redis_url: str = ""
) -> AsyncIterator[Caches]:
    """Yield the caches; a Redis that is away is no reason not to start."""
    async with AsyncExitStack() as stack:
        shared = None
        if redis_url:
            prefix = f"upbitd:{await _identity(db)}"
            shared = await stack.enter_async_context(open_redis(redis_url, prefix=prefix))

        def terms(ttl: timedelta, absent_s: float | None = None) -> Terms:
            ttl_s = ttl.total_seconds()
            return Terms(
                ttl_s=ttl_s,
                absent_s=None if absent_s is None else min(ttl_s, absent_s),
                ahead_s=AHEAD * ttl_s,
                max_entries=config.max_entries,
            )

        signals = Cache[SignalVital | None]("signals", terms(config.signal_ttl))
        prices = Cache[Snapshot](
            "prices", terms(config.price_ttl, ABSENT_S), shared=shared, codec=snapshots.codec(_now)
        )
        yield Caches(
            settings=SettingsCache(db, config.settings_ttl.total_seconds()),
            latest_signal=LatestSignal(db, signals),
            snapshots=Snapshots(db=db, cache=prices),
            signals_cache=signals,
            prices_cache=prices,
            markets_cache=Cache("markets", terms(config.market_info_ttl)),
            shared=shared,
        )


def _now() -> datetime:
    return datetime.now(UTC)


async def _identity(db: Database) -> str:
    """What tells this database from all others that may share the same Redis."""
    async with db.begin() as tx:
        return str((await tx.execute(text(_IDENTITY))).scalar_one())


async def _at_ease(what: str, work: Awaitable[None]) -> None:
    """Do it within a second; a failure is a line and nothing more."""
    try:
        async with asyncio.timeout(WARM_S):
            await work
    except (JobError, TimeoutError) as error:
        logger.bind(event=f"cache.{what}", error=str(error) or type(error).__name__).warning(
            "The caches start cold"
        )
