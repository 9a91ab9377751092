"""Tasks that live as long as the daemon. One that ends by itself ends the daemon."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from loguru import logger


class Background:
    """Runs tasks until the block ends, then cancels them in reverse order.

    `on_failure` is called with the name of a task that ended although nobody stopped it: whatever
    it did is not done any more, and going on without it would be a silent fault.
    """

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[Any]] = []

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
        while self._tasks:
            task = self._tasks.pop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        name = task.get_name()
        logger.bind(event="daemon.task_ended", task=name).opt(exception=task.exception()).critical(
            "A task of the daemon ended; the daemon stops"
        )
        self._on_failure(name)
