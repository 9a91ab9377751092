"""The market job against the sandbox's HTTP and a real Postgres."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fixtures.venue import Venue

from jobs.candles.backlog import CandlePlan, floor
from jobs.candles.selection import Selection, nothing_engaged
from jobs.core.cooldowns import Gates
from jobs.core.errors import RateLimited, Refused, Unavailable
from jobs.core.job import RunCounters, Slot, current_counters
from jobs.market.history import HistoryFiller
from jobs.market.job import MarketJob
from jobs.store import candles, market_data
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.wire import Candle

MINUTE = timedelta(minutes=1)
BUSY, QUIET = "KRW-BTC", "KRW-RVN"
UNHURRIED = {group: Limit(10_000) for group in LIMITS}
SLOT = Slot(job="market", scheduled_at=datetime(2026, 1, 1, tzinfo=UTC), run_id="r")


@dataclass(slots=True)
class Watch:
    """A clock that the test sets; it runs behind the venue's, so that every minute has passed."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch(venue: Venue) -> Watch:
    now = datetime.fromisoformat(venue.http.get("/sandbox").json()["now"])
    return Watch(floor(now, 1) - 30 * MINUTE + timedelta(seconds=2))


@pytest.fixture
async def client(venue: Venue, watch: Watch) -> AsyncIterator[UpbitClient]:
    async with open_client(
        base_url=venue.base_url,
        keys=None,
        gates=Gates(watch),
        limiter=Limiter(limits=UNHURRIED),
        clock=watch,
    ) as client:
        venue.http.delete("/sandbox/requests")
        yield client


@pytest.fixture
def job(client: UpbitClient, database: Database, watch: Watch) -> MarketJob:
    return make(client, database, watch)


def make(
    client: UpbitClient,
    db: Database,
    watch: Watch,
    *,
    names: Sequence[str] = (BUSY, QUIET),
    top: int | None = None,
    engaged: Callable[[], Awaitable[Collection[str]]] = nothing_engaged,
    **changes: Any,
) -> MarketJob:
    selection = Selection(listing=client, clock=watch, names=tuple(names), top=top, engaged=engaged)
    wanted: dict[str, Any] = {"history": timedelta(hours=5), "units": (1,), **changes}
    plan = CandlePlan()
    filler = HistoryFiller(
        client=client,
        db=db,
        clock=watch,
        plan=plan,
        sleep=asyncio.sleep,
        units=wanted["units"],
    )
    return MarketJob(
        client=client,
        db=db,
        clock=watch,
        selection=selection,
        plan=plan,
        filler=filler,
        **wanted,
    )


async def complete(job: MarketJob) -> int:
    """A run, and the history beside it to its end."""
    rows = await job.run(SLOT)
    assert job.filler is not None
    while await job.filler.fill(1000):
        pass
    return rows


def asked(venue: Venue) -> Counter[str]:
    """What was asked for since the last look: tickers once, candles per market."""
    rows = venue.http.get("/sandbox/requests").json()
    venue.http.delete("/sandbox/requests")
    return Counter(
        row["query"].split("market=")[1].split("&")[0] if "candles" in row["path"] else row["path"]
        for row in rows
        if row["path"].startswith("/v1/")
    )


async def truth(
    client: UpbitClient, market: str, since: datetime, to: datetime, unit: int = 1
) -> list[Candle]:
    """The exchange's own candles, oldest first."""
    found: list[Candle] = []
    while to > since:
        page = [each for each in await client.candles(market, unit, to=to) if each.ts >= since]
        if not page:
            break
        found += page
        to = page[-1].ts
    return found[::-1]


async def stored(db: Database, market: str, watch: Watch, unit: int = 1) -> list[Candle]:
    """What the table has before the running minute, oldest first."""
    return (await candles.window(db, [market], unit, 10_000, floor(watch.now, unit)))[market]


def waiting(job: MarketJob, watch: Watch) -> dict[str, int]:
    """One request for each market whose newest minutes may have a candle yet."""
    end = floor(watch.now, 1)
    found = (each for each in (BUSY, QUIET) if job.plan.holes(each, 1, end - MINUTE, end))
    return dict.fromkeys(found, 1)


async def test_the_first_run_stores_what_the_exchange_has(
    job: MarketJob, client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    tally = RunCounters()
    token = current_counters.set(tally)
    rows = await job.run(SLOT)
    current_counters.reset(token)
    assert tally.progress == "all newest candles are stored (2 requests)"
    assert asked(venue) == {"/v1/ticker": 1, BUSY: 1, QUIET: 1}
    newest = sum([len(await stored(database, market, watch)) for market in (BUSY, QUIET)])
    assert rows == newest + 2
    await complete(job)
    # 300 minutes in pages of 200; those of a market with few trades reach further back
    assert set(asked(venue).values()) <= {1, 2}
    end = floor(watch.now, 1)
    for market in (BUSY, QUIET):
        want = await truth(client, market, end - timedelta(hours=5), end)
        have = await stored(database, market, watch)
        assert have[-len(want) :] == want
        known = have[-1].ts + MINUTE  # later ones may only be late
        assert job.plan.holes(market, 1, end - timedelta(hours=5), known) == []
    snapshots = await market_data.latest(database, [BUSY, QUIET])
    assert snapshots.keys() == {BUSY, QUIET}


async def test_again_within_the_minute_is_one_request_and_no_new_candle(
    job: MarketJob, venue: Venue, watch: Watch
) -> None:
    await complete(job)
    asked(venue)
    expected = {"/v1/ticker": 1} | waiting(job, watch)
    assert await complete(job) == 2  # the snapshots
    assert asked(venue) == expected


async def test_a_minute_later_each_market_is_asked_for_the_new_one_and_two_before_it(
    job: MarketJob, venue: Venue, watch: Watch
) -> None:
    await job.run(SLOT)
    venue.http.delete("/sandbox/requests")
    watch.now += MINUTE
    await job.run(SLOT)
    queries = [
        row["query"]
        for row in venue.http.get("/sandbox/requests").json()
        if "candles" in row["path"]
    ]
    to = f"{floor(watch.now, 1):%Y-%m-%dT%H%%3A%M%%3A%SZ}"
    busy, quiet = sorted(queries)
    assert busy == f"market={BUSY}&count=3&to={to}"
    assert re.fullmatch(rf"market={QUIET}&count=\d+&to={to}", quiet)


async def test_a_late_correction_is_taken_over(
    job: MarketJob, database: Database, watch: Watch
) -> None:
    await job.run(SLOT)
    before = await stored(database, BUSY, watch)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE candles SET close = 1 WHERE market = %s AND ts >= %s",
            (BUSY, floor(watch.now, 1) - 2 * MINUTE),
        )
    watch.now += MINUTE
    await job.run(SLOT)
    assert (await stored(database, BUSY, watch))[: len(before)] == before


async def test_minutes_without_a_trade_are_not_asked_for_again(
    job: MarketJob, client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    await job.run(SLOT)
    end = floor(watch.now, 1)
    holes = await candles.gaps(database, QUIET, 1, end - timedelta(hours=5), end)
    assert holes  # the recording has such minutes, or this test shows nothing
    asked(venue)
    watch.now += MINUTE
    await job.run(SLOT)
    assert asked(venue) == {"/v1/ticker": 1, BUSY: 1, QUIET: 1}


async def test_after_a_restart_only_what_is_missing_is_asked_for(
    job: MarketJob, client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    await job.run(SLOT)
    before = await stored(database, BUSY, watch)
    async with database.connection() as connection:
        await connection.execute(
            "DELETE FROM candles WHERE market = %s AND ts = ANY (%s)",
            (BUSY, [before[-100].ts, before[-120].ts]),
        )
    asked(venue)
    await make(client, database, watch, names=[BUSY]).run(SLOT)
    assert asked(venue) == {"/v1/ticker": 1, BUSY: 1}
    assert await stored(database, BUSY, watch) == before


async def test_a_pause_is_made_up_for(
    job: MarketJob, client: UpbitClient, database: Database, watch: Watch
) -> None:
    await job.run(SLOT)
    watch.now += 25 * MINUTE
    await job.run(SLOT)
    end = floor(watch.now, 1)
    want = await truth(client, BUSY, end - 40 * MINUTE, end)
    assert (await stored(database, BUSY, watch))[-len(want) :] == want


async def test_every_unit_is_kept(client: UpbitClient, database: Database, watch: Watch) -> None:
    await make(client, database, watch, names=[BUSY], units=(1, 15)).run(SLOT)
    end = floor(watch.now, 15)
    want = await truth(client, BUSY, end - timedelta(hours=4), end, 15)
    assert (await stored(database, BUSY, watch, 15))[-len(want) :] == want


async def test_a_long_history_is_filled_in_beside_the_runs_the_newest_first(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, history=timedelta(hours=10))
    heard: list[str | None] = []
    assert job.filler is not None
    job.filler.told = heard.append
    await job.run(SLOT)
    assert asked(venue) == {"/v1/ticker": 1, BUSY: 1, QUIET: 1}
    assert await job.filler.fill(1) > 0
    watch.now += timedelta(seconds=11)
    await job.filler.fill(1)
    assert re.search(r"2 of [34] requests are done", str(heard[-1]))
    await complete(job)
    assert heard[-1] is None
    assert asked(venue)[BUSY] in {2, 3}
    expected = {"/v1/ticker": 1} | waiting(job, watch)
    await complete(job)
    assert asked(venue) == expected


async def test_history_waits_while_a_run_fetches_the_newest(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, history=timedelta(hours=10))
    await job.run(SLOT)
    asked(venue)
    assert job.filler is not None
    with job.filler.paused():
        filling = asyncio.create_task(job.filler.fill(1000))
        await client.tickers([BUSY])
        await client.tickers([BUSY])
        assert asked(venue) == {"/v1/ticker": 2}
    await filling
    assert asked(venue)[BUSY] == 2


async def test_the_filler_outlives_an_exchange_that_is_away(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=[BUSY])
    assert job.filler is not None
    waits: list[float] = []
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            venue.http.delete("/sandbox/faults")

    def told(text: str | None) -> None:
        if text is None:
            over.set()

    job.filler.sleep, job.filler.told = sleep, told
    await job.run(SLOT)
    venue.fault(path="/v1/candles/*", action="answer", status=503, count=0)
    task = asyncio.create_task(job.filler.run())
    await asyncio.wait_for(over.wait(), 30)
    task.cancel()
    assert waits == [1.0, 2.0, 4.0]
    end = floor(watch.now, 1)
    assert job.plan.holes(BUSY, 1, end - timedelta(hours=5), end) == []


async def test_a_market_whose_history_is_refused_is_set_aside(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch)
    assert job.filler is not None
    heard: list[str | None] = []
    job.filler.told = heard.append
    await job.run(SLOT)
    asked(venue)
    fault = {"path": "/v1/candles/*", "market": BUSY, "action": "answer", "count": 0}
    venue.fault(**fault, status=400, body={"error": {"name": "odd", "message": "odd"}})
    await complete(job)
    counts = asked(venue)
    assert counts[BUSY] == 1
    await complete(job)
    assert asked(venue)[BUSY] == 0
    assert "are left for later: KRW-BTC" in str(heard[-1])
    venue.http.delete("/sandbox/faults")
    watch.now += timedelta(minutes=11)
    await complete(job)
    assert heard[-1] is None


async def test_what_came_is_stored_when_the_deadline_cuts_a_run_off(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    every = sorted(each.market for each in await client.markets())
    job = make(client, database, watch, names=every)
    venue.fault(path="/v1/candles/*", market=BUSY, action="hang", count=0)
    tally, total = RunCounters(), len(every)
    token = current_counters.set(tally)
    running = asyncio.create_task(job.run(SLOT))
    current_counters.reset(token)
    while not (running.done() or tally.progress.startswith(f"{total - 1} of")):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # its own call ends after five seconds
    running.cancel()
    await asyncio.wait([running])
    assert tally.progress == (f"{total - 1} of {total} newest candles are stored; not yet: {BUSY}")
    newest = await candles.newest(database, every, 1)
    assert len(newest) >= total - 2  # one of the small ones may not have traded for hours
    assert BUSY not in newest


# -- candles that come late (fault D1) -----------------------------------------------------------


async def test_candles_that_come_late_are_there_in_the_end(
    job: MarketJob, client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    await complete(job)
    begin = floor(watch.now, 1)
    # the job's clock is half an hour behind the venue's: so much later the candles seem to come
    behind = floor(datetime.fromisoformat(venue.http.get("/sandbox").json()["now"]), 1) - begin
    venue.http.post("/sandbox/options", json={"candle_lag_ms": int(behind / MINUTE) * 60_000})
    for _ in range(5):
        watch.now += MINUTE
        await complete(job)
    assert job.plan.holes(BUSY, 1, begin, floor(watch.now, 1))
    venue.http.post("/sandbox/options", json={"candle_lag_ms": 0})
    watch.now += MINUTE
    await complete(job)
    end = floor(watch.now, 1)
    want = await truth(client, BUSY, begin - 10 * MINUTE, end)
    assert (await stored(database, BUSY, watch))[-len(want) :] == want
    assert job.plan.holes(BUSY, 1, begin, end) == []


async def test_a_failing_market_loses_only_itself_and_comes_next_time(
    job: MarketJob, database: Database, venue: Venue, watch: Watch
) -> None:
    venue.fault(path="/v1/candles/*", market=BUSY, action="answer", status=500, count=0)
    tally = RunCounters()
    token = current_counters.set(tally)
    with pytest.raises(Unavailable):
        await job.run(SLOT)
    current_counters.reset(token)
    quiet = await stored(database, QUIET, watch)
    assert await stored(database, BUSY, watch) == []
    assert tally.rows == len(quiet) + 2
    venue.http.delete("/sandbox/faults")
    asked(venue)
    expected = {"/v1/ticker": 1, BUSY: 1} | waiting(job, watch)
    await job.run(SLOT)
    assert asked(venue) == expected
    assert await stored(database, BUSY, watch)


async def test_without_tickers_the_candles_come_all_the_same(
    job: MarketJob, database: Database, venue: Venue, watch: Watch
) -> None:
    venue.fault(path="/v1/ticker", action="reset")
    with pytest.raises(Unavailable):
        await job.run(SLOT)
    assert await stored(database, BUSY, watch)
    assert await market_data.latest(database, [BUSY]) == {}


async def test_a_market_that_does_not_exist_loses_only_itself(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=[BUSY, "KRW-NOPE"])
    await job.run(SLOT)
    assert asked(venue) == {"/v1/ticker": 2, "/v1/ticker/all": 1, BUSY: 1}
    assert client.absent.unquoted == {"KRW-NOPE"}
    assert (await market_data.latest(database, [BUSY, "KRW-NOPE"])).keys() == {BUSY}
    assert await stored(database, BUSY, watch)


async def test_a_transient_failure_decides_before_a_permanent_one(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=[BUSY, "KRW-NOPE"])
    venue.fault(path="/v1/candles/*", action="answer", status=503)
    with pytest.raises(Unavailable):
        await job.run(SLOT)


async def test_another_refusal_of_the_tickers_is_told(job: MarketJob, venue: Venue) -> None:
    body = {"error": {"name": 400, "message": "Invalid parameter"}}
    venue.fault(path="/v1/ticker", action="answer", status=400, body=body)
    with pytest.raises(Refused):
        await job.run(SLOT)
    assert "/v1/ticker/all" not in asked(venue)


async def test_an_exchange_that_is_away_is_left_in_peace(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, history=timedelta(days=7), max_concurrency=3)
    venue.fault(path="/v1/*", action="answer", status=502, count=0)
    with pytest.raises(Unavailable):
        await job.run(SLOT)
    assert asked(venue).total() <= 1 + 2 * 3 + 3


async def test_nothing_is_sent_inside_a_servers_wait_and_nothing_is_lost(
    job: MarketJob, database: Database, venue: Venue, watch: Watch
) -> None:
    venue.fault(
        path="/v1/candles/*", nth=2, action="answer", status=429, headers={"Retry-After": "3"}
    )
    with pytest.raises(RateLimited) as caught:
        await job.run(SLOT)
    assert caught.value.retry_after_s == 3
    asked(venue)
    watch.now += timedelta(seconds=2.9)
    with pytest.raises(RateLimited):
        await job.run(SLOT)
    assert asked(venue) == {"/v1/ticker": 1}
    watch.now += timedelta(seconds=0.1)
    await job.run(SLOT)
    for market in (BUSY, QUIET):
        assert len(await stored(database, market, watch)) > 100


async def test_all_markets_are_one_ticker_call(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=(), history=timedelta(minutes=5))
    await job.run(SLOT)
    counts = asked(venue)
    assert counts.pop("/v1/ticker/all") == 1
    assert set(counts.values()) == {1}
    assert counts.keys() == set(venue.http.get("/sandbox").json()["markets"])


async def test_the_top_markets_by_turnover(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=(), top=3, history=timedelta(minutes=5))
    await job.run(SLOT)
    counts = asked(venue)
    assert counts.pop("/v1/ticker/all") == 1
    assert len(counts) == 3
    snapshots = await market_data.latest(database, sorted(counts))
    every = await client.all_tickers()
    least = min(snapshot.value_24h for snapshot in snapshots.values())
    assert sum(ticker.value_24h > least * Decimal("1.01") for ticker in every) <= 3


@pytest.mark.parametrize("chosen", [{"names": (BUSY,)}, {"names": (), "top": 1}])
async def test_a_held_market_is_collected_though_it_is_not_chosen(
    client: UpbitClient, database: Database, watch: Watch, chosen: dict[str, Any]
) -> None:
    async def held() -> frozenset[str]:
        return frozenset({QUIET, "KRW-GONE"})  # one of them delisted: no failure of the job

    job = make(client, database, watch, engaged=held, history=timedelta(minutes=10), **chosen)
    await job.run(SLOT)
    assert await stored(database, QUIET, watch)
    assert QUIET in await market_data.latest(database, [QUIET])


async def test_without_a_list_of_markets_there_is_nothing_to_do(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    job = make(client, database, watch, names=(), top=3)
    venue.fault(path="/v1/ticker/all", action="reset", count=0)
    with pytest.raises(Unavailable):
        await job.run(SLOT)
    assert asked(venue).keys() == {"/v1/ticker/all"}


async def test_no_more_in_flight_than_allowed(
    client: UpbitClient, database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    flying = most = 0
    fetch = client.candles

    async def counted(*args: Any, **kwargs: Any) -> list[Candle]:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        found = await fetch(*args, **kwargs)
        flying -= 1
        return found

    monkeypatch.setattr(client, "candles", counted)
    every = [each.market for each in await client.markets()]
    await make(client, database, watch, names=every, max_concurrency=4).run(SLOT)
    assert most == 4
