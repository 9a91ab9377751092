"""How the daemon is told to stop: the first signal asks, the second one insists."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from loguru import logger

T = TypeVar("T")

FORCED_EXIT_AFTER_S = 5.0
FORCED_CODE = 1


class Stop:
    """Whether and how the daemon has to stop, and with which exit code it will end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()
        self.code = 0

    def ask(self, reason: str, *, code: int = 0) -> None:
        """Ask for an orderly stop. The first reason and its code count."""
        if not self.asked.is_set():
            self.code = code
            logger.bind(event="daemon.stop", reason=reason).info("Stopping")
            self.asked.set()

    def force(self, reason: str) -> None:
        """Cut waiting short; whatever does not end soon is ended with the process."""
        self.code = FORCED_CODE
        logger.bind(event="daemon.forced", reason=reason).warning("Stopping by force")
        self.asked.set()
        self.forced.set()
        asyncio.get_running_loop().call_later(FORCED_EXIT_AFTER_S, os._exit, FORCED_CODE)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT inside the block."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for each in signals:
            loop.add_signal_handler(each, self._signalled, each)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)

    def _signalled(self, signum: signal.Signals) -> None:
        if self.asked.is_set():
            self.force(f"a second {signum.name}")
        else:
            self.ask(signum.name)


async def unless(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return what `work` returns, or None when `event` is set first; then `work` is cancelled."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
