"""One load for all who want the same thing at the same time."""

import asyncio

import pytest

from jobs.cache.single_flight import SingleFlight
from jobs.core.job import current_lane


class Load:
    """A load that ends when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.done = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return number


@pytest.fixture
async def load() -> Load:
    return Load()


async def start(flights: SingleFlight[int], load: Load, key: str = "k") -> asyncio.Future[int]:
    task = asyncio.ensure_future(flights.join(key, load))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_those_who_come_together_share_one_load(load: Load) -> None:
    flights = SingleFlight[int]()
    tasks = [await start(flights, load) for _ in range(5)]
    load.done.set()
    assert await asyncio.gather(*tasks) == [1] * 5
    assert await flights.join("k", load) == 2


async def test_other_keys_load_for_themselves(load: Load) -> None:
    flights = SingleFlight[int]()
    tasks = [await start(flights, load, key) for key in "ab"]
    load.done.set()
    assert await asyncio.gather(*tasks) == [1, 2]


async def test_no_lane_waits_for_the_load_of_another(load: Load) -> None:
    flights = SingleFlight[int]()
    hung = await start(flights, load)
    current_lane.set("orders")
    own = Load()
    own.calls = 6
    own.done.set()
    assert await flights.join("k", own) == 7
    assert not hung.done()
    load.done.set()
    assert await hung == 1


async def test_what_is_forgotten_is_loaded_anew_in_every_lane(load: Load) -> None:
    flights = SingleFlight[int]()
    old = [await start(flights, load)]
    current_lane.set("orders")
    old.append(await start(flights, load))
    flights.forget("k")
    new = await start(flights, load)
    current_lane.set("work")
    newest = await start(flights, load)
    load.done.set()
    assert await asyncio.gather(*old, new, newest) == [1, 2, 3, 4]


async def test_a_failure_reaches_all_and_is_not_kept(load: Load) -> None:
    flights = SingleFlight[int]()
    tasks = [await start(flights, load) for _ in range(3)]
    load.failure = OSError("no")
    load.done.set()
    assert [str(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
        "no",
        "no",
        "no",
    ]
    load.failure = None
    assert await flights.join("k", load) == 2


async def test_a_load_outlives_the_caller_that_started_it(load: Load) -> None:
    flights = SingleFlight[int]()
    first, second = await start(flights, load), await start(flights, load)
    first.cancel()
    await asyncio.wait([first])
    load.done.set()
    assert await second == 1
    assert first.cancelled()


async def test_a_load_that_nobody_waits_for_is_cancelled_and_not_joined(load: Load) -> None:
    flights = SingleFlight[int]()
    alone = await start(flights, load)
    alone.cancel()
    await asyncio.wait([alone])
    later = await start(flights, load)
    assert load.cancelled == 1
    load.done.set()
    assert await later == 2


async def test_after_forgetting_the_next_caller_loads_anew(load: Load) -> None:
    flights = SingleFlight[int]()
    old = await start(flights, load)
    flights.forget("k")
    new = await start(flights, load)
    load.done.set()
    assert (await old, await new) == (1, 2)
    flights.forget_all()
    assert await flights.join("k", load) == 3


async def test_a_forgotten_load_knows_that_it_is_old() -> None:
    flights = SingleFlight[bool]()
    go = asyncio.Event()

    async def load() -> bool:
        await go.wait()
        return flights.is_current("k")

    kept = asyncio.ensure_future(flights.join("k", load))
    await asyncio.sleep(0)
    flights.forget("k")
    fresh = asyncio.ensure_future(flights.join("k", load))
    await asyncio.sleep(0)
    go.set()
    assert (await kept, await fresh) == (False, True)
