"""The real daemon with levers inside: faults that nothing outside a process can cause.

Its argument is the configuration; it reads `name value` lines from standard input (value JSON,
null undoes).
Everything that no lever holds is the daemon as it is.
"""

import asyncio
import contextlib
import functools
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from daemon import app
from daemon.config.load import load
from daemon.scheduling import scheduler
from health import checks
from health.watchdog import Heartbeats
from jobs.market.job import MarketJob
from jobs.orders.job import OrdersJob
from jobs.signals.job import SignalsJob
from jobs.store import runs
from jobs.store.db import PoolExhausted

LEVERS: dict[str, Any] = {}
TRIES = 5
JOBS = {"market": MarketJob, "signals": SignalsJob, "orders": OrdersJob}


def pulled(name: str) -> Any:
    """The lever's value, None while it is not pulled."""
    return LEVERS.get(name)


async def hang_while(name: str, *, deaf: bool = False) -> None:
    """Wait while the lever is pulled; `deaf` ignores cancellation, as blocking code would."""
    while pulled(name):
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            if not deaf:
                raise


def before(owner: Any, method: str, act: Callable[..., Any]) -> None:
    """Have `act` called with the arguments of a method, or awaited, before the method."""
    plain = getattr(owner, method)
    if inspect.iscoroutinefunction(plain):

        @functools.wraps(plain)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            await act(*args)
            return await plain(*args, **kwargs)
    else:

        @functools.wraps(plain)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            act(*args)
            return plain(*args, **kwargs)

    setattr(owner, method, wrapped)


def raise_when(name: str) -> Callable[..., None]:
    """An act that raises while the lever is pulled."""

    def act(*_: Any) -> None:
        if pulled(name):
            raise RuntimeError(f"planted: {name}")

    return act


def install() -> None:
    """Put the levers in."""
    before(scheduler.Scheduler, "_look_at_all", raise_when("pass_raises"))
    before(checks, "check_upbit", raise_when("check_raises"))
    before(runs, "record", hanging("writer_hangs"))
    for name, job in JOBS.items():
        before(job, "run", job_goes_wrong(name))
    install_trigger()
    install_beats()
    take_note_of_what_is_open()


def hanging(name: str) -> Callable[..., Awaitable[None]]:
    """An act that waits while the lever is pulled."""

    async def act(*_: Any) -> None:
        await hang_while(name)

    return act


def job_goes_wrong(name: str) -> Callable[..., Awaitable[None]]:
    """An act that raises or hangs while a lever of this job is pulled."""

    async def act(*_: Any) -> None:
        if pulled("job_raises") == name:
            raise RuntimeError("planted: a bug in a job")
        await hang_while(f"job_deaf_{name}", deaf=True)
        await hang_while(f"job_hangs_{name}")

    return act


def install_trigger() -> None:
    """The schedule of one job raises."""

    def act(_scheduler: Any, job: Any, *_: Any) -> None:
        if pulled("trigger_raises") == job.id:
            raise RuntimeError("planted: the trigger raises")

    before(scheduler.Scheduler, "_look_at", act)


def install_beats() -> None:
    """One lane is silent."""
    beat = Heartbeats.beat

    def beaten(self: Heartbeats, lane: str, **kwargs: Any) -> None:
        if pulled("starves") != lane:
            beat(self, lane, **kwargs)

    Heartbeats.beat = beaten  # type: ignore[method-assign]


def take_note_of_what_is_open() -> None:
    """Have the composition root tell the levers what it opened, and read standard input."""
    plain = app._watch_over

    async def watch_over(host: Any, opened: Any, *rest: Any) -> None:
        loop = asyncio.get_running_loop()
        pool = Held(opened.resources.base.database)
        threading.Thread(target=read, args=(loop, pool), daemon=True).start()
        await plain(host, opened, *rest)

    app._watch_over = watch_over  # type: ignore[assignment]


class Held:
    """Connections taken from the pool and kept."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._stack = AsyncExitStack()

    async def take(self, count: int | None) -> None:
        """Keep so many connections; None gives them back."""
        await self._stack.aclose()
        for _ in range(count or 0):
            await self._stack.enter_async_context(self._database.checkout())

    async def sleep(self, count: int) -> None:
        """Have so many connections, or all there are, asleep until the server wakes them."""
        await asyncio.gather(*(self._sleep() for _ in range(count)), return_exceptions=True)

    async def _sleep(self) -> None:
        for _ in range(TRIES):
            with contextlib.suppress(PoolExhausted):
                async with self._database.checkout() as connection:
                    await connection.execute("SET statement_timeout = 0")
                    await connection.execute("SELECT pg_sleep(600)")


def read(loop: asyncio.AbstractEventLoop, pool: Held) -> None:
    """Pull levers as standard input says."""
    for line in sys.stdin:
        name, _, value = line.partition(" ")
        LEVERS[name] = json.loads(value)
        if LEVERS[name] is None:
            del LEVERS[name]
        if name == "block_loop" and pulled(name):
            loop.call_soon_threadsafe(time.sleep, pulled(name))
        elif name == "spin_loop" and pulled(name):
            loop.call_soon_threadsafe(spin, pulled(name))
        elif name == "hold_pool":
            asyncio.run_coroutine_threadsafe(pool.take(pulled(name)), loop)
        elif name == "sleep_pool" and pulled(name):
            asyncio.run_coroutine_threadsafe(pool.sleep(pulled(name)), loop)


def spin(seconds: float) -> None:
    """Hold the interpreter in pure Python."""
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        n += 1


if __name__ == "__main__":
    install()
    sys.exit(app.main(load(Path(sys.argv[1]), os.environ), os.environ))
