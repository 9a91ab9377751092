"""Two tiers of cache behind one class: this process, and Redis when there is one.

A miss loads once however many ask at the same time. A value is served for its TTL and not a
moment longer, in whichever tier it rests; one in heavy use is loaded anew shortly before its end,
so that nobody waits for it. The second tier may fail at any time: then it counts an error and the
work goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, cast

from cachetools import TLRUCache
from loguru import logger

from jobs.cache.shared_tier import Codec, SharedTier, SharedTierDown
from jobs.cache.single_flight import SingleFlight
from jobs.cache.stats import Counters, TierStats

T = TypeVar("T")
P = ParamSpec("P")

Monotonic = Callable[[], float]
"""Returns seconds on a clock that never jumps."""

HOT_HITS = 3
"""So often was a value asked for before it is worth loading ahead of its end."""

NOT_OURS = (SharedTierDown, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""Away, or what stands there is nothing that a codec of ours wrote: the source knows better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long values are served, in seconds, and how many are kept.

    `absent_s` is for None, which says that there is nothing (default: as long as a value).
    `ahead_s` before its end a value in use is loaded anew; 0 waits for the end.
    """

    ttl_s: float
    absent_s: float | None = None
    ahead_s: float = 0.0
    max_entries: int = 10_000

    def lasts_s(self, value: object) -> float:
        """How long this value is served."""
        return self.ttl_s if value is not None or self.absent_s is None else self.absent_s


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    until: float
    hits: int = 0


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
    """Values of one class by key, each served on the cache's terms.

    With `shared` and `codec` they are kept there too, under this cache's `name`.
    """

    def __init__(
        self,
        name: str,
        terms: Terms,
        *,
        shared: SharedTier | None = None,
        codec: Codec[T] | None = None,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        if shared is not None and codec is None:
            raise ValueError(f"the cache {name} needs a codec to share its values")
        self.name = name
        self._terms = terms
        self._monotonic = monotonic
        self._shared = shared
        self._codec = codec
        self._process_counters = Counters()
        self._shared_counters = Counters()
        self._process = _Process(terms.max_entries, monotonic, self._process_counters)
        self._flights = SingleFlight[T]()
        self._bundles = SingleFlight[dict[str, T | None]]()
        self._ahead: dict[str, asyncio.Task[None]] = {}

    async def get(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return the value of `key`, from the nearest tier that has it, otherwise from `load`.

        What `load` raises passes to everybody who waits, and nothing is kept.
        """
        entry: _Entry[T] | None = self._process.get(key)
        if entry is not None:
            self._process_counters.hits += 1
            entry.hits += 1
            if entry.hits >= HOT_HITS and self._monotonic() >= entry.until - self._terms.ahead_s:
                self._load_ahead(key, load)
            return entry.value
        self._process_counters.misses += 1
        return await self._flights.join(key, lambda: self._fetch(key, load))

    async def get_many(
        self, keys: Iterable[str], load: Callable[[list[str]], Awaitable[Mapping[str, T]]]
    ) -> dict[str, T]:
        """Return the values of those keys that have one; `load` is asked once, for the rest.

        A key that `load` does not return has none, which is remembered as well.
        """
        entries: dict[str, _Entry[T] | None] = {key: self._process.get(key) for key in keys}
        found: dict[str, T | None] = {k: e.value for k, e in entries.items() if e is not None}
        missing = sorted(entries.keys() - found.keys())
        self._process_counters.hits += len(found)
        self._process_counters.misses += len(missing)
        if missing:
            bundle = "\n".join(missing)
            found |= await self._bundles.join(
                bundle, lambda: self._fetch_many(bundle, missing, load)
            )
        return {key: value for key, value in found.items() if value is not None}

    async def put(self, key: str, value: T) -> None:
        """Keep a value that is known from elsewhere, in both tiers."""
        await self.put_many({key: value})

    async def put_many(self, values: Mapping[str, T]) -> None:
        """Keep values that are known from elsewhere, in both tiers; other processes are told."""
        self._bundles.forget_all()
        for key, value in values.items():
            self._flights.forget(key)
            self._keep(key, value)
        await self._share(values, changed=True)

    async def invalidate(self, key: str) -> None:
        """Forget `key` in both tiers; a load under way is not kept."""
        self.forget(key)
        if self._shared is not None:
            try:
                await self._shared.drop(self._shared_name(key))
            except SharedTierDown:
                self._shared_counters.errors += 1

    def forget(self, key: str) -> None:
        """Forget `key` in this process; a load under way is not kept."""
        self._flights.forget(key)
        self._bundles.forget_all()
        self._process.pop(key, None)

    def clear(self) -> None:
        """Forget everything in this process."""
        self._flights.forget_all()
        self._bundles.forget_all()
        self._process.clear()

    def stats(self) -> list[TierStats]:
        """The counts of each tier in use."""
        tiers = [self._process_counters.stats(self.name, "process", len(self._process))]
        if self._shared is not None:
            tiers.append(self._shared_counters.stats(self.name, "redis", None))
        return tiers

    async def _fetch(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        if (found := await self._from_shared(key)) is not None:
            if self._flights.is_current(key):
                self._process[key] = found
            return found.value
        return await self._load(key, load)

    async def _load(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        value = await load()
        if self._flights.is_current(key):  # nobody changed it while it was loading
            self._keep(key, value)
            await self._share({key: value})
        return value

    async def _fetch_many(
        self,
        bundle: str,
        missing: Sequence[str],
        load: Callable[[list[str]], Awaitable[Mapping[str, T]]],
    ) -> dict[str, T | None]:
        shared = await self._many_from_shared(missing)
        rest = [key for key in missing if key not in shared]
        came: Mapping[str, T] = await load(rest) if rest else {}
        loaded = {key: cast("T", came.get(key)) for key in rest}
        if self._bundles.is_current(bundle):  # nobody changed any of them meanwhile
            for key, entry in shared.items():
                self._process[key] = entry
            for key, value in loaded.items():
                self._keep(key, value)
            await self._share(loaded)
        return {**{key: entry.value for key, entry in shared.items()}, **loaded}

    def _load_ahead(self, key: str, load: Callable[[], Awaitable[T]]) -> None:
        if key in self._ahead:
            return

        async def ahead() -> None:
            try:
                await self._flights.join(key, lambda: self._load(key, load))
            except Exception as exc:  # noqa: BLE001 -- nobody waits for it: whoever asks next will
                self._process_counters.errors += 1
                logger.bind(event="cache.refresh", cache=self.name, error=repr(exc)).debug(
                    "a value was not loaded ahead of its end"
                )
            finally:
                del self._ahead[key]

        self._ahead[key] = asyncio.ensure_future(ahead())

    def _keep(self, key: str, value: T) -> None:
        self._process[key] = _Entry(value, self._monotonic() + self._terms.lasts_s(value))

    def _shared_name(self, key: str) -> str:
        return f"{self.name}:{key}"

    async def _from_shared(self, key: str) -> _Entry[T] | None:
        if self._shared is None or self._codec is None:
            return None
        try:
            found = await self._shared.get(self._shared_name(key))
            if found is not None:
                entry = self._entry(key, *found)
                self._shared_counters.hits += 1
                return entry
        except NOT_OURS:
            self._shared_counters.errors += 1
        self._shared_counters.misses += 1
        return None

    async def _many_from_shared(self, keys: Sequence[str]) -> dict[str, _Entry[T]]:
        if self._shared is None or self._codec is None:
            return {}
        came, entries = {}, {}
        try:
            came = await self._shared.get_many([self._shared_name(key) for key in keys])
        except SharedTierDown:
            self._shared_counters.errors += 1
        for key in keys:
            if (found := came.get(self._shared_name(key))) is not None:
                try:
                    entries[key] = self._entry(key, *found)
                except NOT_OURS:
                    self._shared_counters.errors += 1
        self._shared_counters.hits += len(entries)
        self._shared_counters.misses += len(keys) - len(entries)
        return entries

    def _entry(self, key: str, raw: object, left_s: float) -> _Entry[T]:
        value = cast("Codec[T]", self._codec).decode(key, raw)
        return _Entry(value, self._monotonic() + min(left_s, self._terms.lasts_s(value)))

    async def _share(self, values: Mapping[str, T], *, changed: bool = False) -> None:
        if self._shared is None or self._codec is None:
            return
        by_time: dict[float, dict[str, object]] = {}
        for key, value in values.items():
            group = by_time.setdefault(self._terms.lasts_s(value), {})
            group[self._shared_name(key)] = self._codec.encode(value)
        for ttl_s, group in by_time.items():
            try:
                await self._shared.put_many(group, ttl_s, changed=changed)
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
