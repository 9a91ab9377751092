"""One load for all who want the same thing at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, get_args

from jobs.core.job import Lane, current_lane

T = TypeVar("T")
_Key = tuple[Lane, str]


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0


class SingleFlight(Generic[T]):
    """One load for all who want the same key at the same time.

    Each lane has its own: a load waits for what its lane may use, a connection for example, and
    orders must not wait for what others may not have.
    """

    def __init__(self) -> None:
        self._flights: dict[_Key, _Flight[T]] = {}

    async def join(self, name: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return what the load under way for `name` returns; start one if there is none.

        The load outlives a caller that is cancelled as long as anybody else waits for it.
        """
        key = (current_lane.get(), name)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(_run(load)))
            landed = flight
            flight.task.add_done_callback(lambda _task: self._landed(key, landed))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._remove(key, flight)  # nobody may join what is being cancelled
                flight.task.cancel()

    def is_current(self, name: str) -> bool:
        """Whether the load that asks is still the one for `name`: nobody forgot it meanwhile."""
        flight = self._flights.get((current_lane.get(), name))
        return flight is not None and flight.task is asyncio.current_task()

    def forget(self, name: str) -> None:
        """Let the next caller start a new load: the one under way may bring an old value."""
        for lane in get_args(Lane):
            self._flights.pop((lane, name), None)

    def forget_all(self) -> None:
        """Forget every load under way."""
        self._flights.clear()

    def _landed(self, key: _Key, flight: _Flight[T]) -> None:
        self._remove(key, flight)
        if not flight.task.cancelled():
            flight.task.exception()  # seen: those who waited got it

    def _remove(self, key: _Key, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _run(load: Callable[[], Awaitable[T]]) -> T:
    return await load()
