"""Code that hangs in a thread keeps no order call from looking up a host name."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from daemon.process.executors import LaneThreads
from jobs.core.job import Lane, current_lane


@pytest.fixture
def threads() -> Iterator[LaneThreads]:
    with LaneThreads(max_workers=2) as made:
        yield made


async def test_orders_find_a_thread_when_all_others_hang(threads: LaneThreads) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(threads)
    released = threading.Event()
    hung = [asyncio.create_task(asyncio.to_thread(released.wait, 60)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(asyncio.to_thread(threading.current_thread))
    await asyncio.sleep(0)
    current_lane.set("orders")
    assert await loop.getaddrinfo("localhost", 80)
    assert (await asyncio.to_thread(threading.current_thread)).name.startswith("orders")
    assert not waiting.done()
    released.set()
    assert (await waiting).name.startswith("work")
    assert await asyncio.gather(*hung) == [True] * 5


@pytest.mark.parametrize("lane", ["work", "orders"])
async def test_its_end_ends_both(threads: LaneThreads, lane: Lane) -> None:
    threads.shutdown()
    current_lane.set(lane)
    with pytest.raises(RuntimeError, match="shutdown"):
        threads.submit(int)
