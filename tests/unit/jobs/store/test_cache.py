"""Two tiers: each value is served for its time only, and a broken tier is in nobody's way."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from jobs.store.cache import Cache, Codec, SharedTierDown, TierStats, cached

TTL_S = 30.0
CODEC = Codec[Decimal](encode=str, decode=Decimal)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Where values come from; counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.failure: Exception | None = None

    async def __call__(self) -> Decimal:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return Decimal(self.calls)


class Memory:
    """A shared tier in memory that can be switched off."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[Any, float]] = {}
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise SharedTierDown

    async def get(self, name: str) -> tuple[object, float] | None:
        self._check()
        return self.values.get(name)

    async def put(self, name: str, value: object, ttl_s: float) -> None:
        self._check()
        self.values[name] = (value, ttl_s)

    async def drop(self, name: str) -> None:
        self._check()
        self.values.pop(name, None)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def alone(time: Time) -> Cache[Decimal]:
    return Cache("price", ttl_s=TTL_S, max_entries=2, monotonic=time)


@pytest.fixture
def shared(time: Time, memory: Memory) -> Cache[Decimal]:
    return Cache("price", ttl_s=TTL_S, shared=memory, codec=CODEC, monotonic=time)


async def test_a_value_is_loaded_once_and_served_to_its_last_moment(
    alone: Cache[Decimal], source: Source, time: Time
) -> None:
    assert [await alone.get("a", source) for _ in range(3)] == [1, 1, 1]
    time.now = TTL_S - 0.001
    assert await alone.get("a", source) == 1
    time.now = TTL_S
    assert await alone.get("a", source) == 2
    assert alone.stats() == [
        TierStats(cache="price", tier="process", hits=3, misses=2, errors=0, evictions=0, entries=1)
    ]
    assert alone.stats()[0].hit_rate == 0.6


async def test_before_the_first_look_there_is_no_hit_rate(alone: Cache[Decimal]) -> None:
    assert alone.stats()[0].hit_rate is None


async def test_many_who_miss_at_once_load_once(alone: Cache[Decimal], source: Source) -> None:
    assert await asyncio.gather(*(alone.get("a", source) for _ in range(10))) == [1] * 10


async def test_the_oldest_makes_room_and_is_counted(alone: Cache[Decimal], source: Source) -> None:
    for key in "abc":
        await alone.get(key, source)
    stats = alone.stats()[0]
    assert (stats.evictions, stats.entries) == (1, 2)
    assert await alone.get("a", source) == 4


async def test_what_ran_out_is_no_eviction(
    alone: Cache[Decimal], source: Source, time: Time
) -> None:
    for key in "abcd":
        await alone.get(key, source)
        time.now += TTL_S
    assert alone.stats()[0].evictions == 0


async def test_a_failure_passes_and_is_not_kept(alone: Cache[Decimal], source: Source) -> None:
    source.failure = OSError("no")
    with pytest.raises(OSError, match="no"):
        await alone.get("a", source)
    source.failure = None
    assert await alone.get("a", source) == 2


@pytest.mark.parametrize("forget", ["invalidate", "clear"])
async def test_a_forgotten_value_is_loaded_again(
    alone: Cache[Decimal], source: Source, forget: str
) -> None:
    await alone.get("a", source)
    if forget == "clear":
        alone.clear()
    else:
        await alone.invalidate("a")
    assert await alone.get("a", source) == 2


async def test_a_value_known_from_elsewhere_is_served(
    shared: Cache[Decimal], source: Source, memory: Memory
) -> None:
    await shared.put("a", Decimal("7.10"))
    assert await shared.get("a", source) == Decimal("7.10")
    assert memory.values == {"price:a": ("7.10", TTL_S)}


async def test_a_load_that_was_under_way_at_a_change_is_not_kept(
    shared: Cache[Decimal], memory: Memory
) -> None:
    go = asyncio.Event()

    async def slow() -> Decimal:
        await go.wait()
        return Decimal(1)

    async def quick() -> Decimal:
        return Decimal(2)

    old = asyncio.ensure_future(shared.get("a", slow))
    for _ in range(3):
        await asyncio.sleep(0)
    await shared.invalidate("a")
    go.set()
    assert await old == 1
    assert memory.values == {}
    assert await shared.get("a", quick) == 2


async def test_another_process_is_spared_the_load(
    shared: Cache[Decimal], memory: Memory, source: Source, time: Time
) -> None:
    await shared.get("a", source)
    neighbour = Cache("price", ttl_s=TTL_S, shared=memory, codec=CODEC, monotonic=time)
    assert await neighbour.get("a", source) == 1
    assert source.calls == 1
    process, redis = neighbour.stats()
    assert (process.misses, redis.hits, redis.misses) == (1, 1, 0)
    assert (redis.tier, redis.entries) == ("redis", None)


async def test_what_is_old_there_is_not_young_here(
    shared: Cache[Decimal], memory: Memory, source: Source, time: Time
) -> None:
    memory.values["price:a"] = ("5", 1.0)
    assert await shared.get("a", source) == 5
    time.now = 1.0
    del memory.values["price:a"]
    assert await shared.get("a", source) == 1


async def test_what_should_live_longer_there_does_not_here(
    shared: Cache[Decimal], memory: Memory, source: Source, time: Time
) -> None:
    memory.values["price:a"] = ("5", 10 * TTL_S)
    await shared.get("a", source)
    memory.values.clear()
    time.now = TTL_S
    assert await shared.get("a", source) == 1


async def test_a_shared_tier_that_is_down_costs_nothing_but_its_help(
    shared: Cache[Decimal], memory: Memory, source: Source
) -> None:
    memory.down = True
    assert await shared.get("a", source) == 1
    assert await shared.get("a", source) == 1
    await shared.put("b", Decimal(2))
    await shared.invalidate("b")
    redis = shared.stats()[1]
    assert (redis.errors, redis.misses, redis.hits) == (4, 1, 0)


async def test_garbage_in_the_shared_tier_is_replaced(
    shared: Cache[Decimal], memory: Memory, time: Time
) -> None:
    def decode(value: Any) -> int:
        return int(value["number"])

    codec = Codec[int](encode=lambda number: {"number": number}, decode=decode)
    strange: list[object] = ["x", 5, None, [], {}, {"number": "x"}, {"number": None}]
    for garbage in strange:
        memory.values["n:a"] = (garbage, TTL_S)
        cache = Cache("n", ttl_s=TTL_S, shared=memory, codec=codec, monotonic=time)

        async def load() -> int:
            return 9

        assert await cache.get("a", load) == 9
        assert memory.values["n:a"] == ({"number": 9}, TTL_S)
        assert cache.stats()[1].errors == 1


async def test_nothing_is_worth_keeping_too(shared: Cache[Decimal], memory: Memory) -> None:
    calls = 0
    codec = Codec[None](encode=lambda _: None, decode=lambda _: None)

    async def nothing() -> None:
        nonlocal calls
        calls += 1

    for _ in range(2):
        cache = Cache[None]("none", ttl_s=TTL_S, shared=memory, codec=codec)
        for _ in range(2):
            assert await cache.get("a", nothing) is None  # type: ignore[func-returns-value]
    assert calls == 1


def test_sharing_needs_a_codec(memory: Memory) -> None:
    with pytest.raises(ValueError, match="needs a codec"):
        Cache[Decimal]("price", ttl_s=TTL_S, shared=memory)


async def test_the_decorator_keys_by_arguments(alone: Cache[Decimal]) -> None:
    asked: list[str] = []

    @cached(alone, key=lambda market, unit=1: f"{market}:{unit}")
    async def price(market: str, unit: int = 1) -> Decimal:
        """The price."""
        asked.append(market)
        return Decimal(unit)

    assert await price("KRW-BTC") == await price("KRW-BTC") == 1
    assert await price("KRW-BTC", unit=3) == 3
    assert asked == ["KRW-BTC"] * 2
    assert price.__doc__ == "The price."
