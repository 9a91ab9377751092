"""Market data: the last price of every market, and the candles that are missing.

Source:  Upbit's quotation calls: one for all tickers, one a page for each market's candles.
Key:     candles (market, unit, start), where running twice changes nothing; a snapshot each run.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loguru import logger

from jobs.cache.snapshots import Snapshots
from jobs.candles.backlog import CandlePlan, Page, floor
from jobs.candles.selection import Selection
from jobs.core.errors import JobError, Transient
from jobs.core.job import Clock, Slot, current_counters, note_progress
from jobs.market.history import HistoryFiller
from jobs.market.pages import PageCollector
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient
from jobs.upbit.ticks import quote_of
from jobs.upbit.wire import DAY_UNIT, Ticker

DAYS_SETTLE = timedelta(minutes=2)
"""A day's candle may still change right after its end, and is asked for once."""
NAMED = 10
"""Markets that are called by name in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketJob:
    """Everything the job needs.

    Candles of each of `units` (minutes) are kept complete from `history` before now on, and the
    `days` last finished daily ones. A run fetches the newest of every market, at most
    `max_concurrency` requests at once; `filler` fetches everything else beside the runs. `watch` is
    looked at last.
    """

    client: UpbitClient
    db: Database
    clock: Clock
    selection: Selection
    units: tuple[int, ...] = (1,)
    history: timedelta = timedelta(hours=24)
    max_concurrency: int = 10
    days: int = 0
    plan: CandlePlan = field(default_factory=CandlePlan)
    filler: HistoryFiller | None = None
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

    def spans(self, now: datetime) -> Iterator[tuple[int, datetime, datetime]]:
        """Each unit that is kept, the end of its newest finished candle, and how far back it goes.

        With `days`, today's smallest candles are kept from its beginning on: the running day is
        made of them.
        """
        for unit in self.units:
            horizon = floor(now - self.history, unit)
            if self.days and unit == min(self.units):
                horizon = min(horizon, floor(now, DAY_UNIT))
            yield unit, floor(now, unit), horizon
        if self.days:
            end = floor(now - DAYS_SETTLE, DAY_UNIT)
            yield DAY_UNIT, end, end - self.days * timedelta(days=1)


class _Run:
    """One run: what it stored and what failed."""

    def __init__(self, job: MarketJob) -> None:
        self.rows = 0
        self._job = job
        self._failures: list[JobError] = []
        self._absent: set[str] = set()

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
        """Store the newest candles; what is missing besides is left to the filler."""
        try:
            markets = set(await self._job.selection.current()) - self._absent
        except JobError as exc:
            self._fail(exc, "selection")
            return
        with self._job.filler.paused() if self._job.filler else nullcontext():
            await self._note_what_is_due(sorted(markets))
            await self._store_newest()

    async def watch(self) -> None:
        """Look at what the exchange says of its markets besides prices."""
        if self._job.watch is not None:
            try:
                await self._job.watch()
            except JobError as exc:
                self._fail(exc, "marks")

    async def _fetch_tickers(self) -> list[Ticker]:
        """Tickers of the markets that are worked on, as far as the exchange has them."""
        client, selection = self._job.client, self._job.selection
        if selection.is_fixed:
            tickers = await client.tickers(await selection.current())
        else:
            every = await client.all_tickers(_quotes(selection))
            wanted = set(await selection.offer_and_get(every))
            tickers = [ticker for ticker in every if ticker.market in wanted]
            if missing := wanted - {ticker.market for ticker in tickers}:
                tickers += await client.tickers(sorted(missing))
        self._absent = set(client.absent.unquoted)  # whoever watches markets tells of them
        return tickers

    async def _note_what_is_due(self, markets: list[str]) -> None:
        job, now = self._job, self._job.clock()
        job.plan.forget_others(markets)
        for unit, end, horizon in job.spans(now):
            known = [market for market in markets if job.plan.knows(market, unit)]
            for market in known:
                job.plan.extend(market, unit, end=end, horizon=horizon, now=now)
            new = sorted(set(markets) - set(known))
            gaps = await candle_store.gaps_of(job.db, new, unit, horizon, end)
            for market in new:
                job.plan.begin(market, unit, since=horizon, end=end, gaps=gaps[market])

    async def _store_newest(self) -> None:
        """Store the newest candles of all markets, and say all the time how far that is."""
        job = self._job
        pages = job.plan.newest(job.units)
        left = {(page.market, page.unit): page for page in pages}

        def told(page: Page) -> None:
            del left[page.market, page.unit]
            note_progress(_how_far(len(pages), sorted({market for market, _ in left})))

        note_progress(_how_far(len(pages), sorted({market for market, _ in left})))
        collector = PageCollector(
            client=job.client,
            db=job.db,
            clock=job.clock,
            plan=job.plan,
            in_flight=job.max_concurrency,
        )
        out = await collector.collect(pages, told)
        self._count(out.rows)
        self._failures += [exc for _, exc in out.failures]

    def _fail(self, failure: JobError, market: str) -> None:
        self._failures.append(failure)
        line = logger.bind(event="market.failed", market=market, error=str(failure))
        line.warning("market data did not come")

    def _count(self, rows: int) -> None:
        self.rows += rows
        if (tally := current_counters.get()) is not None:
            tally.rows += rows


def _how_far(pages: int, left: list[str]) -> str:
    """What is done of so many pages, and of which markets one is left."""
    if not left:
        return f"all newest candles are stored ({pages} requests)"
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    names = ", ".join(left[:NAMED])
    return f"{pages - len(left)} of {pages} newest candles are stored; not yet: {names}{more}"


def _quotes(selection: Selection) -> str:
    names: Iterable[str] = selection.names or (selection.quote,)
    return ",".join(sorted({quote_of(name) for name in names}))
