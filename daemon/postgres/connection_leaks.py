"""Who holds which connection since when: one that is not given back is found by its line."""

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
PASSED_ON = frozenset({"database.py", "db.py", "loans.py"})
"""Files that only hand connections on: who asked them is what a reader wants to know."""


@dataclass(slots=True, eq=False)
class Loan:
    """One connection that is out: the server's process, since when, and through which lines."""

    pid: int
    since: float
    where: tuple[tuple[str, str, int], ...]
    is_told: bool = False


@dataclass(slots=True, kw_only=False)
class Loans:
    """The connections that are out; `too_long` counts those that were held over `limit_s`."""

    limit_s: float
    monotonic: Callable[[], float] = time.monotonic
    too_long: int = 0
    _out: set[Loan] = field(default_factory=set)

    def begin(self, pid: int) -> Loan:
        """Note that a connection goes out, and to whom."""
        loan = Loan(pid, self.monotonic(), _callers())
        self._out.add(loan)
        return loan

    def end(self, loan: Loan | None) -> None:
        """Note that it is back."""
        if loan is not None:
            self._out.discard(loan)

    async def watch(self) -> None:
        """Look for connections that are held too long, until cancelled."""
        while True:
            await asyncio.sleep(min(CHECK_EVERY_S, self.limit_s))
            self.check()

    def check(self) -> None:
        """Tell of each connection that is held too long, once."""
        now = self.monotonic()
        for loan in self._out:
            if not loan.is_told and now - loan.since >= self.limit_s:
                loan.is_told = True
                self.too_long += 1
                where = [f"{name}:{line} {function}" for name, function, line in loan.where]
                logger.bind(
                    event="db.connection_held",
                    held_s=round(now - loan.since, 1),
                    limit_s=self.limit_s,
                    pid=loan.pid,
                    where=where,
                ).warning("a connection is not given back")


def _callers() -> tuple[tuple[str, str, int], ...]:
    """The nearest lines of this program's own, innermost first."""
    found: list[tuple[str, str, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < SHOWN_FRAMES:
        path = frame.f_code.co_filename
        folder, _, name = path.rpartition("/")
        if (
            LIBRARIES not in path
            and name not in PASSED_ON
            and not OURS.isdisjoint(folder.split("/"))
        ):
            found.append(
                (f"{folder.rpartition('/')[2]}/{name}", frame.f_code.co_name, frame.f_lineno)
            )
        frame = frame.f_back
    return tuple(found)
