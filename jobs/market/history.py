"""The history of candles, filled in beside the runs of the market job with what they leave.

Newest first, whatever the market. While a run fetches the newest candles, nothing is sent from
here: what was asked for a moment before is all that can be in its way.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loguru import logger

from jobs.candles.backlog import CandlePlan, Page
from jobs.core.errors import Transient, reason_of
from jobs.core.job import Clock, Sleep, current_lane
from jobs.market.pages import Collected, PageCollector
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient

CHUNK = 200
"""Pages after which it is looked again what is the most urgent."""
WORTH_TELLING = 20
"""Pages; less than that is done before anybody could read of it."""
TELL_EVERY = timedelta(seconds=10)
SET_ASIDE = timedelta(minutes=10)
"""How long a market is left alone whose answer was refused or made no sense."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
AFTER_BUG_S = 60.0


def _nobody(_: str | None) -> None:
    """Tell nobody."""


@dataclass(slots=True, kw_only=True)
class HistoryFiller:
    """Fetches and stores what `plan` lacks besides the newest candles of `units`.

    `told` hears how far it is, None when nothing is left. Works only while `run` is running.
    """

    client: UpbitClient
    db: Database
    clock: Clock
    plan: CandlePlan
    sleep: Sleep
    units: Collection[int] = (1,)
    in_flight: int = 5
    told: Callable[[str | None], None] = _nobody
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _clear: asyncio.Event = field(default_factory=asyncio.Event)
    _aside: dict[str, datetime] = field(default_factory=dict)
    _done: int = 0
    _since: datetime | None = None
    _told_at: datetime | None = None

    def __post_init__(self) -> None:
        self._clear.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send nothing meanwhile, and look afterwards what there is to do."""
        self._clear.clear()
        try:
            yield
        finally:
            self._clear.set()
            self._news.set()

    async def run(self) -> None:
        """Fill in whatever is missing, for ever."""
        current_lane.set("work")  # whoever leads does so in the lane of orders
        try:
            await self._run()
        finally:
            self.told(None)

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                while await self.fill(CHUNK):
                    failures = 0
            except Transient as exc:
                wait_s = WAITS_S[min(failures, len(WAITS_S) - 1)]
                failures += 1
                self._tell(f"waits, because {reason_of(exc)}")
                await self.sleep(max(wait_s, exc.retry_after_s or 0.0))
                self._news.set()
            except Exception:  # noqa: BLE001 - a bug here must not end what runs as long as we lead
                logger.bind(event="market.history_bug").exception("Filling in the history failed")
                await self.sleep(AFTER_BUG_S)
                self._news.set()

    async def fill(self, most: int) -> int:
        """Fetch and store up to `most` pages, newest first; return how many are left.

        Raises Transient when the exchange or the database is away.
        """
        due = self._due()
        if due and self._since is None:
            self._begin(len(due))
        collector = PageCollector(
            client=self.client,
            db=self.db,
            clock=self.clock,
            plan=self.plan,
            in_flight=self.in_flight,
            may_send=self._clear.wait,
        )
        out = await collector.collect(due[:most], self._noted)
        self._put_aside(out)
        left = len(self._due())
        if not left:
            self._end()
        return left

    def _due(self) -> list[Page]:
        now = self.clock()
        self._aside = {name: until for name, until in self._aside.items() if until > now}
        return [page for page in self.plan.history(self.units) if page.market not in self._aside]

    def _put_aside(self, out: Collected) -> None:
        transient: Transient | None = None
        for page, exc in out.failures:
            if isinstance(exc, Transient):
                transient = exc
            else:
                self._aside[page.market] = self.clock() + SET_ASIDE
        if transient is not None:
            raise transient

    # -- how far it is -----------------------------------------------------------------------

    def _begin(self, pages: int) -> None:
        self._since = self._told_at = self.clock()
        self._done = 0
        line = logger.bind(event="market.history", done=0, left=pages)
        line.log("INFO" if pages >= WORTH_TELLING else "DEBUG", "Filling in the history of candles")
        if pages >= WORTH_TELLING:
            self._tell(f"0 of {pages} requests are done")

    def _noted(self, _page: Page) -> None:
        self._done += 1
        now = self.clock()
        if self._told_at is not None and now - self._told_at >= TELL_EVERY:
            self._told_at = now
            left = len(self._due())
            self._tell(f"{self._done} of {self._done + left} requests are done")
            line = logger.bind(event="market.history", done=self._done, left=left)
            line.info("Filling in the history of candles")

    def _tell(self, how_far: str) -> None:
        self.told(f"the history of candles is filled in: {how_far}")

    def _end(self) -> None:
        if self._since is None:
            return
        if refused := self.plan.history(self.units):
            markets = ", ".join(sorted({page.market for page in refused}))
            self._tell(f"{len(refused)} requests were refused and are left for later: {markets}")
            return
        took_s = (self.clock() - self._since).total_seconds()
        line = logger.bind(event="market.history", done=self._done, left=0, seconds=round(took_s))
        is_worth_it = self._done >= WORTH_TELLING
        line.log("INFO" if is_worth_it else "DEBUG", "The history of candles is complete")
        self._since = None
        self.told(None)
