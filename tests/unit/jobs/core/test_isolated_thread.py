"""Foreign code in a thread: its answers, its failures, and what it holds when it hangs."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from jobs.core.errors import Permanent
from jobs.core.isolated_thread import IsolatedThread

said: ContextVar[str] = ContextVar("said", default="nothing")
HANGS_AT_THE_END = """
import asyncio, time
from jobs.core.isolated_thread import IsolatedThread

async def main():
    call = asyncio.ensure_future(IsolatedThread("strategy").run(lambda: time.sleep(3600)))
    await asyncio.sleep(0.1)
    call.cancel()

asyncio.run(main())
print("ended")
"""


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hanging code waits for; it goes on at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_the_answer_comes_from_another_thread_in_the_callers_context() -> None:
    said.set("hello")
    answer = await IsolatedThread[object]("mine").run(
        lambda: (said.get(), threading.current_thread())
    )
    assert answer[0] == "hello"  # type: ignore[index]
    assert answer[1] is not threading.current_thread()  # type: ignore[index]


async def test_what_it_raises_reaches_the_caller() -> None:
    thread: IsolatedThread[float] = IsolatedThread("mine")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert await thread.run(lambda: 1.0) == 1.0


async def test_code_that_hangs_is_not_called_again_until_it_returns(
    released: threading.Event,
) -> None:
    now_s = 100.0
    thread: IsolatedThread[bool] = IsolatedThread("my strategy", lambda: now_s)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(thread.run(released.wait), 0.01)
    now_s = 130.0
    before = threading.active_count()
    with pytest.raises(Permanent, match=r"my strategy has not returned .*for_s=30\.0"):
        await thread.run(released.wait)
    assert threading.active_count() == before
    released.set()
    for each in threading.enumerate():
        if each.name == "my strategy":
            each.join()
    assert await thread.run(lambda: True)


def test_a_process_that_stops_does_not_wait_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS_AT_THE_END], check=True, capture_output=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (b"ended\n", b"")


async def test_an_answer_after_the_end_of_the_loop_harms_nobody(
    released: threading.Event,
) -> None:
    async def leave() -> threading.Thread:
        call = asyncio.ensure_future(IsolatedThread[bool]("late").run(released.wait))
        await asyncio.sleep(0)
        call.cancel()
        return next(each for each in threading.enumerate() if each.name == "late")

    thread = await asyncio.to_thread(lambda: asyncio.run(leave()))
    released.set()
    thread.join()
