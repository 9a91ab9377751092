"""What a settings read costs beside cachetools and a query, and hit rates in an hour of trading.

The hour is simulated against a real Postgres: the daemon's own calls at the daemon's own periods
(jobs, probes, listener), on a clock that jumps from one to the next.

    python -m bench.data_caches [--markets 5]
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
from cachetools import TTLCache
from loguru import logger

from bench._scratch import fresh_database, scratch_server
from daemon.caching.caches import AHEAD, Caches
from daemon.postgres.pool import PoolOptions, open_database
from jobs.cache.cache import Cache, Terms
from jobs.cache.latest_signal import LatestSignal
from jobs.cache.listener import listen
from jobs.cache.market_names import RememberedListing
from jobs.cache.settings_cache import CHANNEL, SettingsCache
from jobs.cache.snapshots import Snapshots
from jobs.store import market_data, settings
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.store.vitals import SignalVital
from jobs.upbit.wire import Market, Ticker

GOAL_RATIO, GOAL_RATE, GOAL_HEARD_MS = 2.0, 0.99, 1000
CHANGES = 100
READS = 200_000
HOUR_S = 3600
START = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass(slots=True)
class Time:
    """Seconds since the start of the hour."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


async def settings_read(db: Database) -> int:
    """Print what one read costs; tell whether the goal is missed."""
    cache = SettingsCache(db, 3600.0)
    plain: TTLCache[str, object] = TTLCache(10_000, 3600.0)
    plain["settings"] = await cache.current()
    ours, theirs = [], []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(READS):
            await cache.current()
        ours.append((time.perf_counter() - began) / READS * 1e9)
        began = time.perf_counter()
        for _ in range(READS):
            plain["settings"]
        theirs.append((time.perf_counter() - began) / READS * 1e9)
    began, queries = time.perf_counter(), 300
    for _ in range(queries):
        async with db.begin() as tx:
            await settings.read(tx)
    query = (time.perf_counter() - began) / queries * 1e9
    mine, reference = min(ours), min(theirs)
    verdict = "met" if mine <= GOAL_RATIO * reference else "MISSED"
    print(f"settings hit, ours          {mine:>10,.0f} ns")
    print(f"cachetools.TTLCache alone   {reference:>10,.0f} ns")
    print(f"a query                     {query:>10,.0f} ns")
    print(f"ratio to cachetools {mine / reference:.2f}, goal {GOAL_RATIO:g}: {verdict}")
    return int(verdict != "met")


def tickers(markets: list[str], at: datetime) -> list[Ticker]:
    """What a ticker call brings."""
    one = Decimal(1)
    return [
        Ticker(market=each, price=one, volume_24h=one, value_24h=one, change_rate=one, ts=at)
        for each in markets
    ]


def open_caches_on(db: Database, clock: Time) -> Caches:
    """The daemon's caches with its default times, on our clock."""

    def terms(ttl_s: float) -> Terms:
        return Terms(ttl_s=ttl_s, ahead_s=AHEAD * ttl_s)

    prices = Cache[Snapshot]("prices", terms(30), monotonic=clock)
    signals = Cache[SignalVital | None]("signals", terms(600), monotonic=clock)
    return Caches(
        settings=SettingsCache(db, 3600.0, monotonic=clock),
        latest_signal=LatestSignal(db, signals),
        snapshots=Snapshots(db=db, cache=prices),
        signals_cache=signals,
        prices_cache=prices,
        markets_cache=Cache[list[Market]]("markets", terms(3600), monotonic=clock),
        shared=None,
    )


class Exchange:
    """Lists markets; counts how often it was asked."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    async def markets(self) -> list[Market]:
        """All of them."""
        return [
            Market(market=each, korean_name=each, english_name=each, warning=False)
            for each in self.names
        ]

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """Nothing: the market job asks for its markets by name."""
        del quote
        return []


async def jobs_of(
    second: int, caches: Caches, listing: RememberedListing, names: list[str]
) -> None:
    """What the jobs of this second ask."""
    if second % 60 == 2:  # the market job
        at = START + timedelta(seconds=second)
        await caches.snapshots.insert(tickers(names, at))
    if second % 300 == 5:  # the signals job, and the notification of what it stored
        await listing.markets()
        await caches.snapshots.latest(names)
        caches.latest_signal.invalidate()
    if second % 10 == 0:  # the orders job
        await caches.settings.current()
        if second % 300 == 10:  # it found the new signals
            await caches.snapshots.latest(names)
    if second % 300 == 0:  # a reconciliation
        await caches.settings.current()


async def hour(db: Database, names: list[str]) -> int:
    """Live through an hour second by second and print each cache's hit rate."""
    clock = Time()
    caches = open_caches_on(db, clock)
    caches.latest_signal.hear()
    listing = caches.listing(Exchange(names), "bench")
    began = time.perf_counter()
    for second in range(HOUR_S):
        clock.now = float(second)
        await jobs_of(second, caches, listing, names)
        if second % 2 == 0:  # the probe of the newest signal
            await caches.latest_signal.current()
        if second == HOUR_S // 2:  # a person changes a setting
            caches.settings.invalidate()
        await asyncio.sleep(0)  # what is loaded ahead has its turn
    print(f"\nan hour of trading, {len(names)} markets ({time.perf_counter() - began:.1f} s)")
    hits = lookups = 0
    for each in caches.stats():
        shown = "-" if each.hit_rate is None else f"{each.hit_rate:.2%}"
        print(f"{each.cache:<10}{each.hits:>7} hits {each.misses:>5} misses  {shown:>8}")
        hits, lookups = hits + each.hits, lookups + each.hits + each.misses
    print(f"all caches {hits / lookups:.2%}, queries spared {hits:,}")
    rate = caches.settings.stats.hit_rate or 0.0
    verdict = "met" if rate >= GOAL_RATE else "MISSED"
    print(f"settings   {rate:.2%}, goal {GOAL_RATE:.0%}: {verdict}")
    return int(rate < GOAL_RATE)


async def heard(url: str, db: Database) -> int:
    """Print how soon a change by hand is seen in a process that listens."""
    cache = SettingsCache(db, 3600.0)
    task = asyncio.create_task(listen(url, {CHANNEL: cache}))
    took = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as by_hand:
        await by_hand.execute("INSERT INTO settings (key, value) VALUES ('cooldown_s', '0')")
        for n in range(1, CHANGES + 1):
            await cache.current()
            began = time.perf_counter()
            await by_hand.execute("UPDATE settings SET value = %s::jsonb", (str(n),))
            while (await cache.current()).cooldown_s != n:  # noqa: ASYNC110 -- it is what is measured
                await asyncio.sleep(0)
            took.append((time.perf_counter() - began) * 1000)
    task.cancel()
    await asyncio.wait([task])
    verdict = "met" if max(took) <= GOAL_HEARD_MS else "MISSED"
    print(
        f"\na setting changed by hand is in force after {statistics.median(took):.1f} ms, ", end=""
    )
    print(f"at most {max(took):.1f} ms of {CHANGES}; goal {GOAL_HEARD_MS} ms: {verdict}")
    return int(verdict != "met")


async def measure(url: str, markets: int) -> int:
    """All three."""
    async with open_database(url, PoolOptions(pool_min=2, pool_max=4)) as db:
        names = [f"KRW-M{n}" for n in range(markets)]
        await market_data.insert(db, tickers(names, START))
        return await settings_read(db) + await hour(db, names) + await heard(url, db)


def main() -> int:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=5)
    markets = parser.parse_args().markets
    logger.remove()
    run: Callable[[str], int] = lambda url: asyncio.run(measure(url, markets))  # noqa: E731
    with scratch_server() as server, fresh_database(server) as url:
        return min(1, run(url))


if __name__ == "__main__":
    sys.exit(main())
