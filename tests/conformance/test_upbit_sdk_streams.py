"""The exchange's own SDK reads the sandbox's sockets: every type, every format, both clients."""

from decimal import Decimal
from typing import Any

import pytest
import upbit
from fixtures.venue import Venue
from upbit.lib.ws._parser import SIMPLE_MODELS
from upbit.types.connect_private_server_event import MyAsset, MyOrder
from upbit.types.connect_public_server_event import Orderbook, Ticker, Trade, WsCandleResponse
from upbit.types.simple_candle import SimpleCandle

from sandbox.frames import CANDLE_UNITS, SHORT

MODELS: dict[str, Any] = {
    "ticker": Ticker,
    "trade": Trade,
    "orderbook": Orderbook,
    "candle": WsCandleResponse,
    "myOrder": MyOrder,
    "myAsset": MyAsset,
}
SIMPLE = SIMPLE_MODELS | {"candle": SimpleCandle}
NESTED = {"obu": {"ap", "as", "bp", "bs"}, "ast": {"cu", "b", "l"}}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_its_short_keys_are_ours(kind: str) -> None:
    """The key tables agree with the models that somebody else wrote."""
    theirs = {field.alias or name for name, field in SIMPLE[kind].model_fields.items()}
    for parent in theirs & NESTED.keys():
        theirs |= NESTED[parent]
    assert theirs <= set(SHORT[kind].values())
    long = {field.alias or name for name, field in MODELS[kind].model_fields.items()}
    told = {SHORT[kind][name] for name in long}
    assert theirs - told == {key for parent in theirs & NESTED.keys() for key in NESTED[parent]}


def test_a_snapshot_of_every_type_comes_first(client: upbit.Upbit, venue: Venue) -> None:
    with client.ws_stream.subscribe(
        ticker=["KRW-BTC"],
        trade=["KRW-BTC"],
        orderbook=["KRW-BTC.15"],
        candle={"1s": ["KRW-BTC"], "1m": ["KRW-BTC"], "240m": ["KRW-BTC"]},
    ) as stream:
        events = [stream.recv() for _ in range(6)]
    assert [event.type for event in events] == [
        "ticker",
        "trade",
        "orderbook",
        "candle.1s",
        "candle.1m",
        "candle.240m",
    ]
    for event in events:
        assert isinstance(event, MODELS[event.type.partition(".")[0]])
        type(event).model_validate(event.model_dump())
        assert (event.code, event.stream_type) == ("KRW-BTC", "SNAPSHOT")
    assert len(events[2].orderbook_units) == 15
    (rest,) = client.tickers.list_by_trading_pairs(markets="KRW-BTC")
    assert Decimal(rest.prev_closing_price) == Decimal(events[0].prev_closing_price)
    assert Decimal(rest.opening_price) == Decimal(events[0].opening_price)


@pytest.mark.parametrize("wanted", ["DEFAULT", "SIMPLE", "JSON_LIST", "SIMPLE_LIST"])
def test_every_format_is_understood(client: upbit.Upbit, wanted: Any) -> None:
    types: dict[str, Any] = {
        "ticker": ["KRW-XRP"],
        "trade": ["KRW-XRP"],
        "orderbook": ["KRW-XRP"],
        "candle": {unit: ["KRW-XRP"] for unit in CANDLE_UNITS},
    }
    with client.ws_stream.subscribe(**types, format=wanted) as stream:
        for _ in range(3 + len(CANDLE_UNITS)):
            event = stream.recv()
            if wanted.endswith("_LIST"):
                (event,) = event
            if wanted.startswith("SIMPLE"):
                assert (event.cd, event.st) == ("KRW-XRP", "SNAPSHOT")
                assert isinstance(event, SIMPLE[event.ty.partition(".")[0]])
            else:
                assert (event.code, event.stream_type) == ("KRW-XRP", "SNAPSHOT")
                assert isinstance(event, MODELS[event.type.partition(".")[0]])
            type(event).model_validate(event.model_dump(by_alias=True))


@pytest.mark.parametrize("wanted", ["DEFAULT", "SIMPLE", "JSON_LIST", "SIMPLE_LIST"])
def test_the_running_subscriptions_are_listed(client: upbit.Upbit, wanted: Any) -> None:
    with client.ws_stream.ticker(["KRW-BTC", "KRW-ETH"], format=wanted) as stream:
        listing: Any = stream.list_subscriptions()
    rows = listing.rslt if wanted.startswith("SIMPLE") else listing.result
    (row,) = [each.model_dump() for each in rows]
    assert ["KRW-BTC", "KRW-ETH"] in row.values()
    assert "ticker" in row.values()


def test_a_new_price_is_told_at_once(client: upbit.Upbit, venue: Venue) -> None:
    with client.ws_stream.ticker(["KRW-BTC"]) as stream:
        snapshot = stream.recv()
        price = venue.price("KRW-BTC", down_pct=-5)
        venue.force_price("KRW-BTC", price)
        event = next(event for event in stream if event.stream_type == "REALTIME")
        while Decimal(event.trade_price) != price:
            event = stream.recv()
    assert Decimal(snapshot.trade_price) < price
    assert event.change in ("RISE", "FALL", "EVEN")


def test_a_refused_request_is_told_and_the_stream_ends(client: upbit.Upbit) -> None:
    with client.ws_public.connect_public() as connection:
        connection.send_raw('[{"ticket":"t"},{"type":"nothing","codes":["KRW-BTC"]}]')
        events: list[Any] = list(connection)
    assert [event.error["name"] for event in events] == ["INVALID_PARAM"]


def test_a_wrong_key_is_told_on_the_private_socket(client: upbit.Upbit) -> None:
    stranger = client.with_options(secret_key="x" * 40)
    with stranger.ws_private.connect_private() as connection:
        events: list[Any] = list(connection)
    assert [event.error["name"] for event in events] == ["INVALID_AUTH"]


def buy(venue: Venue, client: upbit.Upbit) -> str:
    return client.orders.create(
        market="KRW-BTC", side="bid", ord_type="price", price="100000", identifier="ws-buy"
    ).uuid


def check_story(events: list[Any], venue: Venue, uuid: str) -> None:
    """An order's events tell what the ledger holds."""
    truth = venue.until_closed(uuid)
    for event in events:
        type(event).model_validate(event.model_dump() | {"smp_type": None})
        assert (event.uuid, event.identifier, event.ask_bid) == (uuid, "ws-buy", "BID")
        assert event.stream_type == "REALTIME"
    assert events[0].state == "wait"
    assert events[-1].state == truth["state"]
    trades = [event for event in events if event.state == "trade"]
    assert [trade.trade_uuid for trade in trades] == [fill["uuid"] for fill in truth["fills"]]
    assert [Decimal(trade.volume) for trade in trades] == [
        Decimal(fill["volume"]) for fill in truth["fills"]
    ]
    fees = sum((Decimal(trade.trade_fee) for trade in trades), Decimal(0))
    assert fees == Decimal(truth["paid_fee"]) == Decimal(events[-1].paid_fee)
    assert Decimal(events[-1].executed_funds) == Decimal(truth["executed_funds"])


def test_an_order_is_followed_over_the_private_socket(client: upbit.Upbit, venue: Venue) -> None:
    with client.ws_stream.subscribe_private(my_order=["KRW-BTC"], my_asset=True) as stream:
        assert stream.list_subscriptions() is not None  # both streams run from here on
        uuid = buy(venue, client)
        orders: list[Any] = []
        assets: dict[str, tuple[Decimal, Decimal]] = {}
        while not orders or orders[-1].state not in ("done", "cancel"):
            event = stream.recv()
            if event.type == "myOrder":
                orders.append(event)
            else:
                told(assets, event)
        while assets != venue.balances():
            event = stream.recv()
            told(assets, event)
    check_story(orders, venue, uuid)


def told(assets: dict[str, tuple[Decimal, Decimal]], event: Any) -> None:
    MyAsset.model_validate(event.model_dump())
    for row in event.assets:
        assets[row.currency] = Decimal(row.balance), Decimal(row.locked)


async def test_the_asynchronous_client_streams_too(
    async_client: upbit.AsyncUpbit, client: upbit.Upbit, venue: Venue
) -> None:
    async with async_client.ws_stream.ticker(["KRW-BTC"]) as stream:
        event: Any = await stream.recv()
        assert isinstance(event, Ticker)
    async with async_client.ws_stream.my_order(["KRW-BTC"]) as stream:
        await stream.list_subscriptions()
        uuid = buy(venue, client)
        events: list[Any] = []
        while not events or events[-1].state not in ("done", "cancel"):
            events.append(await stream.recv())
    check_story(events, venue, uuid)
