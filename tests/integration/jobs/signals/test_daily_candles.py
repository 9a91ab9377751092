"""Days of the database are those of a replay at the same instant, or there are none (fault F6)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.venue import Venue

from jobs.backtest.candle_history import Tape
from jobs.backtest.days import TapeDays
from jobs.backtest.recordings import read_files
from jobs.backtest.run import Plan, play
from jobs.backtest.signal_feed import SourceFeed
from jobs.candles.backlog import CandlePlan, Page, floor
from jobs.candles.days import DAY
from jobs.candles.frame import Candles
from jobs.candles.selection import Selection
from jobs.core.cooldowns import Gates
from jobs.core.job import Slot
from jobs.market.history import HistoryFiller
from jobs.market.job import MarketJob
from jobs.signals.daily_candles import DailyCandles
from jobs.signals.job import SignalsJob
from jobs.signals.strategy_source import as_source
from jobs.store import candles as candle_store
from jobs.store import market_data
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.wire import DAY_UNIT, Candle, Ticker

DATA = Path(__file__).parents[4] / "sandbox" / "data"
BEGIN = datetime(2025, 9, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BTC, XRP = "KRW-BTC", "KRW-XRP"
UNHURRIED = {group: Limit(10_000) for group in LIMITS}
SLOT = Slot(job="market", scheduled_at=BEGIN, run_id="r")


def recording(since: datetime, until: datetime) -> dict[str, list[Candle]]:
    return read_files(DATA, [BTC, XRP], since=since, until=until)


def looked_at(since: datetime, end: datetime, *, days: int = 0) -> CandlePlan:
    """A plan that knows minutes from `since` on, and so many finished days."""
    plan = CandlePlan()
    for market in (BTC, XRP):
        plan.begin(market, 1, since=since, end=end, gaps=[])
        today = floor(end, DAY_UNIT)
        gaps = [] if days else [(today - 3 * DAY, today)]
        first = today - (days or 3) * DAY
        plan.begin(market, DAY_UNIT, since=first, end=today, gaps=gaps)
    return plan


async def test_the_same_instant_has_the_same_days_live_and_in_a_replay(database: Database) -> None:
    tape = recording(BEGIN, BEGIN + 3 * DAY)
    await candle_store.upsert(database, [each for all_ in tape.values() for each in all_])
    replayed = TapeDays(tape=Tape(tape), count=200)
    plan = looked_at(BEGIN, BEGIN + 3 * DAY)
    for minutes in (0, 1, 59, 660, 1439):
        newest = BEGIN + 2 * DAY + minutes * MINUTE
        live = DailyCandles(db=database, base=1, count=200, known=plan)
        plan._tracks[BTC, DAY_UNIT].missing = [(BEGIN, BEGIN + 2 * DAY)]
        plan._tracks[XRP, DAY_UNIT].missing = [(BEGIN, BEGIN + 2 * DAY)]
        plan._tracks[BTC, DAY_UNIT].end = plan._tracks[XRP, DAY_UNIT].end = BEGIN + 2 * DAY
        found = await live.of({BTC: newest, XRP: newest})
        assert found == {market: replayed.of(market, newest) for market in (BTC, XRP)}
        assert len(found[BTC].candles) == 3


async def test_days_of_the_exchange_are_taken_and_remembered(database: Database, dsn: str) -> None:
    tape = recording(BEGIN, BEGIN + 2 * DAY)
    minutes = [each for each in tape[BTC] if each.ts >= BEGIN + DAY]
    own = replace(tape[BTC][0], unit=DAY_UNIT)
    await candle_store.upsert(database, [*minutes, own])
    plan = looked_at(BEGIN + DAY, BEGIN + 2 * DAY, days=1)
    plan.begin(BTC, DAY_UNIT, since=BEGIN, end=BEGIN + DAY, gaps=[])
    live = DailyCandles(db=database, base=1, count=200, known=plan)
    (found,) = (await live.of({BTC: BEGIN + DAY + HOUR})).values()
    assert found.candles[0] == own
    async with database.connection() as connection:
        await connection.execute("DELETE FROM candles WHERE unit = 1440")
    (again,) = (await live.of({BTC: BEGIN + DAY + HOUR})).values()
    assert again == found


@pytest.mark.parametrize(
    ("since", "gap", "said"),
    [
        # the running day began before anything was looked at
        (timedelta(hours=49), None, "the day that began at 2025-09-12 00:00 UTC are not complete"),
        # a hole in the running day
        (timedelta(0), 50, "the day that began at 2025-09-12 00:00 UTC are not complete"),
        # yesterday is neither the exchange's nor made of all of its minutes
        (timedelta(hours=25), None, "the daily candle of 2025-09-10 has not come yet"),
        (timedelta(0), 30, "the daily candle of 2025-09-11 has not come yet"),
    ],
)
async def test_two_hours_are_never_a_day(
    database: Database, since: timedelta, gap: int | None, said: str
) -> None:
    tape = recording(BEGIN, BEGIN + 3 * DAY)
    await candle_store.upsert(database, [each for all_ in tape.values() for each in all_])
    end = BEGIN + 2 * DAY + 9 * HOUR
    plan = CandlePlan()
    gaps = [] if gap is None else [(BEGIN + gap * HOUR, BEGIN + gap * HOUR + 31 * MINUTE)]
    plan.begin(BTC, 1, since=BEGIN + since, end=end, gaps=gaps)
    today = BEGIN + 2 * DAY
    days = [] if "day that began" in said else [(BEGIN, today)]
    plan.begin(BTC, DAY_UNIT, since=BEGIN, end=today, gaps=days)
    live = DailyCandles(db=database, base=1, count=200, known=plan)
    (found,) = (await live.of({BTC: end - MINUTE})).values()
    assert found.candles == ()
    assert said in found.why_not


# -- collected from the exchange ---------------------------------------------------------------


class Watch:
    def __init__(self, now: datetime) -> None:
        self.now = now

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
        yield client


def collecting(client: UpbitClient, db: Database, watch: Watch, days: int) -> MarketJob:
    plan = CandlePlan()

    async def never(_seconds: float) -> None:
        raise AssertionError("nothing fails here")

    return MarketJob(
        client=client,
        db=db,
        clock=watch,
        selection=Selection(listing=client, clock=watch, names=(BTC, XRP)),
        history=timedelta(minutes=10),
        days=days,
        plan=plan,
        filler=HistoryFiller(client=client, db=db, clock=watch, plan=plan, sleep=never),
    )


async def complete(job: MarketJob) -> None:
    await job.run(SLOT)
    assert job.filler is not None
    while await job.filler.fill(1000):
        pass


def asked_for_days(venue: Venue) -> int:
    rows = venue.http.get("/sandbox/requests").json()
    venue.http.delete("/sandbox/requests")
    return sum(row["path"] == "/v1/candles/days" for row in rows)


async def test_a_strategy_sees_the_exchanges_days_for_one_request_a_market_and_day(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    venue.http.delete("/sandbox/requests")
    job = collecting(client, database, watch, days=8)
    await complete(job)
    assert asked_for_days(venue) == 2
    for _ in range(3):
        watch.now += MINUTE
        await complete(job)
    assert asked_for_days(venue) == 0

    live = DailyCandles(db=database, base=1, count=8, known=job.plan)
    newest = {
        market: (await candle_store.newest(database, [market], 1))[market] for market in (BTC, XRP)
    }
    found = await live.of(newest)
    for market, days in found.items():
        today = floor(newest[market], DAY_UNIT)
        theirs = await client.candles(market, DAY_UNIT, to=today, count=8)
        assert list(days.candles[:-1]) == theirs[::-1], days.why_not
        minutes = await client.candles(market, 1, to=newest[market] + MINUTE, count=200)
        running = days.candles[-1]
        assert (running.ts, running.close) == (today, minutes[0].close)
        assert running.high >= max(each.high for each in minutes if each.ts >= today)


async def test_a_new_day_is_asked_for_once_when_it_has_settled(
    client: UpbitClient, database: Database, venue: Venue, watch: Watch
) -> None:
    watch.now = floor(watch.now, DAY_UNIT) - MINUTE + timedelta(seconds=2)
    job = collecting(client, database, watch, days=8)
    await complete(job)
    venue.http.delete("/sandbox/requests")
    for _ in range(6):
        watch.now += MINUTE
        await complete(job)
    assert asked_for_days(venue) == 2
    live = DailyCandles(db=database, base=1, count=8, known=job.plan)
    today = floor(watch.now, DAY_UNIT)
    (days,) = (await live.of({BTC: today + MINUTE})).values()
    assert [each.ts for each in days.candles[-2:]] == [today - DAY, today]


# -- a strategy on days, live and replayed -------------------------------------------------------

SEEN: list[tuple[Any, ...]] = []


def breakout(candles: Candles) -> str:
    """The commonest rule, which notes what it was shown."""
    daily = candles.daily
    target = daily.open[-1] + 0.3 * (daily.high[-2] - daily.low[-2])
    shown = [tuple(daily[name]) for name in daily.columns]
    SEEN.append((candles.market, candles.index[-1], daily.index, shown))
    return "buy" if candles.close[-1] > target else "hold"


async def test_the_same_strategy_is_shown_the_same_live_and_in_a_replay(
    database: Database,
) -> None:
    begin = BEGIN + 2 * DAY - 6 * MINUTE  # over 09:00 in Korea
    tape = recording(BEGIN, begin + 12 * MINUTE)
    SEEN.clear()
    feed = SourceFeed(
        tape=Tape(tape),
        source=as_source("breakout", breakout),
        names={BTC: BTC, XRP: XRP},
        days=TapeDays(tape=Tape(tape), count=200),
    )
    plan = Plan(since=begin, until=begin + 12 * MINUTE, every=MINUTE, offset=timedelta(seconds=5))
    await play(Tape(tape), plan, feed)
    replayed, clock = list(SEEN), Watch(begin)
    SEEN.clear()

    known = CandlePlan()
    for market in (BTC, XRP):
        known.begin(market, 1, since=BEGIN, end=begin + 12 * MINUTE, gaps=[])
        known.begin(
            market, DAY_UNIT, since=BEGIN, end=BEGIN + 2 * DAY, gaps=[(BEGIN, BEGIN + 2 * DAY)]
        )

    async def markets() -> dict[str, str]:
        return {BTC: BTC, XRP: XRP}

    job = SignalsJob(
        db=database,
        source=as_source("breakout", breakout),
        source_name="breakout",
        markets=markets,
        mode="paper",
        clock=clock,
        daily=DailyCandles(db=database, base=1, count=200, known=known),
    )
    for number in range(12):
        clock.now = begin + number * MINUTE + timedelta(seconds=5)
        past = [each for all_ in tape.values() for each in all_ if each.ts + MINUTE <= clock.now]
        await candle_store.upsert(database, past if number == 0 else past[-3000:])
        await market_data.insert(database, [_ticker(market, clock.now) for market in (BTC, XRP)])
        await job.run(SLOT)
    assert [each[:2] for each in SEEN] == [each[:2] for each in replayed]
    assert replayed == SEEN
    assert len({each[2][-1] for each in SEEN}) == 2  # two days were today


async def test_without_days_a_strategy_that_wants_them_says_nothing_and_fails_nowhere(
    database: Database,
) -> None:
    tape = recording(BEGIN, BEGIN + HOUR)
    await candle_store.upsert(database, [each for all_ in tape.values() for each in all_])
    clock = Watch(BEGIN + HOUR + timedelta(seconds=5))
    await market_data.insert(database, [_ticker(market, clock.now) for market in (BTC, XRP)])

    async def markets() -> dict[str, str]:
        return {BTC: BTC, XRP: XRP}

    job = SignalsJob(
        db=database,
        source=as_source("breakout", breakout),
        source_name="breakout",
        markets=markets,
        mode="paper",
        clock=clock,
    )
    assert await job.run(SLOT) == 0


def _ticker(market: str, now: datetime) -> Ticker:
    one = Decimal(1)
    return Ticker(market=market, price=one, volume_24h=one, value_24h=one, change_rate=one, ts=now)


def test_a_page_of_days_is_a_page() -> None:
    page = Page(market=BTC, unit=DAY_UNIT, since=BEGIN, to=BEGIN + 3 * DAY)
    assert page.count == 3
