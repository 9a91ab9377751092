"""Blocking code of others: one call at a time, in a thread of its own.

Nothing can end a thread from outside. Code that hangs keeps the thread it has, takes no other, and
a process that stops does not wait for it.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from jobs.core.errors import Permanent

T = TypeVar("T")


class IsolatedThread(Generic[T]):
    """Where the calls of `name`, one piece of foreign code, are made."""

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._monotonic = monotonic
        self._since_s: float | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, or raise what it raises.

        Raises Permanent while an earlier call, whose caller was cancelled, has not returned.
        """
        if (since_s := self._since_s) is not None:
            busy_s = round(self._monotonic() - since_s, 1)
            raise Permanent(f"{self._name} has not returned from its last call", for_s=busy_s)
        self._since_s = self._monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(call)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, the caller gets it
                tell(future.set_exception, exc)
            else:
                tell(future.set_result, result)

        def tell(settle: Callable[..., None], what: object) -> None:
            self._since_s = None
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if future.done() else settle(what))

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return await future
