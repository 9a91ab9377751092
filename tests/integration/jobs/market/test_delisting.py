"""Markets that are gone, against the sandbox's HTTP: told of once, and their return."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.trading import Alerts, HandClock
from fixtures.venue import Venue

from jobs.core.cooldowns import Gates
from jobs.market.delisting import DelistingWatch
from jobs.store.alerts import Telling, raise_alert
from jobs.store.db import Database
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter

XRP, ETH, NOPE = "KRW-XRP", "KRW-ETH", "KRW-NOPE"


@dataclass(slots=True)
class Watched:
    """What is held and wanted, and who looks."""

    watch: DelistingWatch
    client: UpbitClient
    clock: HandClock
    alerts: Alerts
    held: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)

    async def look(self, *, after_s: float = 61) -> None:
        """One run of the market job, as far as lists go."""
        await self.clock.sleep(after_s)
        await self.client.tickers(sorted(self.wanted | self.held))
        await self.watch.watch()


@pytest.fixture
async def watched(venue: Venue, database: Database) -> AsyncIterator[Watched]:
    clock, alerts = HandClock(), Alerts()
    async with open_client(
        base_url=venue.base_url,
        keys=None,
        gates=Gates(clock),
        limiter=Limiter(limits={group: Limit(10_000) for group in LIMITS}),
        clock=clock,
    ) as client:
        held, wanted = set[str](), {ETH}

        async def engaged() -> set[str]:
            return held

        async def chosen() -> set[str]:
            return wanted

        watch = DelistingWatch(
            db=database,
            notifier=alerts,
            wanted=chosen,
            held=engaged,
            listed=client.markets,
            unquoted=lambda: client.absent.unquoted,
        )
        yield Watched(watch, client, clock, alerts, held, wanted)


async def test_a_held_market_that_is_gone_is_told_of_once_and_its_return(
    watched: Watched, venue: Venue
) -> None:
    watched.held.add(XRP)
    await watched.look()
    assert watched.alerts.told == []
    venue.options(delisted=[XRP])
    for _ in range(3):
        await watched.look()
    (told,) = watched.alerts.told
    assert (told.kind, told.severity, told.market) == ("market_gone", "critical", XRP)
    assert "positions settle KRW-XRP" in (told.advice or "")
    venue.options(delisted=[])
    await watched.look()
    assert watched.alerts.resolved == ["market_gone:KRW-XRP"]


async def test_a_name_that_never_was_is_a_warning(watched: Watched) -> None:
    watched.wanted.add(NOPE)
    await watched.look()
    (told,) = watched.alerts.told
    assert (told.severity, told.market) == ("warning", NOPE)
    assert "trading.markets" in (told.advice or "")


async def test_one_list_alone_proves_nothing(watched: Watched, venue: Venue) -> None:
    """All tickers lack it for once; the list of markets has it."""
    watched.held.add(XRP)
    body = {"error": {"name": 404, "message": "Code not found"}}
    venue.fault(path="/v1/ticker", action="answer", status=404, body=body, count=1)
    venue.fault(path="/v1/ticker/all", action="answer", status=200, body=[], count=1)
    await watched.look()
    assert XRP in watched.client.absent.unquoted
    assert watched.alerts.told == []


async def test_it_is_over_when_nothing_of_it_is_held_or_wanted(
    watched: Watched, venue: Venue
) -> None:
    watched.held.add(XRP)
    venue.options(delisted=[XRP])
    await watched.look()
    watched.held.clear()
    await watched.look()
    assert watched.alerts.resolved == ["market_gone:KRW-XRP"]


async def test_what_an_earlier_process_told_of_is_not_told_again_and_ends(
    watched: Watched, venue: Venue, database: Database
) -> None:
    watched.held.add(XRP)
    venue.options(delisted=[XRP])
    await watched.look()
    (told,) = watched.alerts.told
    telling = Telling(hooks={}, dedupe=timedelta(minutes=15))
    await raise_alert(database, told, telling, datetime.now(UTC))
    watched.watch._told = None  # the next process
    await watched.look()
    assert len(watched.alerts.told) == 1
    venue.options(delisted=[])
    await watched.look()
    assert watched.alerts.resolved == ["market_gone:KRW-XRP"]
