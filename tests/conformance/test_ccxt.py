"""ccxt, asynchronous and streaming, trades against the sandbox at an overridden address."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt.pro
import pytest
from fixtures.venue import Venue

XRP = "XRP/KRW"
BTC = "BTC/KRW"
FEE = Decimal("0.0005")
ZERO = Decimal(0)


@pytest.fixture
async def exchange(venue: Venue) -> AsyncIterator[Any]:
    """The streaming client, which is the asynchronous one and more."""
    made = ccxt.pro.upbit({"apiKey": venue.access_key, "secret": venue.secret_key})
    socket = venue.base_url.replace("http", "ws", 1)
    made.urls["api"] = {
        "public": venue.base_url,
        "private": venue.base_url,
        "ws": f"{socket}/websocket/v1",
    }
    yield made
    await made.close()


async def placed(exchange: Any, venue: Venue, **params: Any) -> Any:
    """A limit order far below the market."""
    price = venue.price("KRW-XRP", down_pct=20)
    return await exchange.create_order(XRP, "limit", "buy", 10, float(price), params)


# -- quotation ---------------------------------------------------------------------------------


async def test_markets_have_the_quotes_fee(exchange: Any) -> None:
    markets = await exchange.load_markets()
    assert {"BTC/KRW", "ETH/KRW", "XRP/KRW", "SOL/KRW", "DOGE/KRW"} <= set(markets)
    assert markets[BTC]["id"] == "KRW-BTC"
    assert markets[BTC]["taker"] == float(FEE)


async def test_tickers_one_some_and_all(exchange: Any) -> None:
    one = await exchange.fetch_ticker(BTC)
    assert one["symbol"] == BTC
    assert one["low"] <= one["last"] <= one["high"]
    assert set(await exchange.fetch_tickers([BTC, XRP])) == {BTC, XRP}
    assert set(await exchange.fetch_tickers()) == set(exchange.symbols)


async def test_candles_from_an_instant_on(exchange: Any) -> None:
    newest = await exchange.fetch_ohlcv(BTC, "1m", limit=50)
    assert len(newest) == 50
    assert [row[0] for row in newest] == sorted({row[0] for row in newest})
    since = newest[0][0]
    again = await exchange.fetch_ohlcv(BTC, "1m", since=since, limit=10)
    assert [row[0] for row in again] == [row[0] for row in newest if row[0] < since + 600_000]
    for timeframe in ("1s", "4h", "1d", "1w", "1M", "1y"):
        assert len(await exchange.fetch_ohlcv(BTC, timeframe, limit=1)) == 1


async def test_books_and_trades(exchange: Any) -> None:
    book = await exchange.fetch_order_book(BTC, limit=5)
    assert (len(book["bids"]), len(book["asks"])) == (5, 5)
    assert book["bids"][0][0] < book["asks"][0][0]
    books = await exchange.fetch_order_books([BTC, XRP])
    assert set(books) == {BTC, XRP}
    trades = await exchange.fetch_trades(BTC, limit=20)
    assert len({trade["id"] for trade in trades}) == 20
    assert {trade["side"] for trade in trades} <= {"buy", "sell"}


async def test_the_account_and_its_fee(exchange: Any, venue: Venue) -> None:
    balance = await exchange.fetch_balance()
    free, locked = venue.balances()["KRW"]
    assert balance["KRW"] == {"free": float(free), "used": float(locked), "total": float(free)}
    fee = await exchange.fetch_trading_fee(BTC)
    assert (fee["maker"], fee["taker"]) == (float(FEE), float(FEE))


# -- orders ------------------------------------------------------------------------------------


async def test_a_limit_order_by_client_order_id(exchange: Any, venue: Venue) -> None:
    before = venue.balances()
    order = await placed(exchange, venue, clientOrderId="ccxt-limit")
    assert (order["status"], order["clientOrderId"], order["amount"]) == ("open", "ccxt-limit", 10)
    truth = venue.order(order["id"])
    assert truth["identifier"] == "ccxt-limit"
    locked = Decimal(truth["price"]) * 10 * (1 + FEE)
    assert venue.balances()["KRW"][1] == locked == Decimal(order["info"]["locked"])
    found = await exchange.fetch_order(order["id"])
    assert (found["id"], found["remaining"], found["filled"]) == (order["id"], 10, 0)
    assert [each["id"] for each in await exchange.fetch_open_orders(XRP)] == [order["id"]]
    assert await exchange.fetch_open_orders(BTC) == []
    cancelled = await exchange.cancel_order(order["id"])
    assert cancelled["id"] == order["id"]
    venue.until_closed(order["id"])
    assert (await exchange.fetch_order(order["id"]))["status"] == "canceled"
    assert [each["id"] for each in await exchange.fetch_canceled_orders(XRP)] == [order["id"]]
    assert await exchange.fetch_open_orders() == []
    assert venue.balances() == before


async def test_a_market_buy_and_sell_settle_to_the_last_digit(exchange: Any, venue: Venue) -> None:
    before = venue.balances()["KRW"][0]
    order = await exchange.create_order(BTC, "market", "buy", 0, None, {"cost": 100_000})
    venue.until_closed(order["id"])
    bought = await exchange.fetch_order(order["id"])
    info = bought["info"]
    funds = sum((Decimal(trade["funds"]) for trade in info["trades"]), Decimal(0))
    volume = venue.balances()["BTC"][0]
    assert Decimal(info["executed_volume"]) == volume
    assert Decimal(info["paid_fee"]) == funds * FEE
    assert bought["fee"]["currency"] == "KRW"
    assert Decimal(bought["fee"]["cost"]) == funds * FEE
    assert venue.balances()["KRW"] == (before - funds * (1 + FEE), ZERO)
    assert bought["average"] == pytest.approx(float(funds / volume))

    left = venue.balances()["KRW"][0]
    order = await exchange.create_order(BTC, "market", "sell", float(volume))
    assert venue.until_closed(order["id"])["state"] == "done"
    sold = await exchange.fetch_order(order["id"])
    proceeds = sum((Decimal(trade["funds"]) for trade in sold["info"]["trades"]), Decimal(0))
    assert sold["status"] == "closed"
    assert venue.balances() == {"KRW": (left + proceeds * (1 - FEE), ZERO)}
    assert [each["id"] for each in await exchange.fetch_closed_orders(BTC)] == [
        each["uuid"] for each in venue.orders() if each["state"] == "done"
    ]


async def test_time_in_force_best_and_post_only(exchange: Any, venue: Venue) -> None:
    far = await placed(exchange, venue, timeInForce="IOC")
    assert venue.until_closed(far["id"])["state"] == "cancel"
    crossing = float(venue.price("KRW-XRP", down_pct=-10))
    maker = await exchange.create_order(XRP, "limit", "buy", 10, crossing, {"postOnly": True})
    assert Decimal(venue.until_closed(maker["id"])["executed_volume"]) == 0
    best = {"ordType": "best", "timeInForce": "IOC", "cost": 30_000}
    order = await exchange.create_order(XRP, "market", "buy", 0, None, best)
    assert Decimal(venue.until_closed(order["id"])["executed_volume"]) > 0


async def test_a_test_order_creates_nothing(exchange: Any, venue: Venue) -> None:
    order = await placed(exchange, venue, test=True)
    assert venue.orders() == []
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.fetch_order(order["id"])


async def test_an_edit_cancels_and_places_anew(exchange: Any, venue: Venue) -> None:
    order = await placed(exchange, venue, clientOrderId="ccxt-old")
    price = venue.price("KRW-XRP", down_pct=10)
    params = {"newClientOrderId": "ccxt-new"}
    edited = await exchange.edit_order(order["id"], XRP, "limit", "buy", 11, float(price), params)
    venue.until_closed(order["id"])
    assert (edited["clientOrderId"], edited["symbol"]) == ("ccxt-new", XRP)
    (new,) = await exchange.fetch_open_orders(XRP)
    assert (new["id"], new["price"], new["amount"]) == (edited["id"], float(price), 11)


async def test_errors_are_mapped(exchange: Any, venue: Venue) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order(BTC, "limit", "buy", 1, 100_000_000)
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order(BTC, "market", "sell", 0.01)
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.cancel_order("00000000-0000-4000-8000-000000000000")
    with pytest.raises(ccxt.ExchangeError, match="under_min_total_bid"):
        await exchange.create_order(BTC, "market", "buy", 0, None, {"cost": 4999})
    exchange.secret = "x" * 40
    with pytest.raises(ccxt.AuthenticationError):
        await exchange.fetch_balance()
    exchange.apiKey = "nobody"
    with pytest.raises(ccxt.AuthenticationError):
        await exchange.fetch_balance()


async def test_a_429_is_only_an_exchange_error_to_it(exchange: Any, venue: Venue) -> None:
    """It reads the body before the status, and no name in the body is known to it."""
    await exchange.load_markets()
    venue.options(quotas=True, limits={"ticker": 0})
    with pytest.raises(ccxt.ExchangeError) as refused:
        await exchange.fetch_ticker(BTC)
    assert not isinstance(refused.value, ccxt.NetworkError)


# -- streams -----------------------------------------------------------------------------------


async def test_tickers_trades_books_and_candles_are_watched(exchange: Any, venue: Venue) -> None:
    ticker = await exchange.watch_ticker(BTC)
    assert (ticker["symbol"], ticker["info"]["stream_type"]) == (BTC, "SNAPSHOT")
    book = await exchange.watch_order_book(BTC)
    assert book["bids"][0][0] < book["asks"][0][0]
    trades = await exchange.watch_trades(BTC)
    assert trades[0]["symbol"] == BTC
    candle = await exchange.watch_ohlcv(BTC, "1s")
    assert len(candle) == 6
    price = venue.price("KRW-BTC", down_pct=-5)
    venue.force_price("KRW-BTC", price)
    while (await exchange.watch_ticker(BTC))["last"] != float(price):
        continue


async def test_own_orders_and_balances_are_watched(exchange: Any, venue: Venue) -> None:
    await exchange.load_markets()
    orders = asyncio.create_task(exchange.watch_orders(XRP))
    uuids: list[str] = []
    while not orders.done():  # nobody acknowledges a subscription, and the past is not told
        uuids.append((await placed(exchange, venue))["id"])
    (told,) = await orders
    assert told["id"] in uuids
    assert told["status"] == "open"
    balances = asyncio.create_task(exchange.watch_balance())
    while not balances.done():
        await placed(exchange, venue)
    assert set(venue.balances()) == {"KRW"}
    assert (await balances)["KRW"]["total"] == float(sum(venue.balances()["KRW"]))
