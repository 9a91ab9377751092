"""What a faulty Redis does to the work: nothing but the loss of its help; it is used again alone.

Each row of the table hurts a real server in one way. Every answer must be right, no error may reach
the caller, and once the fault is over the shared tier must help again without a restart.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.redis_server import running_redis
from redis import Redis

from jobs.cache import redis_tier
from jobs.cache.cache import Cache, Terms
from jobs.cache.redis_tier import Breaker, RedisTier, open_redis
from jobs.cache.shared_tier import Codec, SharedTierDown

if TYPE_CHECKING:
    from loguru import Record

CODEC = Codec[Decimal](encode=str, decode=lambda _key, raw: Decimal(raw))
ASKED = 30
PASSWORD = "unix://:wrong@"


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to be broken. `hurt` is entered around the work; `opens` tells whether nobody asks
    any more after a few failures, because no answer at all comes.
    """

    hurt: Callable[[Path], AbstractContextManager[str]]
    opens: bool
    heals: Callable[[Path], AbstractContextManager[str]] = running_redis


@contextmanager
def absent(directory: Path) -> Iterator[str]:
    yield f"unix://{directory}/redis.sock"


@contextmanager
def client_of(directory: Path, *options: str) -> Iterator["Redis"]:
    with running_redis(directory, *options) as url, Redis.from_url(url) as client:
        yield client


def url_in(directory: Path) -> str:
    return f"unix://{directory}/redis.sock"


@contextmanager
def silent(directory: Path) -> Iterator[str]:
    with client_of(directory) as client:
        client.client_pause(600_000, all=True)
        yield url_in(directory)


@contextmanager
def full(directory: Path) -> Iterator[str]:
    with client_of(directory, "--maxmemory", "1", "--maxmemory-policy", "noeviction"):
        yield url_in(directory)


@contextmanager
def closed(directory: Path) -> Iterator[str]:
    with running_redis(directory, "--requirepass", "another"):
        yield url_in(directory)


@contextmanager
def garbage(directory: Path) -> Iterator[str]:
    with client_of(directory) as client:
        for number, body in enumerate(
            (b"\x80\x04pickle", b"{", b"[]", b'"NaN?"', b"null", b"\xff")
        ):
            client.set(f"test:1:price:{number}", body, ex=600)
        client.lpush("test:1:price:6", "a list")
        client.expire("test:1:price:6", 600)
        yield url_in(directory)


@contextmanager
def other_version(directory: Path) -> Iterator[str]:
    with client_of(directory) as client:
        for number in range(ASKED):
            client.set(f"test:2:price:{number}", b'{"form": "of another release"}', ex=600)
        yield url_in(directory)


@contextmanager
def read_only(directory: Path) -> Iterator[str]:
    with client_of(directory, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"):
        yield url_in(directory)


FAULTS = {
    "absent at start": Fault(hurt=absent, opens=True),
    "takes connections and never answers": Fault(hurt=silent, opens=True),
    "full": Fault(hurt=full, opens=False),
    "wrong password": Fault(hurt=closed, opens=True),
    "garbage in the keys": Fault(hurt=garbage, opens=False),
    "values of another version": Fault(hurt=other_version, opens=False),
    "a replica that takes no writes": Fault(hurt=read_only, opens=False),
}


@dataclass(slots=True)
class Work:
    """Asks for values as a process that has just started would, and counts the loads."""

    tier: RedisTier
    time: Time
    loads: int = 0

    async def ask(self, times: int = ASKED) -> Cache[Decimal]:
        cache = Cache("price", Terms(ttl_s=600.0), shared=self.tier, codec=CODEC)

        async def load() -> Decimal:
            self.loads += 1
            return Decimal("1.50")

        async def load_many(keys: list[str]) -> dict[str, Decimal]:
            self.loads += len(keys)
            return dict.fromkeys(keys, Decimal("1.50"))

        for number in range(times // 2):
            assert await cache.get(str(number), load) == Decimal("1.50")
        rest = [str(number) for number in range(times // 2, times)]
        assert await cache.get_many(rest, load_many) == dict.fromkeys(rest, Decimal("1.50"))
        await cache.put("put", Decimal(2))
        await cache.invalidate("put")
        return cache


async def healed(work: Work) -> int:
    """Let the breaker try again, fill, and return how many values the tier then spares us."""
    work.time.now += redis_tier.OPEN_S
    await work.ask()  # finds it well and fills it
    await work.ask()
    work.loads = 0
    cache = await work.ask()
    assert work.loads == 0
    return cache.stats()[1].hits


@pytest.mark.parametrize("name", FAULTS)
async def test_the_work_goes_on_and_the_help_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault, time = FAULTS[name], Time()
    url = f"{url_in(tmp_path)}?password=wrong" if name == "wrong password" else url_in(tmp_path)
    async with open_redis(url, timeout_s=0.05) as opened:
        breaker = Breaker(monotonic=time)
        work = Work(RedisTier(opened._client, prefix="test", timeout_s=0.05, breaker=breaker), time)
        with fault.hurt(tmp_path):
            cache = await work.ask()
            assert work.loads == ASKED, "the source was asked for everything"
            assert breaker.is_open == fault.opens
            assert work.tier.is_down == fault.opens
            errors = cache.stats()[1].errors
            await work.ask()
        work = Work(RedisTier(opened._client, prefix="test", timeout_s=5.0, breaker=breaker), time)
        with running_redis(tmp_path) as good:
            if name == "wrong password":
                with Redis.from_url(good) as client:
                    client.acl_setuser("default", enabled=True, nopass=True, keys=["*"])
            assert await healed(work) == ASKED
        assert not breaker.is_open
    print(f"{name}: {ASKED} of {ASKED} answers right, {errors} errors, used again")  # noqa: T201


async def test_gone_while_running_and_back(tmp_path: Path) -> None:
    time = Time()
    async with open_redis(url_in(tmp_path), timeout_s=5.0) as opened:
        breaker = Breaker(monotonic=time)
        work = Work(RedisTier(opened._client, prefix="test", timeout_s=5.0, breaker=breaker), time)
        with running_redis(tmp_path):
            await work.ask()
            assert not breaker.is_open
        work.loads = 0
        await work.ask()
        assert (work.loads, breaker.is_open) == (ASKED, True)
        with running_redis(tmp_path):
            assert await healed(work) == ASKED


async def test_a_lost_channel_is_a_gap_and_is_followed_again(tmp_path: Path) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def at_once(_s: float) -> None:
        await asyncio.sleep(0.001)

    async with (
        open_redis(url_in(tmp_path), prefix="test", timeout_s=5.0) as ours,
        open_redis(url_in(tmp_path), prefix="test", timeout_s=5.0) as theirs,
    ):
        follow = ours.follow(told.put_nowait, lambda: told.put_nowait("gap"), sleep=at_once)
        task = asyncio.create_task(follow)
        async with asyncio.timeout(60):
            for _ in range(2):
                with running_redis(tmp_path):
                    assert await told.get() == "gap"
                    await ours.put_many({"own": 1}, 9.0, changed=True)
                    with Redis.from_url(url_in(tmp_path)) as client:
                        client.publish("test:1", b"no note")
                    await theirs.put_many({"a": 1, "b": 2}, 9.0, changed=True)
                    await theirs.drop("c")
                    assert [await told.get() for _ in range(3)] == ["a", "b", "c"]
                assert await told.get() == "gap"
        task.cancel()
        await asyncio.wait([task])


async def test_a_channel_that_is_silent_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_tier, "PING_EVERY_S", 0.01)
    monkeypatch.setattr(redis_tier, "PING_TIMEOUT_S", 0.05)
    gaps: asyncio.Queue[None] = asyncio.Queue()

    async def at_once(_s: float) -> None:
        await asyncio.sleep(0.001)

    with client_of(tmp_path) as client:
        async with open_redis(url_in(tmp_path), timeout_s=5.0) as tier, asyncio.timeout(60):
            follow = tier.follow(lambda _: None, lambda: gaps.put_nowait(None), sleep=at_once)
            task = asyncio.create_task(follow)
            await gaps.get()
            await asyncio.sleep(0.1)  # some silent periods that are answered
            assert gaps.empty()
            client.client_pause(300, all=True)
            await gaps.get()
            await gaps.get()
            task.cancel()
            await asyncio.wait([task])


@contextmanager
def no_memory(client: "Redis") -> Iterator[None]:
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


@contextmanager
def replica(client: "Redis") -> Iterator[None]:
    client.replicaof("127.0.0.1", 1)
    yield
    client.replicaof("no", "one")


@pytest.mark.parametrize(
    ("hurt", "kind"), [(no_memory, "OutOfMemoryError"), (replica, "ReadOnlyError")]
)
async def test_what_redis_refuses_is_said_once_and_so_is_its_end(
    tmp_path: Path,
    hurt: "Callable[[Redis], AbstractContextManager[None]]",
    kind: str,
    log_records: "list[Record]",
) -> None:
    def said() -> list[tuple[str, object]]:
        wanted = ("cache.refused", "cache.accepted")
        extras = [each["extra"] for each in log_records if each["extra"].get("event") in wanted]
        return [(extra["event"], extra.get("error_type")) for extra in extras]

    with client_of(tmp_path) as client:
        async with open_redis(url_in(tmp_path)) as tier:
            for _ in range(2):
                with hurt(client):
                    for _ in range(5):
                        with pytest.raises(SharedTierDown):
                            await tier.put("a", 1, 60)
                await tier.put("a", 1, 60)
    assert said() == [("cache.refused", kind), ("cache.accepted", None)] * 2
    assert not any(each["extra"].get("state") == "open" for each in log_records)
