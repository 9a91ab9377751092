"""The shared tier on a real Redis, healthy, hurt and away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from jobs.cache.cache import Cache, Terms
from jobs.cache.redis_tier import Breaker, RedisTier, open_redis
from jobs.cache.shared_tier import Codec, SharedTierDown

if TYPE_CHECKING:
    from loguru import Record


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def tier(redis_url: str) -> AsyncIterator[RedisTier]:
    async with open_redis(redis_url, prefix="test", timeout_s=5.0) as opened:
        yield opened


async def test_what_was_put_is_got_until_it_is_dropped(tier: RedisTier) -> None:
    assert await tier.get("a") is None
    await tier.put("a", {"price": "1.50", "한글": [1, None]}, 60.0)
    found = await tier.get("a")
    assert found is not None
    assert found[0] == {"price": "1.50", "한글": [1, None]}
    assert 0 < found[1] <= 60
    await tier.drop("a")
    assert await tier.get("a") is None


async def test_keys_name_the_program_and_the_form_of_their_values(
    tier: RedisTier, redis_url: str
) -> None:
    await tier.put("price:KRW-BTC", 1, 60.0)
    with Redis.from_url(redis_url) as client:
        assert client.keys() == [b"test:1:price:KRW-BTC"]
        assert client.get("test:1:price:KRW-BTC") == b"1"


async def test_what_has_no_end_is_not_ours(tier: RedisTier, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("test:1:a", b"1")
    assert await tier.get("a") is None


async def test_garbage_costs_one_error_and_is_replaced(tier: RedisTier, redis_url: str) -> None:
    codec = Codec[Decimal](encode=str, decode=lambda _key, raw: Decimal(raw))
    cache = Cache("price", Terms(ttl_s=60.0), shared=tier, codec=codec)

    async def load() -> Decimal:
        return Decimal("1.5")

    with Redis.from_url(redis_url) as client:
        client.set("test:1:price:a", b"\x80\x04pickle", ex=60)
        assert await cache.get("a", load) == Decimal("1.5")
        assert client.get("test:1:price:a") == b'"1.5"'
        client.delete("test:1:price:a")
        client.lpush("test:1:price:a", "a list")
        client.expire("test:1:price:a", 60)
    cache.clear()
    assert await cache.get("a", load) == Decimal("1.5")
    assert cache.stats()[1].errors == 2


@asynccontextmanager
async def silent_server(directory: Path) -> AsyncIterator[str]:
    """A server that takes connections and never answers."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hold, directory / "silent.sock")
    async with server:
        yield f"unix://{directory}/silent.sock"


async def test_a_server_that_hangs_is_down_soon(tmp_path: Path) -> None:
    async with silent_server(tmp_path) as url, open_redis(url, timeout_s=0.01) as tier:
        with pytest.raises(SharedTierDown):
            await tier.get("a")


async def test_a_server_that_is_away_is_down_and_soon_not_asked_at_all(
    tmp_path: Path, log_records: "list[Record]"
) -> None:
    async with open_redis(f"unix://{tmp_path}/none.sock") as tier:
        for ask in (tier.get("a"), tier.put("a", 1, 1.0), tier.drop("a"), tier.get("a")):
            with pytest.raises(SharedTierDown):
                await ask
    told = [r["extra"] for r in log_records if r["extra"].get("event") == "cache.redis"]
    assert [extra["state"] for extra in told] == ["open"]


async def test_an_open_breaker_closes_with_the_first_answer(
    redis_url: str, log_records: "list[Record]"
) -> None:
    time = Time()
    breaker = Breaker(failures=2, open_s=5.0, monotonic=time)

    async with open_redis(redis_url, timeout_s=5.0) as opened:
        tier = RedisTier(opened._client, prefix="test", timeout_s=5.0, breaker=breaker)
        for _ in range(2):
            breaker.failed(OSError())
        with pytest.raises(SharedTierDown):
            await tier.get("a")
        time.now = 5.0
        await tier.put("a", 1, 60.0)
        assert await tier.get("a") is not None
    states = [r["extra"]["state"] for r in log_records if r["extra"].get("event") == "cache.redis"]
    assert states == ["open", "closed"]


def broken(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(OSError())


def test_the_breaker_opens_only_after_failures_in_a_row() -> None:
    breaker = Breaker(failures=3, open_s=5.0, monotonic=Time())
    broken(breaker, 2)
    breaker.succeeded()
    broken(breaker, 2)
    assert breaker.admits()
    broken(breaker, 1)
    assert not breaker.admits()


def test_an_open_breaker_lets_one_try_at_a_time() -> None:
    time = Time()
    breaker = Breaker(failures=1, open_s=5.0, monotonic=time)
    broken(breaker, 1)
    time.now = 4.9
    assert not breaker.admits()
    time.now = 5.0
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    broken(breaker, 1)
    time.now = 10.0
    assert breaker.admits()
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True] * 3


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="redis"):
        async with open_redis("http://x"):
            pass
