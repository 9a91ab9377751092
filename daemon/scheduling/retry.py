"""Trying again: 1, 2, 4 seconds, or what the server asked for, and only for transient errors."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import backoff
from loguru import logger

from jobs.core.errors import Transient, WaitSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a run tries again: the waits after each failure, in seconds.

    `max_wait_s` is the longest wait imposed by a server that a run sits out; a longer one defers
    the run to that instant.
    """

    delays_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    max_wait_s: float = 300.0

    def wait_s(self, attempt: int, error: Transient) -> tuple[float, WaitSource]:
        """Seconds to wait after failed `attempt` (from 1), and who asked for them.

        A server's wait replaces a shorter back-off, never a longer one.
        """
        own_s = self.delays_s[attempt - 1]
        if error.retry_after_s is not None and error.retry_after_s > own_s:
            return error.retry_after_s, error.wait_source
        return own_s, "backoff"


class RetryBudget:
    """How often runs may try again, all together: a storm must not multiply the requests.

    Every run pays `ratio` in, every retry takes one out; at most `most` are saved up, and a fresh
    budget is full. Over many runs there are at most `ratio` retries a run. The last `kept` are
    for urgent runs alone, those that look after orders.
    """

    def __init__(self, *, ratio: float = 0.14, most: float = 30.0, kept: float = 6.0) -> None:
        self._ratio = ratio
        self._most = most
        self._kept = kept
        self.left = most

    def pay_in(self) -> None:
        """Count a run."""
        self.left = min(self._most, self.left + self._ratio)

    def take(self, *, urgent: bool) -> bool:
        """Return whether one retry is allowed; then it is paid for."""
        if self.left - (0.0 if urgent else self._kept) < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a run has tried so far; stays readable when the last attempt raises.

    `deferred_s` is the server's wait, in seconds from then, that was too long to sit out;
    `refused` says that a further attempt was due and not allowed.
    """

    attempts: int = 0
    waited_s: float = 0.0
    deferred_s: float | None = None
    refused: bool = False


class _Details(TypedDict):
    tries: int
    wait: float
    exception: Transient


async def retrying(
    call: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    progress: Progress,
    *,
    give_up_at: float,
    allow: Callable[[], bool] = lambda: True,
) -> T:
    """Return what `call` returns, trying again after each Transient as `policy` says.

    `give_up_at` is the run's deadline on the event loop's clock: a wait that would reach past it
    is not begun. `allow` is asked before each further attempt (a budget). Raises the last error;
    everything but Transient is raised at once.
    """

    async def attempt() -> T:
        progress.attempts += 1
        return await call()

    def hopeless(error: Transient) -> bool:
        if progress.attempts > len(policy.delays_s):
            return True
        wait_s, source = policy.wait_s(progress.attempts, error)
        left_s = give_up_at - asyncio.get_running_loop().time()
        if source != "backoff" and wait_s > min(policy.max_wait_s, left_s):
            progress.deferred_s = wait_s
            return True
        if wait_s > left_s:
            return True
        progress.refused = not allow()
        return progress.refused

    def note(details: _Details) -> None:
        progress.waited_s += details["wait"]
        _, source = policy.wait_s(details["tries"], details["exception"])
        logger.bind(
            event="job.retry",
            attempt=details["tries"],
            wait_s=round(details["wait"], 3),
            wait_source=source,
            error_type=type(details["exception"]).__name__,
            error=str(details["exception"]),
        ).warning("Attempt failed, trying again")

    trier = backoff.on_exception(
        _waits,
        Transient,
        policy=policy,
        jitter=None,
        max_tries=len(policy.delays_s) + 1,
        giveup=hopeless,
        on_backoff=note,
        logger=None,
    )
    result: T = await trier(attempt)()
    return result


def _waits(policy: RetryPolicy) -> Generator[float, Transient, None]:
    """Feed backoff with the wait after each error; it sends the error in."""
    error = yield 0.0  # backoff starts the generator and throws the first value away
    for attempt in range(1, len(policy.delays_s) + 1):
        wait_s, _ = policy.wait_s(attempt, error)
        error = yield wait_s
