"""What the caches remember is what the database and the exchange say, and not too long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from redis import Redis

from daemon.caching.caches import Caches, open_caches
from daemon.config.sections import CacheConfig
from jobs.cache.listener import listen
from jobs.cache.snapshots import Snapshots
from jobs.store import market_data, vitals
from jobs.store.db import Database
from jobs.upbit.wire import Market, Ticker

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SIGNAL = (
    "INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model,"
    " candle_ts) SELECT max(id), 'KRW-BTC', 'buy', 0.7, 'r', 'rules', 'm', %s FROM market_data"
)


def ticker(price: str, market: str = "KRW-BTC") -> Ticker:
    return Ticker(
        market=market,
        price=Decimal(price),
        volume_24h=Decimal("0.00000001"),
        value_24h=Decimal("123456789012345678.12345678"),
        change_rate=Decimal("-0.0123"),
        ts=NOW,
    )


@pytest.fixture
async def caches(database: Database) -> AsyncIterator[Caches]:
    async with open_caches(database, CacheConfig()) as opened:
        yield opened


@pytest.fixture
async def two(database: Database, redis_url: str) -> AsyncIterator[tuple[Caches, Caches]]:
    """Two processes with one Redis between them, both listening to it."""
    async with (
        open_caches(database, CacheConfig(), redis_url) as first,
        open_caches(database, CacheConfig(), redis_url) as second,
        following(first, redis_url),
        following(second, redis_url),
    ):
        yield first, second


@asynccontextmanager
async def following(caches: Caches, redis_url: str) -> AsyncIterator[None]:
    before = subscribers(redis_url)
    task = asyncio.create_task(caches.follow())
    while subscribers(redis_url) == before:  # noqa: ASYNC110 -- the server has no event
        await asyncio.sleep(0.001)
    yield
    task.cancel()
    await asyncio.wait([task])


def subscribers(redis_url: str) -> int:
    with Redis.from_url(redis_url) as client:
        return sum(count for _, count in client.pubsub_numsub(*client.pubsub_channels()))


async def test_what_the_market_job_stores_is_found_without_a_query(
    caches: Caches, database: Database
) -> None:
    stored = await caches.snapshots.insert([ticker("1.5"), ticker("2", "KRW-ETH")])
    found = await caches.snapshots.latest(["KRW-BTC", "KRW-ETH", "KRW-NONE"])
    assert found == await market_data.latest(database, ["KRW-BTC", "KRW-ETH"])
    assert {market: each.id for market, each in found.items()} == stored
    prices = next(each for each in caches.stats() if each.cache == "prices")
    assert (prices.hits, prices.misses) == (2, 1)


async def test_without_a_cache_every_question_is_asked(database: Database) -> None:
    snapshots = Snapshots(db=database)
    await snapshots.insert([ticker("1")])
    await market_data.insert(database, [ticker("2")])
    assert (await snapshots.latest(["KRW-BTC"]))["KRW-BTC"].price in (1, 2)
    assert await snapshots.latest([]) == {}


async def test_a_snapshot_is_the_same_to_the_last_digit_in_another_process(
    two: tuple[Caches, Caches], database: Database
) -> None:
    first, second = two
    await first.snapshots.insert([ticker("95000000.00000001")])
    there = await second.snapshots.latest(["KRW-BTC", "KRW-NONE"])
    assert there == await market_data.latest(database, ["KRW-BTC"])
    redis = next(e for e in second.stats() if (e.cache, e.tier) == ("prices", "redis"))
    assert (redis.hits, redis.misses, redis.errors) == (1, 1, 0)


async def test_a_price_put_by_one_process_is_forgotten_by_the_other_at_once(
    two: tuple[Caches, Caches],
) -> None:
    first, second = two
    await first.snapshots.insert([ticker("1")])
    assert (await second.snapshots.latest(["KRW-BTC"]))["KRW-BTC"].price == 1
    await first.snapshots.insert([ticker("2")])
    async with asyncio.timeout(30):
        while (await second.snapshots.latest(["KRW-BTC"]))["KRW-BTC"].price != 2:  # noqa: ASYNC110
            await asyncio.sleep(0)  # the message is on its way


async def test_two_databases_on_one_redis_do_not_see_each_others_rows(
    database: Database, redis_url: str, empty_dsn: str
) -> None:
    async with open_caches(database, CacheConfig(), redis_url) as ours:
        await ours.snapshots.insert([ticker("1")])
    with Redis.from_url(redis_url) as client:
        (key,) = client.keys("*prices*")
        prefix = key.decode().split(":")[1]
        client.rename(key, key.replace(prefix.encode(), b"another-database"))
    async with open_caches(database, CacheConfig(), redis_url) as ours:
        assert (await ours.snapshots.latest(["KRW-BTC"]))["KRW-BTC"].price == 1
        redis = next(e for e in ours.stats() if (e.cache, e.tier) == ("prices", "redis"))
        assert (redis.hits, redis.misses) == (0, 1)


class Exchange:
    def __init__(self) -> None:
        self.asked = 0

    async def markets(self) -> list[Market]:
        self.asked += 1
        return [Market(market="KRW-BTC", korean_name="비트코인", english_name="B", warning=True)]

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        return [ticker("1")]


async def test_the_list_of_markets_is_asked_for_once_by_each_process(
    two: tuple[Caches, Caches], redis_url: str
) -> None:
    exchange = Exchange()
    listed = [await each.listing(exchange, "https://x").markets() for each in (*two, *two)]
    assert listed == [await Exchange().markets()] * 4
    assert exchange.asked == 2
    with Redis.from_url(redis_url) as client:
        assert client.keys("*markets*") == []  # names and warnings decide
    assert await two[0].listing(exchange, "https://elsewhere").markets()
    assert exchange.asked == 3
    assert await two[0].listing(exchange, "https://x").all_tickers() == [ticker("1")]


async def test_the_newest_signal_is_remembered_only_while_changes_are_heard(
    caches: Caches, database: Database, dsn: str
) -> None:
    await market_data.insert(database, [ticker("1")])
    for _ in range(3):
        assert await caches.latest_signal.current() is None
    signals = next(each for each in caches.stats() if each.cache == "signals")
    assert (signals.hits, signals.misses) == (0, 3)
    task = asyncio.create_task(listen(dsn, caches.ears()))
    async with asyncio.timeout(30):
        await caches.latest_signal.heard.wait()
        for _ in range(3):
            assert await caches.latest_signal.current() is None
        with psycopg.connect(dsn, autocommit=True) as by_hand:
            by_hand.execute(SIGNAL, (NOW,))
        while await caches.latest_signal.current() is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert await caches.latest_signal.current() == await vitals.latest_signal(database)
    task.cancel()
    await asyncio.wait([task])
    before = signals_misses(caches)
    await caches.latest_signal.current()
    assert signals_misses(caches) == before + 1


def signals_misses(caches: Caches) -> int:
    return next(each for each in caches.stats() if each.cache == "signals").misses


async def test_warming_fills_what_the_first_jobs_ask_for(
    caches: Caches, database: Database, dsn: str
) -> None:
    await market_data.insert(database, [ticker("1")])
    task = asyncio.create_task(listen(dsn, caches.ears()))
    await caches.warm(["KRW-BTC"])
    await caches.settings.current()
    await caches.latest_signal.current()
    await caches.snapshots.latest(["KRW-BTC"])
    hits = {each.cache: each.hits for each in caches.stats()}
    assert hits == {"settings": 1, "signals": 1, "prices": 1, "markets": 0}
    task.cancel()
    await asyncio.wait([task])


async def test_a_start_without_a_listener_is_cold_and_not_late(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.caching.caches.WARM_S", 0.01)
    await caches.warm(["KRW-BTC"])
    assert signals_misses(caches) == 0
