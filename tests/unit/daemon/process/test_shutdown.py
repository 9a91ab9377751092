"""The first signal asks, the second insists; whoever waits for an event is told in time."""

import asyncio
import os
import signal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from daemon.process.background import Background
from daemon.process.shutdown import Stop, unless


async def test_the_first_signal_asks_and_the_second_forces(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda s, _exit, code: exits.append((s, code)))
    stop = Stop()
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.asked.wait()
        assert (stop.code, stop.forced.is_set()) == (0, False)
        os.kill(os.getpid(), signal.SIGINT)
        await stop.forced.wait()
    assert stop.code == 1
    assert exits == [(5.0, 1)]


def test_the_first_reason_decides_the_exit_code(run_virtual: Any) -> None:
    async def main() -> int:
        stop = Stop()
        stop.ask("a task ended", code=1)
        stop.ask("SIGTERM")
        return stop.code

    assert run_virtual(main()) == 1


def test_work_that_ends_first_gives_its_result(run_virtual: Any) -> None:
    async def main() -> list[object]:
        event = asyncio.Event()
        first = await unless(event, asyncio.sleep(1, "done"))
        asyncio.get_running_loop().call_later(1, event.set)
        second = await unless(event, asyncio.sleep(1e6, "never"))
        return [first, second]

    assert run_virtual(main()) == ["done", None]


def test_errors_of_the_work_pass(run_virtual: Any) -> None:
    async def broken() -> None:
        raise KeyError("x")

    async def main() -> None:
        await unless(asyncio.Event(), broken())

    with pytest.raises(KeyError):
        run_virtual(main())


def test_a_background_task_that_ends_is_told_and_the_others_are_cancelled(
    run_virtual: Any,
) -> None:
    told: list[str] = []
    cancelled: list[str] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    async def breaks() -> None:
        await asyncio.sleep(1)
        raise RuntimeError("broken")

    async def main() -> None:
        async with Background(told.append) as background:
            background.start("first", forever("first"))
            background.start("breaks", breaks())
            background.start("second", forever("second"))
            await asyncio.sleep(2)

    run_virtual(main())
    assert told == ["breaks"]
    assert cancelled == ["second", "first"]


def test_a_task_that_is_kept_is_started_again_ever_later_and_told_of(run_virtual: Any) -> None:
    ended: list[str] = []
    told: list[tuple[str, str]] = []
    began: list[float] = []

    async def tell(task: str, error: Exception | None) -> None:
        told.append((task, "well" if error is None else str(error)))

    async def works_at_last() -> None:
        began.append(asyncio.get_running_loop().time())
        if len(began) < 8:
            raise RecursionError(f"deep {len(began)}")
        await asyncio.sleep(1e6)

    async def main() -> None:
        async with Background(ended.append, tell) as background:
            background.keep("breaks", works_at_last)
            await asyncio.sleep(300)

    run_virtual(main())
    assert ended == []
    waits = [round(after - before) for before, after in pairwise(began)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert told == [*(("breaks", f"deep {n}") for n in range(1, 8)), ("breaks", "well")]


def test_a_kept_task_that_returns_is_told_like_any_other(run_virtual: Any) -> None:
    ended: list[str] = []

    async def main() -> None:
        async with Background(ended.append) as background:
            background.keep("short", partial(asyncio.sleep, 1))
            await asyncio.sleep(2)

    run_virtual(main())
    assert ended == ["short"]
