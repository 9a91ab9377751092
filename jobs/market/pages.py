"""Pages of candles fetched side by side and stored as they come."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from loguru import logger

from jobs.candles.backlog import CandlePlan, Page
from jobs.core.errors import BadData, JobError, Transient
from jobs.core.job import Clock
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient
from jobs.upbit.wire import Candle

BATCH = 50
"""Pages that are stored in one transaction at most: a deadline costs what waits for the next."""


@dataclass(frozen=True, slots=True)
class Came:
    """A page's finished candles; `is_whole` unless rows of the answer could not be read."""

    page: Page
    candles: list[Candle]
    is_whole: bool


async def _at_once() -> None:
    """Wait for nothing."""


@dataclass(slots=True, kw_only=True)
class Collected:
    """What came of some pages: rows that are new or different, pages done, and what failed."""

    rows: int = 0
    done: int = 0
    failures: list[tuple[Page, JobError]] = field(default_factory=list)

    def fail(self, page: Page, exc: JobError) -> None:
        """Take note of a page that did not come."""
        self.failures.append((page, exc))
        line = logger.bind(event="market.failed", market=page.market, error=str(exc))
        line.warning("market data did not come")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCollector:
    """Fetches pages, `in_flight` at once, and stores what came while others are on their way.

    Stored pages are noted in `plan`. `may_send` is waited for before each request.
    """

    client: UpbitClient
    db: Database
    clock: Clock
    plan: CandlePlan
    in_flight: int = 10
    may_send: Callable[[], Awaitable[object]] = _at_once

    async def collect(self, pages: Sequence[Page], told: Callable[[Page], None]) -> Collected:
        """Fetch and store `pages` in their order; `told` hears of each that is stored.

        A page that fails does not stop the others, unless the exchange seems to be away as a whole.
        A database failure is raised at once.
        """
        out, came = Collected(), asyncio.Queue[Came | None]()
        waiting, each = iter(pages), min(self.in_flight, len(pages))
        tasks = [asyncio.create_task(self._fetch_all(waiting, out, came)) for _ in range(each)]
        try:
            while each:
                found = [await came.get()]
                while not came.empty() and len(found) < BATCH:
                    found.append(came.get_nowait())
                each -= found.count(None)
                await self._store([page for page in found if page is not None], out, told)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return out

    async def _fetch_all(
        self, waiting: Iterator[Page], out: Collected, came: asyncio.Queue[Came | None]
    ) -> None:
        failed_in_row = 0
        try:
            for page in waiting:
                await self.may_send()
                try:
                    came.put_nowait(await self._fetch(page))
                    failed_in_row = 0
                except JobError as exc:
                    out.fail(page, exc)
                    failed_in_row += isinstance(exc, Transient)
                except Exception as exc:  # noqa: BLE001 - one market's bug must not cost the others
                    logger.bind(event="job.bug", market=page.market).exception(
                        "Reading a page of candles raised what it should not"
                    )
                    out.fail(page, BadData("a page could not be read", why=type(exc).__name__))
                if failed_in_row > 1:
                    return  # it is not this market: leave the exchange in peace
        finally:
            came.put_nowait(None)

    async def _fetch(self, page: Page) -> Came:
        found = await self.client.candles(page.market, page.unit, to=page.to, count=page.count)
        return Came(page, [each for each in found if each.ts < page.to], not found.odd)

    async def _store(
        self, came: Sequence[Came], out: Collected, told: Callable[[Page], None]
    ) -> None:
        candles = [candle for each in came for candle in each.candles]
        out.rows += await candle_store.upsert(self.db, candles)
        for each in came:
            starts = [candle.ts for candle in each.candles]
            self.plan.done(each.page, starts, self.clock(), is_whole=each.is_whole)
            out.done += 1
            told(each.page)
