"""The client against the sandbox: what two independent readings of the reference agree on."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from fixtures.venue import START_KRW, Venue

from jobs.core.cooldowns import Gates
from jobs.core.errors import Ambiguous, Banned, RateLimited, Refused, Unauthorized
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.errors import MarketOffline
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.ticks import tick_size
from jobs.upbit.wire import OrderRequest

MARKET = "KRW-BTC"


def now() -> datetime:
    return datetime.now(UTC)


def connected(
    venue: Venue, *, limiter: Limiter | None = None, secret: str | None = None
) -> AbstractAsyncContextManager[UpbitClient]:
    return open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, secret or venue.secret_key),
        gates=Gates(now),
        limiter=limiter or Limiter(),
        clock=now,
    )


@pytest.fixture
async def client(venue: Venue) -> AsyncIterator[UpbitClient]:
    unhurried = Limiter(limits={group: Limit(10_000) for group in LIMITS})
    async with connected(venue, limiter=unhurried) as client:
        yield client


def resting(venue: Venue, market: str = MARKET) -> OrderRequest:
    """A bid far below the market."""
    price = venue.price(market, down_pct=50)
    volume = Decimal("0.00100000")
    return OrderRequest(
        market=market,
        side="bid",
        ord_type="limit",
        identifier=uuid4().hex,
        price=price,
        volume=volume,
    )


def market_buy(krw: int = 10_000) -> OrderRequest:
    return OrderRequest(
        market=MARKET, side="bid", ord_type="price", identifier=uuid4().hex, price=Decimal(krw)
    )


async def test_quotation(client: UpbitClient) -> None:
    markets = {market.market: market for market in await client.markets()}
    assert markets[MARKET].english_name == "Bitcoin"
    (ticker,) = await client.tickers([MARKET])
    assert ticker in await client.all_tickers() or ticker.price > 0
    (book,) = await client.orderbooks([MARKET])
    assert book.units[0].bid_price < book.units[0].ask_price
    (instrument,) = await client.instruments([MARKET])
    assert instrument.tick_size == tick_size(MARKET, ticker.price)
    found = await client.candles(MARKET, 1, to=now() - timedelta(minutes=5), count=3)
    assert [candle.ts for candle in found] == sorted((each.ts for each in found), reverse=True)
    assert abs(await client.server_date() - now()) < timedelta(seconds=5)


async def test_account(client: UpbitClient, venue: Venue) -> None:
    assert {each.currency: each.balance for each in await client.accounts()} == {"KRW": START_KRW}
    chance = await client.chance(MARKET)
    assert (chance.bid_fee, chance.bid_min_total) == (Decimal("0.0005"), Decimal(5000))
    assert [key.access_key for key in await client.api_keys()] == [venue.access_key]


async def test_an_order_from_placing_to_its_cancel(client: UpbitClient, venue: Venue) -> None:
    request = resting(venue)
    placed = await client.place(request)
    assert (placed.state, placed.identifier) == ("wait", request.identifier)
    assert [each.uuid for each in await client.open_orders()] == [placed.uuid]
    assert [each.uuid for each in await client.open_orders("KRW-ETH")] == []
    await client.cancel(identifier=request.identifier)
    found = await client.order(identifier=request.identifier)
    assert found is not None
    assert (found.state, found.trades) == ("cancel", ())
    assert found.executed_volume == 0
    assert await client.open_orders() == []
    since = now() - timedelta(days=20)
    assert [each.uuid for each in await client.closed_orders(MARKET, since)] == [placed.uuid]
    with pytest.raises(Refused, match="order_not_found"):
        await client.cancel(uuid=placed.uuid)


async def test_a_market_buy_and_its_fills_to_the_last_digit(
    client: UpbitClient, venue: Venue
) -> None:
    request = market_buy()
    placed = await client.place(request)
    truth = venue.until_closed(placed.uuid)
    found = await client.order(uuid=placed.uuid)
    assert found is not None
    assert found.trades is not None
    assert found.state == truth["state"]
    assert found.paid_fee == Decimal(truth["paid_fee"])
    assert sum(trade.volume for trade in found.trades) == found.executed_volume
    balances = {each.currency: each.balance for each in await client.accounts()}
    spent = sum(trade.funds for trade in found.trades) + found.paid_fee
    assert balances["KRW"] == START_KRW - spent
    assert balances["BTC"] == found.executed_volume
    by_ids = await client.orders_by_ids(identifiers=[request.identifier, "unknown"])
    assert [each.uuid for each in by_ids] == [placed.uuid]
    by_ids = await client.orders_by_ids(uuids=[placed.uuid])
    assert [each.identifier for each in by_ids] == [request.identifier]


async def test_more_open_orders_than_a_page(client: UpbitClient, venue: Venue) -> None:
    request = resting(venue)
    placed = []
    for _ in range(105):
        again = OrderRequest(
            market=MARKET,
            side="bid",
            ord_type="limit",
            identifier=uuid4().hex,
            price=request.price,
            volume=request.volume,
        )
        placed.append((await client.place(again)).uuid)
    assert sorted(each.uuid for each in await client.open_orders()) == sorted(placed)


async def test_an_unknown_order_is_none(client: UpbitClient) -> None:
    assert await client.order(identifier="never-was") is None


async def test_refusals_by_name(client: UpbitClient, venue: Venue) -> None:
    request = resting(venue)
    await client.place(request)
    with pytest.raises(Refused, match="duplicated_identifier"):
        await client.place(request)
    with pytest.raises(Refused, match="under_min_total_bid"):
        await client.place(market_buy(4999))
    with pytest.raises(Refused, match="insufficient_funds_bid"):
        await client.place(market_buy(int(START_KRW)))


async def test_a_test_order_makes_nothing(client: UpbitClient, venue: Venue) -> None:
    request = resting(venue)
    await client.test_order(request)
    assert venue.orders() == []
    await client.place(request)  # its identifier is still free


async def test_maintenance(client: UpbitClient, venue: Venue) -> None:
    venue.options(offline=[MARKET])
    with pytest.raises(MarketOffline):
        await client.place(market_buy())
    with pytest.raises(MarketOffline):
        await client.test_order(resting(venue))


async def test_a_wrong_secret(venue: Venue) -> None:
    async with connected(venue, secret="y" * 40) as client:
        with pytest.raises(Unauthorized, match="jwt_verification"):
            await client.accounts()


@pytest.mark.parametrize(
    ("action", "when"), [("reset", "before"), ("reset", "after"), ("garble", "after")]
)
async def test_a_lost_answer_is_ambiguous_and_a_look_tells(
    client: UpbitClient, venue: Venue, action: str, when: str
) -> None:
    request = market_buy()
    venue.fault(method="POST", path="/v1/orders", action=action, when=when)
    with pytest.raises(Ambiguous):
        await client.place(request)
    found = await client.order(identifier=request.identifier)
    assert (found is not None) is (when == "after")
    assert len(venue.orders()) == (when == "after")


async def test_a_429_is_heeded_and_an_18_second_ban_too(client: UpbitClient, venue: Venue) -> None:
    venue.fault(path="/v1/accounts", action="answer", status=429, body="Too many API requests.")
    with pytest.raises(RateLimited):
        await client.accounts()
    message = "18초 동안 차단되었습니다"
    body = {"error": {"name": 418, "message": message}}
    venue.fault(path="/v1/ticker", action="answer", status=418, body=body)
    with pytest.raises(Banned) as caught:
        await client.tickers([MARKET])
    assert caught.value.retry_after_s == 18
    with pytest.raises(Banned):
        await client.markets()


async def test_the_limiter_keeps_within_the_venues_quota(venue: Venue) -> None:
    venue.options(quotas=True)
    async with connected(venue, limiter=Limiter(share=1.0)) as client:
        for _ in range(25):  # two and a half seconds' worth, as fast as it lets us
            await client.candles(MARKET, 1, count=1)
    refusals = venue.http.get("/sandbox/ledger").json()["refusals"]
    assert not refusals.get("candle")
