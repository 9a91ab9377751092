"""The event loop's threads, some of them for orders alone."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from jobs.core.job import current_lane

P = ParamSpec("P")
T = TypeVar("T")

ORDERS_THREADS = 2


class LaneThreads(ThreadPoolExecutor):
    """The loop's default executor: what the orders lane gives away runs in threads of its own.

    The loop looks up host names in these threads, so that a call of the orders lane needs one, and
    a name server that does not answer holds one for long.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(max_workers, thread_name_prefix="work")
        self._orders = ThreadPoolExecutor(ORDERS_THREADS, thread_name_prefix="orders")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it in a thread of the caller's lane."""
        if current_lane.get() == "orders":
            return self._orders.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads of both."""
        self._orders.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)
