"""Detects leaked pool connections and logs the call site that checked them out."""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from loguru import logger

CHECK_EVERY_S = 5.0
SHOWN_FRAMES = 4
OURS = frozenset({"jobs", "daemon", "bench", "tests"})
LIBRARIES = "/site-packages/"
PASSED_ON = frozenset({"postgres/pool.py", "store/db.py", "postgres/connection_leaks.py"})
"""Files that only hand connections on: who asked them is what a reader wants to know."""


@dataclass(slots=True, eq=False)
class Checkout:
    """One connection that is out: the server's process, since when, and through which lines."""

    pid: int
    since: float
    where: tuple[tuple[str, str, int], ...]
    is_told: bool = False


@dataclass(slots=True, kw_only=False)
class CheckoutTracker:
    """The connections that are out; `too_long` counts those that were held over `limit_s`."""

    limit_s: float
    monotonic: Callable[[], float] = time.monotonic
    too_long: int = 0
    _out: set[Checkout] = field(default_factory=set)

    def begin(self, pid: int) -> Checkout:
        """Note that a connection goes out, and to whom."""
        checkout = Checkout(pid, self.monotonic(), _callers())
        self._out.add(checkout)
        return checkout

    def end(self, checkout: Checkout | None) -> None:
        """Note that it is back."""
        if checkout is not None:
            self._out.discard(checkout)

    async def watch(self) -> None:
        """Look for connections that are held too long, until cancelled."""
        while True:
            await asyncio.sleep(min(CHECK_EVERY_S, self.limit_s))
            self.check()

    def check(self) -> None:
        """Tell of each connection that is held too long, once."""
        now = self.monotonic()
        for checkout in self._out:
            if not checkout.is_told and now - checkout.since >= self.limit_s:
                checkout.is_told = True
                self.too_long += 1
                where = [f"{name}:{line} {function}" for name, function, line in checkout.where]
                logger.bind(
                    event="db.connection_held",
                    held_s=round(now - checkout.since, 1),
                    limit_s=self.limit_s,
                    pid=checkout.pid,
                    where=where,
                ).warning("a connection is not given back")


def _callers() -> tuple[tuple[str, str, int], ...]:
    """The nearest lines of this program's own, innermost first."""
    found: list[tuple[str, str, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < SHOWN_FRAMES:
        path = frame.f_code.co_filename
        parts = path.split("/")
        name = "/".join(parts[-2:])
        is_ours = LIBRARIES not in path and not OURS.isdisjoint(parts[:-1])
        if is_ours and name not in PASSED_ON:
            found.append((name, frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)
