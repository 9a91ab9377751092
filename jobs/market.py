"""Market data: the last price of every market, and the candles that are missing.

Source:  Upbit's quotation calls: one for all tickers, one a page for each market's candles.
Key:     candles (market, unit, start), where running twice changes nothing; a snapshot each run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus

from loguru import logger

from jobs.candle_plan import CandlePlan, Page, floor
from jobs.errors import BadData, JobError, Refused, Transient
from jobs.selection import Selection
from jobs.spec import Clock, Slot, current_tally
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.store.snapshots import Snapshots
from jobs.upbit.client import UpbitClient
from jobs.upbit.ticks import quote_of
from jobs.upbit.wire import Candle, Ticker

BATCH = 50
"""Pages that are fetched before what came is stored: a deadline costs one batch at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketJob:
    """Everything the job needs.

    Candles of each of `units` (minutes) are kept complete from `history` before now on. At most
    `max_concurrency` requests are in flight, and at most `pages_per_run` pages are fetched in a
    run, the newest candles of all markets first; the rest of a long history follows in later runs.
    `watch` is looked at last.
    """

    client: UpbitClient
    db: Database
    clock: Clock
    selection: Selection
    units: tuple[int, ...] = (1,)
    history: timedelta = timedelta(hours=24)
    max_concurrency: int = 10
    pages_per_run: int = 300
    plan: CandlePlan = field(default_factory=CandlePlan)
    snapshots: Snapshots | None = None
    watch: Callable[[], Awaitable[None]] | None = None

    async def run(self, slot: Slot) -> int:  # noqa: ARG002 - every job is handed its slot
        """Fetch and store; return how many rows are new or different.

        A market that fails does not keep the others from being stored; then the first Transient
        of all failures is raised, else the first failure. A database failure is raised at once.
        """
        run = _Run(self)
        await run.store_tickers()
        await run.store_candles()
        await run.watch()
        run.raise_failure()
        return run.rows


class _Run:
    """One run: what it stored and what failed."""

    def __init__(self, job: MarketJob) -> None:
        self.rows = 0
        self._job = job
        self._failures: list[JobError] = []
        self._absent: set[str] = set()
        self._in_flight = asyncio.Semaphore(job.max_concurrency)
        self._failed_in_row = 0

    def raise_failure(self) -> None:
        """Raise the failure that decides what happens next, if there is one."""
        transient = (exc for exc in self._failures if isinstance(exc, Transient))
        if (failure := next(transient, next(iter(self._failures), None))) is not None:
            raise failure

    async def store_tickers(self) -> None:
        """Store a snapshot of every market."""
        try:
            tickers = await self._fetch_tickers()
        except JobError as exc:
            self._fail(exc, "tickers")
            return
        snapshots = self._job.snapshots or Snapshots(db=self._job.db)
        self._count(len(await snapshots.insert(tickers)))

    async def store_candles(self) -> None:
        """Store the candles that are due, and note which minutes have none."""
        try:
            markets = set(await self._job.selection.current()) - self._absent
        except JobError as exc:
            self._fail(exc, "selection")
            return
        await self._note_what_is_due(sorted(markets))
        due = self._job.plan.due(self._job.pages_per_run)
        for start in range(0, len(due), BATCH):
            await self._store_batch(due[start : start + BATCH])

    async def watch(self) -> None:
        """Look at what the exchange says of its markets besides prices."""
        if self._job.watch is not None:
            try:
                await self._job.watch()
            except JobError as exc:
                self._fail(exc, "marks")

    async def _fetch_tickers(self) -> list[Ticker]:
        client, selection = self._job.client, self._job.selection
        if selection.is_fixed:
            try:
                return await client.tickers(await selection.current())
            except Refused as exc:
                if exc.status != HTTPStatus.NOT_FOUND:
                    raise
        # one unknown market fails the short call for all of them; this one has all there are
        every = await client.all_tickers(_quotes(selection))
        wanted = set(await selection.offer_and_get(every))
        self._absent = wanted - {ticker.market for ticker in every}
        if missing := self._absent & set(selection.offer(every)):
            # a market that is only held may be delisted: whoever holds it tells of that
            absent = ",".join(sorted(missing))
            self._fail(BadData("the exchange does not have these markets", markets=absent), absent)
        return [ticker for ticker in every if ticker.market in wanted]

    async def _note_what_is_due(self, markets: list[str]) -> None:
        job, now = self._job, self._job.clock()
        job.plan.forget_others(markets)
        for unit in job.units:
            end, horizon = floor(now, unit), floor(now - job.history, unit)
            known = [market for market in markets if job.plan.knows(market, unit)]
            for market in known:
                job.plan.extend(market, unit, end=end, horizon=horizon)
            new = sorted(set(markets) - set(known))
            gaps = await candle_store.gaps_of(job.db, new, unit, horizon, end)
            for market in new:
                job.plan.begin(market, unit, end=end, gaps=gaps[market])

    async def _store_batch(self, pages: list[Page]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [(page, group.create_task(self._fetch_page(page))) for page in pages]
        came = [(page, found) for page, task in tasks if (found := task.result()) is not None]
        candles = [candle for _, found in came for candle in found]
        self._count(await candle_store.upsert(self._job.db, candles))
        for page, _ in came:
            self._job.plan.done(page)

    async def _fetch_page(self, page: Page) -> list[Candle] | None:
        """The finished candles of one page; None when they did not come."""
        async with self._in_flight:
            if self._failed_in_row >= 2 * self._job.max_concurrency:
                return None  # it is not this market: leave the exchange in peace
            try:
                candles = await self._job.client.candles(
                    page.market, page.unit, to=page.to, count=page.count
                )
            except JobError as exc:
                self._failed_in_row += isinstance(exc, Transient)
                self._fail(exc, page.market)
                return None
            self._failed_in_row = 0
            return [candle for candle in candles if candle.ts < page.to]

    def _fail(self, failure: JobError, market: str) -> None:
        self._failures.append(failure)
        line = logger.bind(event="market.failed", market=market, error=str(failure))
        line.warning("market data did not come")

    def _count(self, rows: int) -> None:
        self.rows += rows
        if (tally := current_tally.get()) is not None:
            tally.rows += rows


def _quotes(selection: Selection) -> str:
    names: Iterable[str] = selection.names or (selection.quote,)
    return ",".join(sorted({quote_of(name) for name in names}))
