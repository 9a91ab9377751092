"""Price steps that the exchange states, over the sandbox's HTTP, and orders that obey them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from fixtures.trading import HandClock, Trading
from fixtures.venue import Venue

from jobs.core.cooldowns import Gates
from jobs.matching.rules import Rules as VenueRules
from jobs.orders.market_gate import Clearance
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.stated_ticks import TickWatch
from jobs.upbit.ticks import StatedTicks, band_floor, tick_size, uniform
from jobs.upbit.wire import Instrument, Ticker

if TYPE_CHECKING:
    from loguru import Record

XRP, DOGE = "KRW-XRP", "KRW-DOGE"
UNHURRIED = {group: Limit(10_000) for group in LIMITS}
INSTRUMENTS = "/v1/orderbook/instruments"


@dataclass
class Crossing:
    """The exchange, with something happening while it states ticks."""

    client: UpbitClient
    state: Callable[[Sequence[str]], Awaitable[list[Instrument]]]

    async def instruments(self, markets: Sequence[str]) -> list[Instrument]:
        return await self.state(markets)

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        return await self.client.all_tickers(quote)


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
        venue.http.delete("/sandbox/requests")
        yield client


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ticks(client: UpbitClient, clock: HandClock) -> TickWatch:
    return TickWatch(exchange=client, clock=clock)


def asked(venue: Venue) -> int:
    return len(venue.http.get(f"/sandbox/requests?path={INSTRUMENTS}").json())


def told(log_records: "list[Record]") -> list[tuple[str, str]]:
    return [
        (each["extra"]["market"], each["extra"]["stated"])
        for each in log_records
        if each["extra"].get("event") == "market.tick_differs"
    ]


async def test_it_is_asked_once_an_hour_and_a_difference_is_told_once(
    ticks: TickWatch, venue: Venue, clock: HandClock, log_records: "list[Record]"
) -> None:
    venue.force_price(XRP, Decimal(3000))
    venue.options(ticks={XRP: "5"})
    for _ in range(3):
        await ticks.watch([XRP, DOGE])
    assert asked(venue) == 1
    await clock.sleep(3600)
    await ticks.watch([XRP, DOGE])
    assert asked(venue) == 2
    assert told(log_records) == [(XRP, "5")]
    stated = await ticks.of(XRP)
    assert tick_size(XRP, Decimal(3000), stated) == 5
    assert tick_size(XRP, Decimal(99), stated) == Decimal("0.1"), "not stated for that band"


async def test_a_market_without_a_book_costs_no_other(ticks: TickWatch, venue: Venue) -> None:
    names = [row["market"] for row in venue.http.get("/v1/market/all").json()]
    await ticks.watch([*names, "KRW-GONE"])
    assert set(ticks.stated) == set(names)


@pytest.mark.parametrize("tick", ["100000000", "0.000000000001"])
async def test_what_cannot_be_a_tick_is_not_believed(
    ticks: TickWatch, venue: Venue, tick: str, log_records: "list[Record]"
) -> None:
    venue.force_price(XRP, Decimal(3000))
    rows = [{"market": XRP, "quote_currency": "KRW", "tick_size": tick, "supported_levels": ["0"]}]
    venue.fault(method="GET", path=INSTRUMENTS, action="answer", status=200, body=rows)
    await ticks.watch([XRP])
    believed = Decimal(tick) < 1
    assert (XRP in ticks.stated) is believed
    assert len(told(log_records)) == 1


async def test_a_price_that_changes_its_band_meanwhile_proves_nothing(
    ticks: TickWatch, client: UpbitClient, venue: Venue, clock: HandClock
) -> None:
    """Which of the two bands the answer was about, nobody knows."""
    venue.options(ticks={XRP: "5"})
    venue.force_price(XRP, Decimal(9_995))
    plain = client.instruments

    async def crossing(markets: Sequence[str]) -> list[Instrument]:
        found = await plain(markets)
        venue.force_price(XRP, Decimal(10_000))
        return found

    ticks.exchange = Crossing(client, crossing)
    await ticks.watch([XRP])
    assert ticks.stated == {}
    ticks.exchange = client
    await ticks.watch([XRP])
    assert ticks.stated == {}, "not every minute"
    await clock.sleep(300)
    await ticks.watch([XRP])
    assert ticks.stated == {XRP: {Decimal(10_000): Decimal(5)}}


async def test_an_exit_does_not_wait_long_for_a_tick(ticks: TickWatch, venue: Venue) -> None:
    venue.fault(method="GET", path=INSTRUMENTS, action="hang")
    ticks.learn(XRP, "invalid_price_ask")
    assert await ticks.of(XRP) == {}
    assert XRP in await ticks_after(ticks)


async def ticks_after(ticks: TickWatch) -> Mapping[str, StatedTicks]:
    await ticks.of(XRP)
    return ticks.stated


async def test_an_order_refused_for_its_price_has_the_tick_asked_anew(
    trading: Trading, ticks: TickWatch, venue: Venue
) -> None:
    """The exchange doubles its tick between two hourly looks: one refusal, then it fits."""
    venue.force_price(XRP, Decimal(3001))
    venue.options(ticks={XRP: "5"})
    trading.venue.price[XRP] = Decimal(3001)
    trading.venue.engine.rules = VenueRules(ticks={XRP: uniform(XRP, Decimal(5))})
    trading.job = replace(
        trading.job,
        view=replace(trading.view, ticks_of=ticks.of),
        clearance=Clearance(on_refusal=ticks.learn),
    )
    await trading.signal("buy", XRP)
    await trading.run()
    refused = await trading.only_order()
    assert (str(refused.state), refused.price) == ("refused", Decimal(3001))
    assert "invalid_price_bid" in (refused.reason or "")
    await trading.signal("buy", XRP)
    await trading.run(after_s=60)
    placed = (await trading.orders())[-1]
    assert (str(placed.state), placed.price) == ("done", Decimal(3005))
    assert asked(venue) == 1


async def test_a_post_only_entry_stands_one_stated_tick_below(
    trading: Trading, ticks: TickWatch, venue: Venue
) -> None:
    venue.force_price(XRP, Decimal(3000))
    venue.options(ticks={XRP: "5"})
    trading.venue.price[XRP] = Decimal(3000)
    trading.venue.engine.rules = VenueRules(ticks={XRP: uniform(XRP, Decimal(5))})
    await ticks.watch([XRP])
    trading.job = replace(trading.job, view=replace(trading.view, ticks_of=ticks.of))
    await trading.set(entry_time_in_force="post_only")
    await trading.signal("buy", XRP)
    await trading.run()
    order = await trading.only_order()
    assert (str(order.state), order.price) == ("wait", Decimal(2995))
    assert band_floor(XRP, Decimal(2995)) == 100
