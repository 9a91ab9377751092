"""Warnings and caution marks against the sandbox's HTTP and a real Postgres."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from fixtures.trading import Alerts, HandClock
from fixtures.venue import Venue
from sqlalchemy import select

from jobs.core.cooldowns import Gates
from jobs.core.errors import Unavailable
from jobs.market.marks import MarketMarks
from jobs.store.alerts import Telling, raise_alert
from jobs.store.db import Database
from jobs.store.tables import markets
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter

if TYPE_CHECKING:
    from loguru import Record

XRP, ETH = "KRW-XRP", "KRW-ETH"
UNHURRIED = {group: Limit(10_000) for group in LIMITS}


@dataclass(slots=True)
class Watched:
    """Marks of one account, and what the test changes around them."""

    marks: MarketMarks
    clock: HandClock
    alerts: Alerts
    held: set[str] = field(default_factory=set)

    async def look(self, *, after_s: float = 60) -> None:
        await self.clock.sleep(after_s)
        await self.marks.watch()


@pytest.fixture
async def client(venue: Venue) -> AsyncIterator[UpbitClient]:
    clock = HandClock()
    async with open_client(
        base_url=venue.base_url,
        keys=None,
        gates=Gates(clock),
        limiter=Limiter(limits=UNHURRIED),
        clock=clock,
    ) as client:
        yield client


@pytest.fixture
def watched(client: UpbitClient, database: Database) -> Watched:
    return make(client, database)


def make(client: UpbitClient, database: Database, *, allow_warned: bool = False) -> Watched:
    clock, alerts, held = HandClock(), Alerts(), set[str]()

    async def engaged() -> set[str]:
        return held

    marks = MarketMarks(
        exchange=client,
        db=database,
        clock=clock,
        notifier=alerts,
        held=engaged,
        allow_warned=allow_warned,
    )
    return Watched(marks=marks, clock=clock, alerts=alerts, held=held)


async def stored(db: Database, market: str) -> tuple[bool, list[str]]:
    async with db.begin() as tx:
        query = select(markets.c.warning, markets.c.cautions).where(markets.c.market == market)
        row = (await tx.execute(query)).one()
    return row.warning, row.cautions


async def test_a_warned_market_takes_no_entry_until_the_warning_ends(
    watched: Watched, venue: Venue, database: Database
) -> None:
    venue.options(warned=[XRP], cautions={XRP: ["TRADING_VOLUME_SOARING"]})
    await watched.look()
    why = await watched.marks.why_no_entry(XRP)
    assert why == "KRW-XRP is under the exchange's warning (trading.allow_warned = false)"
    assert await watched.marks.why_no_entry(ETH) is None
    assert await stored(database, XRP) == (True, ["TRADING_VOLUME_SOARING"])
    assert await stored(database, ETH) == (False, [])
    assert watched.alerts.told == [], "nothing is held"
    venue.options(warned=[], cautions={})
    await watched.look()
    assert await watched.marks.why_no_entry(XRP) is None
    assert await stored(database, XRP) == (False, [])


async def test_a_caution_alone_bars_nothing(watched: Watched, venue: Venue) -> None:
    venue.options(cautions={XRP: ["PRICE_FLUCTUATIONS"]})
    assert await watched.marks.why_no_entry(XRP) is None


async def test_whoever_allows_it_enters_warned_markets(
    client: UpbitClient, database: Database, venue: Venue
) -> None:
    venue.options(warned=[XRP])
    lenient = make(client, database, allow_warned=True)
    assert await lenient.marks.why_no_entry(XRP) is None
    assert await lenient.marks.why_no_entry("KRW-GONE") == "the exchange does not list KRW-GONE"


async def test_a_held_one_is_told_of_once_and_its_end(watched: Watched, venue: Venue) -> None:
    watched.held |= {XRP, ETH}
    await watched.look()
    venue.options(warned=[XRP], cautions={XRP: ["GLOBAL_PRICE_DIFFERENCES"]})
    await watched.look()
    await watched.look()
    (told,) = watched.alerts.told
    assert (told.kind, told.severity, told.market) == ("market_warning", "warning", XRP)
    assert told.advice is not None
    assert "GLOBAL_PRICE_DIFFERENCES" in told.message
    venue.options(warned=[])
    await watched.look()
    assert watched.alerts.resolved == ["market_warning:KRW-XRP"]


@pytest.mark.parametrize("answer", [[], [{"market": "KRW-ETH", "korean_name": "x"}]])
async def test_an_answer_without_the_market_ends_no_alert(
    watched: Watched, venue: Venue, answer: list[object]
) -> None:
    """Absence in one answer proves nothing."""
    watched.held.add(XRP)
    venue.options(warned=[XRP])
    await watched.look()
    venue.fault(method="GET", path="/v1/market/all", action="answer", status=200, body=answer)
    await watched.look()
    assert watched.alerts.resolved == []
    assert await watched.marks.why_no_entry(XRP) is not None
    await watched.look()
    venue.options(warned=[])
    await watched.look()
    assert watched.alerts.resolved == ["market_warning:KRW-XRP"]
    assert len(watched.alerts.told) == 1


async def test_it_ends_as_well_when_nothing_is_held_any_more(
    watched: Watched, venue: Venue
) -> None:
    watched.held.add(XRP)
    venue.options(warned=[XRP])
    await watched.look()
    watched.held.clear()
    await watched.look()
    assert watched.alerts.resolved == ["market_warning:KRW-XRP"]


async def test_what_an_earlier_process_told_of_ends_too(
    watched: Watched, venue: Venue, database: Database
) -> None:
    watched.held.add(XRP)
    venue.options(warned=[XRP])
    await watched.look()
    telling = Telling(hooks={}, dedupe=timedelta(minutes=15), told=frozenset())
    await raise_alert(database, watched.alerts.told[0], telling, datetime.now(UTC))
    venue.options(warned=[])
    watched.marks._told = None  # the next process
    await watched.look()
    assert "market_warning:KRW-XRP" in watched.alerts.resolved


async def test_marks_are_trusted_for_an_hour_and_no_longer(watched: Watched, venue: Venue) -> None:
    await watched.look()
    venue.fault(method="GET", path="/v1/market/all", action="answer", status=503, count=0)
    await watched.look(after_s=1800)
    assert await watched.marks.why_no_entry(XRP) is None
    await watched.clock.sleep(1801)
    with pytest.raises(Unavailable):
        await watched.marks.why_no_entry(XRP)


async def test_within_a_minute_the_exchange_is_asked_once(watched: Watched, venue: Venue) -> None:
    venue.http.delete("/sandbox/requests")
    for _ in range(3):
        await watched.marks.current()
    asked = venue.http.get("/sandbox/requests?path=/v1/market/all").json()
    assert len(asked) == 1


async def test_a_configured_market_that_does_not_exist_is_named_once(
    watched: Watched, log_records: "list[Record]"
) -> None:
    watched.marks.named = frozenset({XRP, "KRW-XPR", "KRW-QQQQQQ"})
    for _ in range(3):
        await watched.look()
    told = [each["extra"] for each in log_records if each["extra"].get("event") == "market.unknown"]
    assert sorted((each["market"], each["nearest"]) for each in told)[1] == ("KRW-XPR", XRP)
    assert len(told) == 2
