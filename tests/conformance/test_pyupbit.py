"""pyupbit, the library most scripts are written with, runs against the sandbox unchanged.

Its address is built in, so its HTTP library is replaced by one that goes to the sandbox instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import pyupbit
import requests
import websockets
from fixtures.venue import Venue

from jobs.candles.days import Days
from jobs.candles.frame import frame_of
from jobs.upbit.wire import DAY_UNIT, parse_candle

REAL = "https://api.upbit.com"
ZERO = Decimal(0)


@dataclass
class Redirected:
    """Stands in for the `requests` module: the same calls, sent to another address."""

    base_url: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        return self.session.get(self._moved(url), timeout=10, **kwargs)

    def post(self, url: str, **kwargs: Any) -> requests.Response:
        return self.session.post(self._moved(url), timeout=10, **kwargs)

    def delete(self, url: str, **kwargs: Any) -> requests.Response:
        return self.session.delete(self._moved(url), timeout=10, **kwargs)

    def _moved(self, url: str) -> str:
        assert url.startswith(REAL), "nothing may reach another address"
        return url.replace(REAL, self.base_url, 1)


@pytest.fixture(autouse=True)
def redirected(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every call of the library goes to the sandbox."""
    web = Redirected(venue.base_url)
    monkeypatch.setattr("pyupbit.request_api.requests", web)
    yield
    web.session.close()


@pytest.fixture
def client(venue: Venue) -> pyupbit.Upbit:
    return pyupbit.Upbit(venue.access_key, venue.secret_key)


def test_all_markets_are_listed_and_can_be_narrowed() -> None:
    everything = pyupbit.get_tickers()
    assert {"KRW-BTC", "KRW-ETH", "KRW-XRP", "KRW-SOL", "KRW-DOGE"} <= set(everything)
    assert all(market.startswith("KRW-") for market in pyupbit.get_tickers(fiat="KRW"))
    row = next(
        row for row in pyupbit.get_tickers("KRW", is_details=True) if row["market"] == "KRW-BTC"
    )
    assert row["korean_name"] == "비트코인"
    assert row["english_name"] == "Bitcoin"
    assert set(row["market_event"]) == {"warning", "caution"}


def test_the_rest_of_the_quota_is_understood() -> None:
    _, limit = pyupbit.get_tickers(limit_info=True)
    assert limit["group"] == "market"
    assert 0 <= limit["sec"] < 10


def test_one_price_is_a_number_and_many_are_a_dictionary() -> None:
    raw = pyupbit.get_current_price("KRW-BTC", verbose=True)
    assert raw[0]["market"] == "KRW-BTC"
    assert pyupbit.get_current_price("KRW-BTC") > 0
    assert pyupbit.get_current_price(["KRW-BTC"]) > 0
    many = pyupbit.get_current_price(["KRW-BTC", "KRW-XRP", "KRW-DOGE"])
    assert list(many) == ["KRW-BTC", "KRW-XRP", "KRW-DOGE"]
    assert all(price > 0 for price in many.values())


def test_an_unknown_market_is_an_error() -> None:
    with pytest.raises(pyupbit.errors.UpbitError):
        pyupbit.get_current_price("KRW-NONE")


def test_one_book_is_a_dictionary_and_many_are_a_list() -> None:
    book = pyupbit.get_orderbook("KRW-BTC")
    assert book["market"] == "KRW-BTC"
    assert len(book["orderbook_units"]) == 30
    best = book["orderbook_units"][0]
    assert best["ask_price"] > best["bid_price"] > 0
    assert [each["market"] for each in pyupbit.get_orderbook(["KRW-BTC", "KRW-ETH"])] == [
        "KRW-BTC",
        "KRW-ETH",
    ]


def test_candles_of_more_than_one_page_follow_each_other_without_a_seam() -> None:
    frame = pyupbit.get_ohlcv("KRW-BTC", interval="minute1", count=450, period=0)
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "value"]
    assert len(frame) == 450
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique
    steps = frame.index.to_series().diff().dropna()
    assert (steps >= timedelta(minutes=1)).all()
    assert (steps == timedelta(minutes=1)).mean() > 0.9, "minutes without a trade are rare in BTC"
    assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
    assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()


@pytest.mark.parametrize("interval", ["minute3", "minute60", "minute240", "day", "week", "month"])
def test_candles_of_every_width_are_served(interval: str) -> None:
    frame = pyupbit.get_ohlcv("KRW-ETH", interval=interval, count=3)
    assert 1 <= len(frame) <= 3
    assert (frame["volume"] > 0).all()


def test_candles_before_an_instant_exclude_it() -> None:
    newest = pyupbit.get_ohlcv("KRW-BTC", interval="minute1", count=5)
    # the index is Korean time, while `to` is read as UTC
    cut = newest.index[2] - timedelta(hours=9)
    older = pyupbit.get_ohlcv("KRW-BTC", interval="minute1", count=2, to=cut)
    assert list(older.index) == list(newest.index[:2])


def test_balances_are_the_ledgers(client: pyupbit.Upbit, venue: Venue) -> None:
    rows = {row["currency"]: row for row in client.get_balances()}
    for currency, (balance, locked) in venue.balances().items():
        assert Decimal(rows[currency]["balance"]) == balance
        assert Decimal(rows[currency]["locked"]) == locked
        assert rows[currency]["unit_currency"] == "KRW"
    assert client.get_balance("KRW") == float(venue.balances()["KRW"][0])
    assert client.get_balance("KRW-BTC") == 0
    assert client.get_balance_t("KRW") == float(sum(venue.balances()["KRW"]))


def test_the_chance_tells_fees_and_limits(client: pyupbit.Upbit, venue: Venue) -> None:
    chance = client.get_chance("KRW-BTC")
    assert (chance["bid_fee"], chance["ask_fee"]) == ("0.0005", "0.0005")
    assert chance["market"]["id"] == "KRW-BTC"
    assert Decimal(chance["market"]["bid"]["min_total"]) == 5000
    assert Decimal(chance["bid_account"]["balance"]) == venue.balances()["KRW"][0]


def test_a_limit_order_rests_and_is_cancelled(client: pyupbit.Upbit, venue: Venue) -> None:
    before = venue.balances()["KRW"][0]
    price = venue.price("KRW-XRP", down_pct=20)
    placed = client.buy_limit_order("KRW-XRP", price, "10")
    assert (placed["state"], placed["side"], placed["ord_type"]) == ("wait", "bid", "limit")
    locked = price * 10 * Decimal("1.0005")
    assert Decimal(placed["locked"]) == locked
    assert venue.balances()["KRW"] == (before - locked, locked)
    assert Decimal(client.get_balance_t("KRW")) == before

    found = client.get_order(placed["uuid"])
    assert (found["uuid"], found["state"], found["trades"]) == (placed["uuid"], "wait", [])
    assert client.cancel_order(placed["uuid"])["state"] == "wait", "a cancel is only accepted"
    assert venue.until_closed(placed["uuid"])["state"] == "cancel"
    assert client.get_individual_order(placed["uuid"])["state"] == "cancel"
    assert venue.balances()["KRW"] == (before, ZERO)


def test_a_market_buy_and_sell_settle_to_the_last_digit(
    client: pyupbit.Upbit, venue: Venue
) -> None:
    before = venue.balances()["KRW"][0]
    bought = client.buy_market_order("KRW-BTC", 100_000)
    assert (bought["ord_type"], bought["state"]) == ("price", "wait")
    assert Decimal(bought["locked"]) == Decimal(100_050)
    truth = venue.until_closed(bought["uuid"])
    found = client.get_order(bought["uuid"])
    assert found["state"] == truth["state"]
    trades = found["trades"]
    assert [trade["uuid"] for trade in trades] == [fill["uuid"] for fill in truth["fills"]]
    funds = sum(Decimal(trade["funds"]) for trade in trades)
    volume = sum(Decimal(trade["volume"]) for trade in trades)
    assert Decimal(found["executed_volume"]) == volume == venue.balances()["BTC"][0]
    assert Decimal(found["paid_fee"]) == funds * Decimal("0.0005")
    assert venue.balances()["KRW"] == (before - funds - Decimal(found["paid_fee"]), ZERO)
    assert client.get_avg_buy_price("BTC") == pytest.approx(float(funds / volume))

    left = venue.balances()["KRW"][0]
    sold = client.sell_market_order("KRW-BTC", format(volume, "f"))
    assert (sold["ord_type"], sold["side"]) == ("market", "ask")
    assert venue.until_closed(sold["uuid"])["state"] == "done"
    found = client.get_order(sold["uuid"])
    proceeds = sum(Decimal(trade["funds"]) for trade in found["trades"])
    assert Decimal(found["paid_fee"]) == proceeds * Decimal("0.0005")
    assert venue.balances()["KRW"] == (left + proceeds - Decimal(found["paid_fee"]), ZERO)
    assert client.get_balance("BTC") == 0


def test_a_limit_sell_locks_the_coins(client: pyupbit.Upbit, venue: Venue) -> None:
    bought = client.buy_market_order("KRW-XRP", 50_000)
    venue.until_closed(bought["uuid"])
    held = venue.balances()["XRP"][0]
    price = venue.price("KRW-XRP", down_pct=-20)
    placed = client.sell_limit_order("KRW-XRP", price, format(held, "f"))
    assert (placed["side"], Decimal(placed["locked"])) == ("ask", held)
    assert Decimal(placed["reserved_fee"]) == 0
    assert venue.balances()["XRP"] == (ZERO, held)
    client.cancel_order(placed["uuid"])
    venue.until_closed(placed["uuid"])
    assert venue.balances()["XRP"] == (held, ZERO)


def test_a_refusal_it_knows_becomes_none(
    client: pyupbit.Upbit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.buy_limit_order("KRW-BTC", "100000000", "1") is None
    assert "InsufficientFundsBid" in capsys.readouterr().out
    assert client.sell_market_order("KRW-SOL", "1") is None
    assert "InsufficientFundsAsk" in capsys.readouterr().out
    assert client.buy_market_order("KRW-BTC", 4999) is None
    assert "UnderMinTotalBid" in capsys.readouterr().out


def test_a_refusal_it_does_not_know_is_returned_as_it_came(client: pyupbit.Upbit) -> None:
    refusal = client.buy_limit_order("KRW-BTC", "100000000.5", "0.001")
    assert refusal["error"]["name"] == "invalid_price_bid"
    refusal = client.buy_limit_order("KRW-BTC", "100000000", "0.000000001")
    assert refusal["error"]["name"] == "invalid_volume_bid"


def test_unknown_orders_and_keys_are_refused(
    client: pyupbit.Upbit, venue: Venue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.get_order("00000000-0000-4000-8000-000000000000") is None
    assert client.cancel_order("00000000-0000-4000-8000-000000000000") is None
    assert capsys.readouterr().out.split() == ["UpbitError", "UpbitError"]
    with pytest.raises(pyupbit.JwtVerification):
        pyupbit.Upbit(venue.access_key, "x" * 40).get_balances()
    stranger = pyupbit.Upbit("nobody", venue.secret_key).get_balances()
    assert stranger["error"]["name"] == "invalid_access_key"


@dataclass(frozen=True)
class RedirectedSockets:
    """Stands in for the `websockets` module: the same client, connected to another address."""

    base_url: str
    ConnectionClosed: type[Exception] = websockets.ConnectionClosed

    def connect(self, uri: str, **kwargs: Any) -> websockets.connect:
        address = REAL.replace("https", "wss", 1)
        assert uri.startswith(address), "nothing may reach another address"
        moved = uri.replace(address, self.base_url.replace("http", "ws", 1), 1)
        return websockets.connect(moved, **kwargs)


@pytest.mark.parametrize("kind", ["ticker", "trade", "orderbook"])
def test_its_stream_process_is_told_what_happens_now(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It reads binary frames only, asks for realtime alone in the old spelling, and never ends."""
    monkeypatch.setattr("pyupbit.websocket_api.websockets", RedirectedSockets(venue.base_url))
    markets = pyupbit.get_tickers()
    stream = pyupbit.WebSocketManager(kind, markets)
    try:
        for _ in range(3):
            message = stream.get()
            assert (message["type"], message["stream_type"]) == (kind, "REALTIME")
            assert message["code"] in markets
    finally:
        stream.terminate()
        stream.join()
        stream.close()


def test_the_keys_and_the_wallets_are_listed(client: pyupbit.Upbit, venue: Venue) -> None:
    assert [key["access_key"] for key in client.get_api_key_list()] == [venue.access_key]
    states = client.get_deposit_withdraw_status()
    assert {row["currency"] for row in states} >= {"BTC", "ETH"}


# -- why the daemon does not place orders with it ------------------------------------------------


def test_an_order_that_was_created_is_none_when_a_header_is_missing(
    client: pyupbit.Upbit, venue: Venue
) -> None:
    venue.options(remaining_req=False)
    assert client.buy_market_order("KRW-XRP", 6000) is None
    assert len(venue.orders()) == 1


def test_its_cancel_is_refused_where_bodies_of_deletes_are(
    client: pyupbit.Upbit, venue: Venue
) -> None:
    price = venue.price("KRW-XRP", down_pct=20)
    placed = client.buy_limit_order("KRW-XRP", price, "10")
    venue.options(delete_body="refuse")
    refusal = client.cancel_order(placed["uuid"])
    assert refusal["error"]["name"] == "QUERY_PARAMETER_NOT_SUPPORTED"
    assert venue.order(placed["uuid"])["state"] == "wait"


def test_a_strategys_days_are_the_very_table_of_get_ohlcv(venue: Venue) -> None:
    table = pyupbit.get_ohlcv("KRW-BTC", interval="day", count=8)
    rows = venue.http.get("/v1/candles/days", params={"market": "KRW-BTC", "count": 8})
    days = [parse_candle(row, unit=DAY_UNIT) for row in reversed(rows.json(parse_float=Decimal))]
    daily = frame_of(days[-1:], Days(candles=tuple(days), why_not="")).daily
    # today goes on between the two requests
    pd.testing.assert_frame_equal(daily.to_pandas()[:-1], table[:-1].astype(float))
    assert daily.index[-1] == table.index[-1].to_pydatetime()
    assert {each.hour for each in daily.index} == {9}
    assert daily.open[-1] == table["open"].iloc[-1]


def test_a_strategys_frame_is_the_very_table_of_get_ohlcv(venue: Venue) -> None:
    newest = pyupbit.get_ohlcv("KRW-BTC", interval="minute1", count=2)
    end = newest.index[0] - timedelta(hours=9)  # candles before it have ended
    table = pyupbit.get_ohlcv("KRW-BTC", interval="minute1", count=50, to=end)
    answer = venue.http.get(
        "/v1/candles/minutes/1",
        params={"market": "KRW-BTC", "count": 50, "to": f"{end:%Y-%m-%d %H:%M:%S}"},
    )
    rows = reversed(answer.json(parse_float=Decimal))
    frame = frame_of([parse_candle(row, unit=1) for row in rows])
    # the exchange spells whole prices with a fraction, which pyupbit reads as floats
    pd.testing.assert_frame_equal(frame.to_pandas(), table.astype(float))
    assert len(frame) == 50
