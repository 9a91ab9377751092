"""Two tiers: each value is served for its time only, and a broken tier is in nobody's way."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from jobs.cache.cache import Cache, Terms, cached
from jobs.cache.shared_tier import Codec, Found, SharedTierDown
from jobs.cache.stats import TierStats

TTL_S = 30.0
CODEC = Codec[Decimal](encode=str, decode=lambda _key, raw: Decimal(raw))


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
        self.told: list[str] = []

    def _check(self) -> None:
        if self.down:
            raise SharedTierDown

    async def get(self, name: str) -> Found | None:
        return (await self.get_many([name])).get(name)

    async def get_many(self, names: Sequence[str]) -> dict[str, Found]:
        self._check()
        return {name: self.values[name] for name in names if name in self.values}

    async def put_many(
        self, values: Mapping[str, object], ttl_s: float, *, changed: bool = False
    ) -> None:
        self._check()
        self.values |= {name: (value, ttl_s) for name, value in values.items()}
        self.told += list(values) if changed else []

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
    return Cache("price", Terms(ttl_s=TTL_S, max_entries=2), monotonic=time)


@pytest.fixture
def shared(time: Time, memory: Memory) -> Cache[Decimal]:
    return Cache("price", Terms(ttl_s=TTL_S), shared=memory, codec=CODEC, monotonic=time)


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
    neighbour = Cache("price", Terms(ttl_s=TTL_S), shared=memory, codec=CODEC, monotonic=time)
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
    def decode(key: str, value: Any) -> int:
        assert key == "a"
        return int(value["number"])

    codec = Codec[int](encode=lambda number: {"number": number}, decode=decode)
    strange: list[object] = ["x", 5, None, [], {}, {"number": "x"}, {"number": None}]
    for garbage in strange:
        memory.values["n:a"] = (garbage, TTL_S)
        cache = Cache("n", Terms(ttl_s=TTL_S), shared=memory, codec=codec, monotonic=time)

        async def load() -> int:
            return 9

        assert await cache.get("a", load) == 9
        assert memory.values["n:a"] == ({"number": 9}, TTL_S)
        assert cache.stats()[1].errors == 1


async def test_nothing_is_worth_keeping_too(shared: Cache[Decimal], memory: Memory) -> None:
    calls = 0
    codec = Codec[None](encode=lambda _: None, decode=lambda _key, _: None)

    async def nothing() -> None:
        nonlocal calls
        calls += 1

    for _ in range(2):
        cache = Cache[None]("none", Terms(ttl_s=TTL_S), shared=memory, codec=codec)
        for _ in range(2):
            assert await cache.get("a", nothing) is None  # type: ignore[func-returns-value]
    assert calls == 1


def test_sharing_needs_a_codec(memory: Memory) -> None:
    with pytest.raises(ValueError, match="needs a codec"):
        Cache[Decimal]("price", Terms(ttl_s=TTL_S), shared=memory)


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


async def test_what_is_known_elsewhere_is_told_and_what_was_loaded_is_not(
    shared: Cache[Decimal], source: Source, memory: Memory
) -> None:
    await shared.get("a", source)
    assert memory.told == []
    await shared.put_many({"a": Decimal(2), "b": Decimal(3)})
    assert memory.told == ["price:a", "price:b"]


# -- many at once --------------------------------------------------------------------------------


class Table:
    """A source of many; counts the questions."""

    def __init__(self, **rows: int) -> None:
        self.rows = {key: Decimal(value) for key, value in rows.items()}
        self.asked: list[list[str]] = []

    async def __call__(self, keys: list[str]) -> dict[str, Decimal]:
        self.asked.append(keys)
        await asyncio.sleep(0)
        return {key: self.rows[key] for key in keys if key in self.rows}


async def test_many_are_asked_for_in_one_question_and_only_those_that_miss(
    alone: Cache[Decimal],
) -> None:
    table = Table(a=1, b=2)
    assert await alone.get_many(["a"], table) == {"a": 1}
    assert await alone.get_many(["b", "a"], table) == {"a": 1, "b": 2}
    assert table.asked == [["a"], ["b"]]
    process = alone.stats()[0]
    assert (process.hits, process.misses) == (1, 2)


async def test_what_is_not_there_is_remembered_for_its_own_time(time: Time) -> None:
    cache = Cache[Decimal]("price", Terms(ttl_s=TTL_S, absent_s=5.0), monotonic=time)
    table = Table(a=1)
    for _ in range(2):
        assert await cache.get_many(["a", "x"], table) == {"a": 1}
    assert table.asked == [["a", "x"]]
    time.now = 5.0
    assert await cache.get_many(["a", "x"], table) == {"a": 1}
    assert table.asked[1:] == [["x"]]


async def test_many_who_miss_the_same_at_once_ask_once(alone: Cache[Decimal]) -> None:
    table = Table(a=1, b=2)
    found = await asyncio.gather(*(alone.get_many(["b", "a"], table) for _ in range(5)))
    assert found == [{"a": 1, "b": 2}] * 5
    assert len(table.asked) == 1


async def test_many_come_from_the_shared_tier_and_the_rest_goes_there(
    shared: Cache[Decimal], memory: Memory
) -> None:
    memory.values = {"price:a": ("7", 1.0), "price:b": ("garbage", 9.0)}
    table = Table(a=1, b=2)
    assert await shared.get_many(["a", "b"], table) == {"a": 7, "b": 2}
    assert table.asked == [["b"]]
    assert memory.values["price:b"] == ("2", TTL_S)
    redis = shared.stats()[1]
    assert (redis.hits, redis.misses, redis.errors) == (1, 1, 1)
    memory.down = True
    shared.clear()
    assert await shared.get_many(["a"], table) == {"a": 1}


@pytest.mark.parametrize("change", ["put", "forget", "clear"])
async def test_many_loaded_during_a_change_are_not_kept(alone: Cache[Decimal], change: str) -> None:
    table = Table(a=1)
    loading = asyncio.ensure_future(alone.get_many(["a"], table))
    while not table.asked:  # noqa: ASYNC110 -- the load is under way after a turn or two
        await asyncio.sleep(0)
    if change == "put":
        await alone.put("a", Decimal(5))
    elif change == "forget":
        alone.forget("a")
    else:
        alone.clear()
    table.rows["a"] = Decimal(9)
    await loading
    assert await alone.get_many(["a"], table) == {"a": 5 if change == "put" else 9}


# -- ahead of the end ----------------------------------------------------------------------------


@pytest.fixture
def eager(time: Time) -> Cache[Decimal]:
    return Cache("price", Terms(ttl_s=TTL_S, ahead_s=10.0), monotonic=time)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_value_in_use_is_loaded_before_its_end_while_the_old_one_is_served(
    eager: Cache[Decimal], source: Source, time: Time
) -> None:
    for _ in range(4):
        await eager.get("a", source)
    time.now = TTL_S - 10.0
    assert [await eager.get("a", source) for _ in range(3)] == [1, 1, 1]
    await settle()
    assert source.calls == 2
    time.now = TTL_S + 5.0
    assert await eager.get("a", source) == 2
    assert eager.stats()[0].misses == 1


async def test_a_value_that_nobody_wants_is_left_to_end(
    eager: Cache[Decimal], source: Source, time: Time
) -> None:
    await eager.get("a", source)
    time.now = TTL_S - 1.0
    await eager.get("a", source)
    await settle()
    assert source.calls == 1


async def test_a_failure_ahead_is_nobodys_and_the_value_still_ends(
    eager: Cache[Decimal], source: Source, time: Time
) -> None:
    for _ in range(4):
        await eager.get("a", source)
    source.failure = OSError("no")
    time.now = TTL_S - 1.0
    assert await eager.get("a", source) == 1
    await settle()
    assert eager.stats()[0].errors == 1
    time.now = TTL_S
    with pytest.raises(OSError, match="no"):
        await eager.get("a", source)
