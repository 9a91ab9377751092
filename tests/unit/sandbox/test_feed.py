"""What the sockets say equals what the recording and the ledger hold, each thing said once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest

import sandbox
from jobs.upbit.wire import OrderRequest
from sandbox.auth import Key
from sandbox.books import BookMaker, load_shapes
from sandbox.feed import VenueFeed
from sandbox.frames import FrameError, Subscription
from sandbox.options import Options
from sandbox.quotas import Limited
from sandbox.quotes import Quotes
from sandbox.recording import Reel, to_minute
from sandbox.tape import Tape, to_ms
from sandbox.venue import MAIN, SECRET_KEY, Venue

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
START = NOON - timedelta(hours=2)
LINES = {
    to_minute(START) + minute: f"{price},{price + 3000},{price - 2000},{price + 1000},1.5,150000000"
    for minute, price in enumerate(range(100_000_000, 100_180_000, 1000))
}


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def venue(clock: Clock) -> Venue:
    shapes = load_shapes(Path(sandbox.__file__).parent / "data")
    tape = Tape({"KRW-BTC": Reel("KRW-BTC", LINES)}, origin=START)
    options = Options(fill_min_ms=0, fill_max_ms=0)
    made = Venue(Quotes(tape, BookMaker(shapes)), options=options, clock=clock, seed=1)
    made.open_pocket(MAIN, Decimal(10_000_000))
    made.demo_key()
    return made


@pytest.fixture
def feed(venue: Venue) -> VenueFeed:
    return VenueFeed(venue)


def stream(kind: str, *codes: str, level: str | None = None) -> Subscription:
    return Subscription(type=kind, codes=codes or ("KRW-BTC",), level=level)


def news(feed: VenueFeed, kind: str, mark: Any, code: str = "KRW-BTC") -> tuple[list[Any], Any]:
    messages, mark = feed.news(stream(kind), code, mark)
    return [dict(message) for message in messages], mark


def test_a_ticker_is_told_when_a_trade_happens_and_only_then(
    feed: VenueFeed, venue: Venue, clock: Clock
) -> None:
    (first,), mark = news(feed, "ticker", None)
    trade = venue.quotes.last_trade("KRW-BTC", clock.now)
    assert (first["type"], first["code"]) == ("ticker", "KRW-BTC")
    assert (first["trade_price"], first["trade_timestamp"]) == (trade.price, trade.ms)
    assert first["acc_ask_volume"] + first["acc_bid_volume"] == first["acc_trade_volume"]
    assert first["timestamp"] == to_ms(clock.now)
    assert "market" not in first
    assert news(feed, "ticker", mark) == ([], mark)
    clock.pass_s(60)
    (second,), mark = news(feed, "ticker", mark)
    assert second["trade_timestamp"] > first["trade_timestamp"]
    venue.quotes.force("KRW-BTC", Decimal(90_000_000), clock.now)
    (third,), _ = news(feed, "ticker", mark)
    assert third["trade_price"] == 90_000_000


def test_every_trade_is_told_once_in_the_order_it_happened(
    feed: VenueFeed, venue: Venue, clock: Clock
) -> None:
    (newest,), mark = news(feed, "trade", None)
    told = [newest["sequential_id"]]
    for _ in range(200):
        clock.pass_s(1)
        messages, mark = news(feed, "trade", mark)
        told += [message["sequential_id"] for message in messages]
    happened = [
        trade.sequential_id
        for minute in range(to_minute(NOON) - 1, to_minute(clock.now) + 1)
        for trade in venue.quotes.tape.trades("KRW-BTC", minute)
        if newest["trade_timestamp"] <= trade.ms <= to_ms(clock.now)
    ]
    assert told == happened
    assert len(told) > 10


def test_a_trade_stands_between_the_prices_that_are_left(feed: VenueFeed) -> None:
    (trade,), _ = news(feed, "trade", None)
    assert trade["best_bid_price"] <= trade["trade_price"] <= trade["best_ask_price"]
    assert trade["best_bid_price"] < trade["best_ask_price"]
    change = trade["trade_price"] - trade["prev_closing_price"]
    assert trade["change_price"] == abs(change)
    assert trade["change"] == ("RISE" if change > 0 else "FALL" if change < 0 else "EVEN")


def test_a_book_is_whole_and_as_deep_as_asked(feed: VenueFeed, venue: Venue, clock: Clock) -> None:
    truth = venue.quotes.book("KRW-BTC", clock.now)
    for code, depth in (("KRW-BTC", 30), ("KRW-BTC.5", 5)):
        (book,), mark = news(feed, "orderbook", None, code)
        assert book["code"] == "KRW-BTC"
        assert len(book["orderbook_units"]) == depth
        assert book["orderbook_units"][0]["ask_price"] == truth.units[0].ask_price
        assert book["total_bid_size"] == sum(unit.bid_size for unit in truth.units)
        assert news(feed, "orderbook", mark, code) == ([], mark)


def test_an_unsupported_level_brings_nothing(feed: VenueFeed) -> None:
    messages, _ = feed.news(stream("orderbook", level="7"), "KRW-BTC", None)
    assert messages == []


@pytest.mark.parametrize(("kind", "unit"), [("candle.1m", "1"), ("candle.1s", "seconds")])
def test_a_candle_is_told_when_a_trade_changed_it_once_a_second(
    feed: VenueFeed, venue: Venue, clock: Clock, kind: str, unit: str
) -> None:
    (_,), mark = news(feed, kind, None)
    last_told_s, changes = to_ms(clock.now) // 1000, 0
    for _ in range(600):
        clock.pass_s(0.1)
        messages, mark = news(feed, kind, mark)
        for message in messages:
            (truth,) = venue.quotes.candles("KRW-BTC", unit, count=1, before=None, now=clock.now)
            assert message["type"] == kind
            assert message["trade_price"] == truth.row.close
            assert message["candle_acc_trade_volume"] == truth.row.volume
            assert to_ms(clock.now) // 1000 > last_told_s
            last_told_s, changes = to_ms(clock.now) // 1000, changes + 1
    assert changes > 3


def test_an_unknown_market_is_silent(feed: VenueFeed) -> None:
    for kind in ("ticker", "trade", "orderbook", "candle.1m"):
        assert news(feed, kind, None, "krw-btc") == ([], None)


# -- private -----------------------------------------------------------------------------------


def bearer(venue: Venue, nonce: str = "1", secret: str = SECRET_KEY) -> str:
    claims = {"access_key": next(iter(venue.keys)), "nonce": nonce}
    return f"Bearer {jwt.encode(claims, secret, algorithm='HS256')}"


def test_an_order_is_told_from_waiting_over_its_fills_to_the_end(
    feed: VenueFeed, venue: Venue, clock: Clock
) -> None:
    login = feed.account(bearer(venue), "127.0.0.1")
    orders, assets = Subscription(type="myOrder"), Subscription(type="myAsset")
    _, order_mark = feed.own_news(login, orders, None)
    _, asset_mark = feed.own_news(login, assets, None)
    pocket = venue.pockets[MAIN]
    request = OrderRequest(
        market="KRW-BTC", side="bid", ord_type="price", identifier="a", price=Decimal(6000)
    )
    placed = pocket.engine.place(
        request, now=clock.now, book=venue.quotes.book("KRW-BTC", clock.now)
    )
    messages, order_mark = feed.own_news(login, orders, order_mark)
    waiting, trade, closed = [dict(message) for message in messages]
    assert [each["state"] for each in (waiting, trade, closed)] == ["wait", "trade", "cancel"]
    assert {each["uuid"] for each in (waiting, trade, closed)} == {placed.uuid}
    assert (waiting["identifier"], waiting["ask_bid"], waiting["order_type"]) == (
        "a",
        "BID",
        "price",
    )
    assert (waiting["trade_uuid"], waiting["trade_fee"], waiting["is_maker"]) == (None, None, None)
    assert waiting["avg_price"] == 0
    order = pocket.engine.order(uuid=placed.uuid)
    assert order is not None
    assert order.trades is not None
    (fill,) = order.trades
    assert (trade["trade_uuid"], trade["price"], trade["volume"]) == (
        fill.uuid,
        fill.price,
        fill.volume,
    )
    assert trade["trade_fee"] == fill.funds * Decimal("0.0005")
    assert (trade["is_maker"], trade["trade_timestamp"]) == (False, to_ms(fill.ts))
    assert closed["paid_fee"] == order.paid_fee
    assert closed["executed_funds"] == order.executed_funds
    assert closed["price"] == 6000
    assert feed.own_news(login, orders, order_mark) == ([], order_mark)

    changed: list[Any] = feed.own_news(login, assets, asset_mark)[0]
    told = {row["currency"]: row["balance"] for each in changed for row in each["assets"]}
    held = {row.currency: row.balance for row in pocket.engine.accounts()}
    assert told == held


def test_only_the_markets_asked_for_are_told(feed: VenueFeed, venue: Venue, clock: Clock) -> None:
    login = feed.account(bearer(venue), "127.0.0.1")
    elsewhere = Subscription(type="myOrder", codes=("KRW-ETH",))
    _, mark = feed.own_news(login, elsewhere, None)
    request = OrderRequest(
        market="KRW-BTC", side="bid", ord_type="price", identifier="", price=Decimal(6000)
    )
    venue.pockets[MAIN].engine.place(request, now=clock.now)
    assert feed.own_news(login, elsewhere, mark)[0] == []
    assert len(feed.own_news(login, stream("myOrder", "KRW-BTC"), mark)[0]) == 3


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "no_authorization_token"),
        ("Bearer nonsense", "jwt_verification"),
    ],
)
def test_a_token_that_is_none_is_refused(
    feed: VenueFeed, authorization: str | None, reason: str
) -> None:
    with pytest.raises(FrameError) as refused:
        feed.account(authorization, "127.0.0.1")
    assert (refused.value.name, str(refused.value)) == ("INVALID_AUTH", reason)


def test_a_wrong_secret_and_a_used_nonce_are_refused(feed: VenueFeed, venue: Venue) -> None:
    feed.account(bearer(venue), "127.0.0.1")
    for authorization, reason in (
        (bearer(venue), "nonce_used"),
        (bearer(venue, "2", secret="x" * 40), "jwt_verification"),
    ):
        with pytest.raises(FrameError) as refused:
            feed.account(authorization, "127.0.0.1")
        assert (refused.value.name, str(refused.value)) == ("INVALID_AUTH", reason)


def test_a_key_without_the_permission_sees_nothing(feed: VenueFeed, venue: Venue) -> None:
    weak = Key(
        access_key="weak",
        secret_key=SECRET_KEY,
        pocket=MAIN,
        expire_at=NOON + timedelta(days=1),
        permissions=frozenset({"assets"}),
    )
    venue.keys = {"weak": weak}
    login = feed.account(bearer(venue), "127.0.0.1")
    feed.own_news(login, Subscription(type="myAsset"), None)
    with pytest.raises(FrameError) as refused:
        feed.own_news(login, Subscription(type="myOrder"), None)
    assert (refused.value.name, str(refused.value)) == ("INVALID_AUTH", "out_of_scope")


# -- handshakes --------------------------------------------------------------------------------


def is_counted(feed: VenueFeed, authorization: str | None, origin: str | None = None) -> bool:
    try:
        feed.count_handshake("127.0.0.1", authorization, origin)
    except Limited:
        return False
    return True


def test_five_handshakes_a_second_by_address_and_five_by_pocket(
    feed: VenueFeed, venue: Venue, clock: Clock
) -> None:
    header = feed.count_handshake("127.0.0.1", None, None)
    assert header == "group=websocket; min=300; sec=4"
    assert [is_counted(feed, None) for _ in range(5)] == [True] * 4 + [False]
    assert [is_counted(feed, bearer(venue)) for _ in range(6)] == [True] * 5 + [False]
    clock.pass_s(1)
    assert is_counted(feed, None)


def test_an_origin_allows_one_handshake_in_ten_seconds(feed: VenueFeed, clock: Clock) -> None:
    told = [is_counted(feed, None, "https://example.org")]
    clock.pass_s(9)
    told.append(is_counted(feed, None, "https://example.org"))
    clock.pass_s(1)
    told.append(is_counted(feed, None, "https://example.org"))
    assert told == [True, False, True]


def test_a_sockets_limits_are_the_venues_options(feed: VenueFeed, venue: Venue) -> None:
    limits = feed.limits()
    assert (limits.messages_per_s, limits.messages_per_min) == (5, 100)
    assert (limits.grid_s, limits.idle_s) == (0.1, 60.0)
    venue.apply_options({"quotas": False, "ws_idle_s": 120.0, "ws_grid_ms": 20})
    limits = feed.limits()
    assert limits.messages_per_s == limits.messages_per_min > 10**6
    assert (limits.grid_s, limits.idle_s) == (0.02, 120.0)
    assert all(is_counted(feed, None) for _ in range(50))
