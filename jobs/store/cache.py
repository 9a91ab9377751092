"""Two tiers of cache behind one class: this process, and Redis when there is one.

A miss loads once however many ask at the same time. A value is served for its TTL and not a
moment longer, in whichever tier it rests. The second tier may fail at any time: then it counts
an error and the work goes on.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from cachetools import TLRUCache

from jobs.store.single_flight import SingleFlight

T = TypeVar("T")
P = ParamSpec("P")

Monotonic = Callable[[], float]
"""Returns seconds on a clock that never jumps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStats:
    """One tier of one cache, counted since the start; `entries` is None where nobody knows."""

    cache: str
    tier: str
    hits: int
    misses: int
    errors: int
    evictions: int
    entries: int | None

    @property
    def hit_rate(self) -> float | None:
        """Hits per lookup, None before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


@dataclass(slots=True)
class Counters:
    """What a tier counts."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    evictions: int = 0

    def stats(self, cache: str, tier: str, entries: int | None) -> TierStats:
        """The counts as a value of their own."""
        return TierStats(
            cache=cache,
            tier=tier,
            hits=self.hits,
            misses=self.misses,
            errors=self.errors,
            evictions=self.evictions,
            entries=entries,
        )


class SharedTier(Protocol):
    """The tier that several processes share. Nothing it does ever raises for being away."""

    async def get(self, name: str) -> tuple[object, float] | None:
        """The JSON value and the seconds it may still be served; None when it has none.

        Raises SharedTierDown when it cannot be asked now.
        """
        ...

    async def put(self, name: str, value: object, ttl_s: float) -> None:
        """Keep a JSON value for so many seconds. Raises SharedTierDown."""
        ...

    async def drop(self, name: str) -> None:
        """Forget it. Raises SharedTierDown."""
        ...


class SharedTierDown(Exception):
    """The shared tier cannot be asked now."""


@dataclass(frozen=True, kw_only=True)  # with slots, Codec[int](...) fails on Python 3.11
class Codec(Generic[T]):
    """How a value becomes JSON and comes back; `decode` raises ValueError for anything else."""

    encode: Callable[[T], object]
    decode: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    until: float


def _until(_key: str, entry: _Entry[Any], _now: float) -> float:
    return entry.until


class _Process(TLRUCache[str, _Entry[Any]]):
    def __init__(self, max_entries: int, timer: Monotonic, counters: Counters) -> None:
        super().__init__(max_entries, _until, timer)
        self._counters = counters

    def popitem(self) -> tuple[str, _Entry[Any]]:
        """Make room; called for an entry that is still good."""
        self._counters.evictions += 1
        return super().popitem()


class Cache(Generic[T]):
    """Values of one class by key, each served for `ttl_s` seconds.

    With `shared` and `codec` they are kept there too, under this cache's `name`.
    """

    def __init__(
        self,
        name: str,
        *,
        ttl_s: float,
        max_entries: int = 10_000,
        shared: SharedTier | None = None,
        codec: Codec[T] | None = None,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        if shared is not None and codec is None:
            raise ValueError(f"the cache {name} needs a codec to share its values")
        self._name = name
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._shared = shared
        self._codec = codec
        self._process_counters = Counters()
        self._shared_counters = Counters()
        self._process = _Process(max_entries, monotonic, self._process_counters)
        self._flights = SingleFlight[T]()

    async def get(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return the value of `key`, from the nearest tier that has it, otherwise from `load`.

        What `load` raises passes to everybody who waits, and nothing is kept.
        """
        entry: _Entry[T] | None = self._process.get(key)
        if entry is not None:
            self._process_counters.hits += 1
            return entry.value
        self._process_counters.misses += 1
        return await self._flights.join(key, lambda: self._fetch(key, load))

    async def put(self, key: str, value: T) -> None:
        """Keep a value that is known from elsewhere, in both tiers."""
        self._flights.forget(key)
        self._keep(key, value, self._ttl_s)
        await self._share(key, value)

    async def invalidate(self, key: str) -> None:
        """Forget `key` in both tiers; a load under way is not kept."""
        self._flights.forget(key)
        self._process.pop(key, None)
        if self._shared is not None:
            try:
                await self._shared.drop(self._shared_name(key))
            except SharedTierDown:
                self._shared_counters.errors += 1

    def clear(self) -> None:
        """Forget everything in this process."""
        self._flights.forget_all()
        self._process.clear()

    def stats(self) -> list[TierStats]:
        """The counts of each tier in use."""
        tiers = [self._process_counters.stats(self._name, "process", len(self._process))]
        if self._shared is not None:
            tiers.append(self._shared_counters.stats(self._name, "redis", None))
        return tiers

    async def _fetch(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        if (found := await self._from_shared(key)) is not None:
            if self._flights.is_current(key):
                self._process[key] = found
            return found.value
        value = await load()
        if self._flights.is_current(key):  # nobody changed it while it was loading
            self._keep(key, value, self._ttl_s)
            await self._share(key, value)
        return value

    def _keep(self, key: str, value: T, ttl_s: float) -> None:
        self._process[key] = _Entry(value, self._monotonic() + ttl_s)

    def _shared_name(self, key: str) -> str:
        return f"{self._name}:{key}"

    async def _from_shared(self, key: str) -> _Entry[T] | None:
        if self._shared is None or self._codec is None:
            return None
        try:
            if (found := await self._shared.get(self._shared_name(key))) is not None:
                value, left_s = self._codec.decode(found[0]), min(found[1], self._ttl_s)
                self._shared_counters.hits += 1
                return _Entry(value, self._monotonic() + left_s)
        except (SharedTierDown, ValueError, TypeError, LookupError, AttributeError):
            # away, or what stands there is not ours: the source knows better
            self._shared_counters.errors += 1
        self._shared_counters.misses += 1
        return None

    async def _share(self, key: str, value: T) -> None:
        if self._shared is None or self._codec is None:
            return
        try:
            await self._shared.put(self._shared_name(key), self._codec.encode(value), self._ttl_s)
        except SharedTierDown:
            self._shared_counters.errors += 1


def cached(
    cache: Cache[T], key: Callable[P, str]
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Decorate an async function so that its result is cached under `key(its arguments)`."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            return await cache.get(key(*args, **kwargs), lambda: function(*args, **kwargs))

        return wrapper

    return decorate
