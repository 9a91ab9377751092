"""Redis as the shared tier of the caches: JSON only, and never in anybody's way.

Each question has a short limit; after a few failures in a row nobody asks for a while (the
breaker is open), then one question tries whether it is back.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
from loguru import logger
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from jobs.cache.cache import Monotonic
from jobs.cache.shared_tier import BROKEN, Found, SharedTierDown
from jobs.core.job import Sleep

T = TypeVar("T")

SCHEMA_VERSION = 1
"""Part of every key: a program that writes another form of value never reads ours."""

FAILURES_TO_OPEN = 3
OPEN_S = 5.0
RECONNECT_S = 1.0
LONGEST_REASON = 200
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0


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
    """The shared tier in Redis, under `prefix` and the schema version.

    What is written with `changed` is told to the other processes on a channel of the same name.
    """

    def __init__(
        self, client: Redis, *, prefix: str, timeout_s: float, breaker: Breaker | None = None
    ) -> None:
        self._client = client
        self._prefix = f"{prefix}:{SCHEMA_VERSION}"
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._origin = uuid.uuid4().hex
        self._refusals: set[str] = set()

    @property
    def is_down(self) -> bool:
        """Whether it was found broken and has not answered since."""
        return self._breaker.is_open

    async def get(self, name: str) -> Found | None:
        """What stands under the name; `BROKEN` in its place when that is no JSON."""
        return (await self.get_many([name])).get(name)

    async def get_many(self, names: Sequence[str]) -> dict[str, Found]:
        """What stands under those of the names that have something."""
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(self._key(name))
            pipeline.pttl(self._key(name))
        answers = await self._ask(pipeline.execute(raise_on_error=False))
        for each in answers:
            if isinstance(each, ResponseError):
                self._refused("get", each)
        pairs = zip(names, answers[::2], answers[1::2], strict=True)
        return {name: found for name, body, left in pairs if (found := _found(body, left))}

    async def put(self, name: str, value: object, ttl_s: float) -> None:
        """Keep a JSON value for so many seconds."""
        await self.put_many({name: value}, ttl_s)

    async def put_many(
        self, values: Mapping[str, object], ttl_s: float, *, changed: bool = False
    ) -> None:
        """Keep JSON values for so many seconds."""
        ttl_ms = max(1, round(ttl_s * 1000))
        pipeline = self._client.pipeline(transaction=False)
        for name, value in values.items():
            pipeline.set(self._key(name), orjson.dumps(value), px=ttl_ms)
        if changed:
            pipeline.publish(self._prefix, self._note(list(values)))
        await self._ask(pipeline.execute())
        self._accepted()

    async def drop(self, name: str) -> None:
        """Forget it, everywhere."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(self._key(name))
        pipeline.publish(self._prefix, self._note([name]))
        await self._ask(pipeline.execute())

    async def follow(
        self,
        on_change: Callable[[str], None],
        on_gap: Callable[[], None],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Call `on_change` with each name that another process changed. Runs until cancelled.

        `on_gap` is called whenever changes may have been missed: after the connection was lost,
        and when it is there again.
        """
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(self._prefix)
                    on_gap()
                    try:
                        await self._hear(channel, on_change)
                    finally:
                        on_gap()
            except ResponseError as exc:
                self._refused("subscribe", exc)
                await sleep(RECONNECT_S)
            except (RedisError, OSError):  # the breaker tells of it; TimeoutError is an OSError
                await sleep(RECONNECT_S)

    async def _hear(self, channel: PubSub, on_change: Callable[[str], None]) -> None:
        while True:
            message = await channel.get_message(timeout=PING_EVERY_S)
            if message is None:  # a silent peer may be a dead one
                await channel.ping()
                message = await channel.get_message(timeout=PING_TIMEOUT_S)
                if message is None:
                    raise TimeoutError("the shared cache does not answer its listener")
            if message["type"] == "message":
                for name in self._names(message["data"]):
                    on_change(name)

    def _note(self, names: Sequence[str]) -> bytes:
        return orjson.dumps({"from": self._origin, "names": names})

    def _names(self, note: bytes) -> list[str]:
        """The names in a note of another process; none in one's own and in what is no note."""
        try:
            read = orjson.loads(note)
            return [] if read["from"] == self._origin else [str(name) for name in read["names"]]
        except (ValueError, TypeError, LookupError):
            return []

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _refused(self, what: str, exc: ResponseError) -> None:
        """Say once for each kind of refusal what Redis does not do for us."""
        kind = type(exc).__name__
        if kind not in self._refusals:
            self._refusals.add(kind)
            logger.bind(
                event="cache.refused", what=what, error_type=kind, error=str(exc)[:LONGEST_REASON]
            ).warning("The shared cache refuses, going on without it")

    def _accepted(self) -> None:
        """A write was taken: what was refused before would be news again."""
        if self._refusals:
            self._refusals.clear()
            logger.bind(event="cache.accepted").info("The shared cache takes writes again")

    async def _ask(self, question: Awaitable[T]) -> T:
        if not self._breaker.admits():
            if asyncio.iscoroutine(question):
                question.close()
            raise SharedTierDown
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await question
        except ResponseError as exc:  # full, or read-only: it works, and does not want this
            self._breaker.succeeded()
            self._refused("put", exc)
            raise SharedTierDown from exc
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            self._breaker.failed(exc)
            raise SharedTierDown from exc
        self._breaker.succeeded()
        return answer


def _found(body: Any, left_ms: Any) -> Found | None:
    """What an answer holds; None for nothing and for what has no end: not written by us."""
    if body is None or not isinstance(left_ms, int) or left_ms <= 0:
        return None
    try:
        return orjson.loads(body), left_ms / 1000
    except (ValueError, TypeError):  # no JSON, or no text at all
        return BROKEN, left_ms / 1000


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
