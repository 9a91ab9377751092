"""One limiter for every request of the process: per group, first come first served, never over.

Source of the table: docs.upbit.com, reference/rate-limits (pages of 2026-09 and 2026-10; `order` is
12 a second since 2026-08-21). Quotation groups are counted per address, exchange groups per pocket.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from jobs.core.job import Lane, Sleep, current_lane
from jobs.upbit.windows import Use, Window

_REMAINING = re.compile(r"group\s*=\s*([\w-]+).*?sec\s*=\s*(\d{1,9})(?!\d)", re.IGNORECASE)
_LONGEST_HEADER = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in so many seconds."""

    requests: int
    window_s: float = 1.0


QUOTATION: Mapping[str, Limit] = {
    "market": Limit(10),
    "candle": Limit(10),
    "trade": Limit(10),
    "ticker": Limit(10),
    "orderbook": Limit(10),
}
"""The groups counted per address."""

EXCHANGE: Mapping[str, Limit] = {
    "default": Limit(30),
    "order": Limit(12),
    "order-test": Limit(8),
    "order-cancel-all": Limit(1, 2.0),
}
"""The groups counted per pocket."""

LIMITS: Mapping[str, Limit] = {**QUOTATION, **EXCHANGE}

KEPT_FOR_ORDERS: Mapping[str, int] = {"ticker": 2, "orderbook": 2, "default": 2}
"""Places in the groups that the orders lane shares with others: hung calls hold theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What `Remaining-Req` says: requests left in the group's present window."""

    group: str
    sec: int


def parse_remaining(header: str | None) -> Remaining | None:
    """Read `group=candle; min=600; sec=9`; None for anything else, for it is only a hint."""
    if header is None or (found := _REMAINING.search(header[:_LONGEST_HEADER])) is None:
        return None
    return Remaining(group=found[1].lower(), sec=int(found[2]))


class Permit:
    """The right to send one request now. Say what became of it; nothing said means no answer."""

    def __init__(self, group: "_Group", use: Use) -> None:
        self._group = group
        self._use = use
        self._told = False

    def answered(self, remaining: Remaining | None) -> None:
        """The answer came, with this `Remaining-Req`."""
        sec = remaining.sec if remaining and remaining.group == self._group.name else None
        self._tell(lambda now: self._group.window.answered(self._use, now, sec))

    def refused(self) -> None:
        """The answer came and is 429."""
        self._tell(lambda now: self._group.window.answered(self._use, now, None))
        self._group.window.refused(self._group.monotonic())

    def unsent(self) -> None:
        """The request never left this machine."""
        self._tell(lambda _: self._group.window.unsent(self._use))

    def close(self) -> None:
        """Take it as sent and lost, unless something was said."""
        if not self._told:
            self._tell(lambda now: self._group.window.lost(self._use, now))

    def _tell(self, note: Callable[[float], None]) -> None:
        self._told = True
        note(self._group.monotonic())
        self._group.news.set()


class _Group:
    """One group's queue."""

    def __init__(
        self, name: str, window: Window, *, monotonic: Callable[[], float], sleep: Sleep
    ) -> None:
        self.name = name
        self.window = window
        self.monotonic = monotonic
        self.news = asyncio.Event()
        self._sleep = sleep
        # each hands itself on in the order of asking
        self._turns: dict[Lane, asyncio.Lock] = {"orders": asyncio.Lock(), "work": asyncio.Lock()}

    async def admit(self, lane: Lane) -> Permit:
        urgent = lane == "orders"
        async with self._turns[lane]:
            while (wait_s := self.window.wait_s(self.monotonic(), urgent=urgent)) != 0:
                if wait_s is None:
                    self.news.clear()
                    await self.news.wait()
                else:
                    await self._sleep(wait_s)
            return Permit(self, self.window.send(self.monotonic()))


class Limiter:
    """Lets requests go at `share` of each group's published limit, and at one at least.

    The orders lane has its own queue, and `kept` places of a group that nobody else takes. One
    limiter serves one event loop. Waiting may be cancelled at any point and costs nothing then.
    """

    def __init__(
        self,
        *,
        share: float = 0.9,
        limits: Mapping[str, Limit] = LIMITS,
        kept: Mapping[str, int] = KEPT_FOR_ORDERS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._groups = {
            group: _Group(
                group,
                Window(
                    published=limit.requests,
                    own=max(1, int(limit.requests * share + 1e-9)),  # 0.9 * 10 may be 8.999…
                    window_s=limit.window_s,
                    kept=min(kept.get(group, 0), limit.requests - 1),
                ),
                monotonic=monotonic,
                sleep=sleep,
            )
            for group, limit in limits.items()
        }

    @asynccontextmanager
    async def slot(self, group: str) -> AsyncIterator[Permit]:
        """Wait for the group's next free place; send inside, and tell the permit what came."""
        permit = await self._groups[group].admit(current_lane.get())
        try:
            yield permit
        finally:
            permit.close()
