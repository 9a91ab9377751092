"""Tasks that live as long as the daemon. One that fails is started again.

Stop-losses need the rest of the daemon, so a bug in one task must not end it.

A task that fails again and again is an alert, and what it is there for is missed by those who watch
it: a silent heartbeat ends the process, an old probe is unhealthy.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from loguru import logger

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""A task that ran so long after a failure is well again."""

Work = Callable[[], Coroutine[Any, Any, object]]


async def _nobody(_: str, __: Exception | None) -> None:
    return


class Background:
    """Runs tasks until the block ends, then cancels them in reverse order.

    `on_failure` is called with the name of a task that ended although nobody stopped it: whatever
    it did is not done any more, and going on without it would be a silent fault. `on_trouble` is
    told of each failure of a task that is kept, and (None) once it is well again.
    """

    def __init__(
        self,
        on_failure: Callable[[str], None],
        on_trouble: Callable[[str, Exception | None], Awaitable[None]] = _nobody,
    ) -> None:
        self._on_failure = on_failure
        self._on_trouble = on_trouble
        self._tasks: list[asyncio.Task[Any]] = []
        self._recovering: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, work: Work) -> None:
        """Run `work()` as the task `name`, and again whenever it raises."""
        self.start(name, self._keep(name, work))

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` as the task `name`."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in tuple(self._recovering):
            self._forget_recovery(name)
        while self._tasks:
            task = self._tasks.pop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep(self, name: str, work: Work) -> None:
        """Return only when the work does."""
        loop, wait_s = asyncio.get_running_loop(), FIRST_WAIT_S
        while True:
            began_s = loop.time()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a bug in one task must not end the trader
                if loop.time() - began_s >= STEADY_S:
                    wait_s = FIRST_WAIT_S
                logger.bind(event="daemon.task_failed", task=name, again_s=wait_s).exception(
                    "A task of the daemon failed; it is started again"
                )
                self._forget_recovery(name)
                await self._on_trouble(name, error)
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            self._recovering[name] = asyncio.create_task(self._recover(name))

    async def _recover(self, name: str) -> None:
        await asyncio.sleep(STEADY_S)
        await self._on_trouble(name, None)

    def _forget_recovery(self, name: str) -> None:
        if (recovering := self._recovering.pop(name, None)) is not None:
            recovering.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        name = task.get_name()
        logger.bind(event="daemon.task_ended", task=name).opt(exception=task.exception()).critical(
            "A task of the daemon ended; the daemon stops"
        )
        self._on_failure(name)
