"""Redis as the shared tier of the caches: JSON only, and never in anybody's way.

Each question has a short limit; after a few failures in a row nobody asks for a while (the
breaker is open), then one question tries whether it is back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import orjson
from loguru import logger
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from jobs.store.cache import Monotonic, SharedTierDown

T = TypeVar("T")

SCHEMA_VERSION = 1
"""Part of every key: a program that writes another form of value never reads ours."""

FAILURES_TO_OPEN = 3
OPEN_S = 5.0


class Breaker:
    """Closed while things work; open for `open_s` seconds after `failures` in a row."""

    def __init__(
        self,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_s: float = OPEN_S,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it was found broken and nobody knows it to work again."""
        return self._failures >= self._limit

    def admits(self) -> bool:
        """Whether to ask now. While open, one question per `open_s` may try."""
        if not self.is_open:
            return True
        now = self._monotonic()
        if now < self._open_until:
            return False
        self._open_until = now + self._open_s
        return True

    def succeeded(self) -> None:
        """An answer came."""
        if self.is_open:
            logger.bind(event="cache.redis", state="closed").info("the shared cache is back")
        self._failures = 0

    def failed(self, cause: BaseException) -> None:
        """No answer came."""
        self._failures += 1
        if self._failures == self._limit:
            self._open_until = self._monotonic() + self._open_s
            logger.bind(event="cache.redis", state="open", error_type=type(cause).__name__).warning(
                "the shared cache fails, going on without it"
            )


class RedisTier:
    """The shared tier in Redis, under `prefix` and the schema version."""

    def __init__(
        self, client: Redis, *, prefix: str, timeout_s: float, breaker: Breaker | None = None
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()

    async def get(self, name: str) -> tuple[object, float] | None:
        """The JSON value and its seconds left; ValueError when what stands there is no JSON."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(self._key(name))
        pipeline.pttl(self._key(name))
        body, left_ms = cast("tuple[bytes | None, int]", await self._ask(pipeline.execute()))
        if body is None or left_ms <= 0:  # gone, or without an end: not written by us
            return None
        return orjson.loads(body), left_ms / 1000

    async def put(self, name: str, value: object, ttl_s: float) -> None:
        """Keep a JSON value for so many seconds."""
        ttl_ms = max(1, round(ttl_s * 1000))
        await self._ask(self._client.set(self._key(name), orjson.dumps(value), px=ttl_ms))

    async def drop(self, name: str) -> None:
        """Forget it."""
        await self._ask(self._client.delete(self._key(name)))

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{SCHEMA_VERSION}:{name}"

    async def _ask(self, question: Awaitable[T]) -> T:
        if not self._breaker.admits():
            if asyncio.iscoroutine(question):
                question.close()
            raise SharedTierDown
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await question
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            self._breaker.failed(exc)
            raise SharedTierDown from exc
        self._breaker.succeeded()
        return answer


@asynccontextmanager
async def open_redis(
    url: str, *, prefix: str = "upbitd", timeout_s: float = 0.2
) -> AsyncIterator[RedisTier]:
    """Yield the tier at `url` without asking it anything yet; it may be away.

    Raises ValueError for an address that is none.
    """
    client = Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        client_name="upbitd",
    )
    try:
        yield RedisTier(client, prefix=prefix, timeout_s=timeout_s)
    finally:
        await client.aclose()
