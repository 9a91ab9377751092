"""The sockets behave like the venue's: frames, replacement, formats, quotas, silence."""

import json
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from sandbox.feed import Message, SocketLimits
from sandbox.frames import FrameError, Subscription
from sandbox.quotas import Limited
from sandbox.websocket import SocketProtocol, Window, socket_routes

BTC = {"type": "ticker", "codes": ["KRW-BTC"]}
TOKEN = {"Authorization": "Bearer good"}


@dataclass
class FakeFeed:
    """Messages that the test pushes, by type and code."""

    clock: "Clock"
    public: dict[tuple[str, str], list[Message]] = field(default_factory=dict)
    own: list[Message] = field(default_factory=list)
    handshakes: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    is_full: bool = False

    def push(self, kind: str, code: str, price: int) -> None:
        message = {"type": kind, "code": code, "trade_price": Decimal(price)}
        self.public.setdefault((kind, code), []).append(message)

    def news(
        self, stream: Subscription, code: str, mark: Hashable
    ) -> tuple[list[Message], Hashable]:
        messages = self.public.get((stream.type, code), [])
        sent = mark if isinstance(mark, int) else max(len(messages) - 1, 0)
        return messages[sent:], len(messages)

    def own_news(
        self, account: object, stream: Subscription, mark: int | None
    ) -> tuple[list[Message], int]:
        assert account == "me"
        messages = [each for each in self.own if each["type"] == stream.type]
        return messages[len(messages) if mark is None else mark :], len(messages)

    def limits(self) -> SocketLimits:
        return SocketLimits(now_s=self.clock, grid_s=0.001)

    def count_handshake(self, ip: str, authorization: str | None, origin: str | None) -> str:
        self.handshakes.append((ip, authorization, origin))
        if self.is_full:
            raise Limited(429)
        return "group=websocket; min=300; sec=4"

    def account(self, authorization: str | None, ip: str) -> object:
        assert ip == "127.0.0.1"
        if authorization != TOKEN["Authorization"]:
            raise FrameError("INVALID_AUTH", "bad token")
        return "me"


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(clock: Clock) -> FakeFeed:
    return FakeFeed(clock)


@pytest.fixture
async def address(feed: FakeFeed) -> AsyncIterator[str]:
    """A real server in this loop, on a free port."""
    config = uvicorn.Config(
        Starlette(routes=socket_routes(feed)),
        port=0,
        ws=SocketProtocol,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"ws://127.0.0.1:{port}/websocket/v1"
    await server.shutdown()


async def ask(socket: ClientConnection, *items: object) -> None:
    await socket.send(json.dumps([{"ticket": "t"}, *items]))


async def told(socket: ClientConnection) -> Any:
    frame = await socket.recv()
    assert isinstance(frame, bytes), "the venue sends binary frames only"
    return json.loads(frame, parse_float=Decimal)


async def test_a_snapshot_comes_first_and_news_follow(address: str, feed: FakeFeed) -> None:
    feed.push("ticker", "KRW-BTC", 1)
    feed.push("ticker", "KRW-BTC", 116_539_000)
    async with connect(address) as socket:
        await ask(socket, BTC)
        assert await socket.recv() == (
            b'{"type":"ticker","code":"KRW-BTC","trade_price":1.16539E8,"stream_type":"SNAPSHOT"}'
        )
        feed.push("ticker", "KRW-BTC", 5)
        feed.push("ticker", "KRW-BTC", 6)
        for price in (5, 6):
            message = await told(socket)
            assert (message["stream_type"], message["trade_price"]) == ("REALTIME", price)


async def test_the_handshake_tells_the_rest_of_the_quota(address: str) -> None:
    async with connect(address) as socket:
        assert socket.response is not None
        assert socket.response.headers["remaining-req"] == "group=websocket; min=300; sec=4"


async def test_only_snapshot_and_only_realtime_are_kept(address: str, feed: FakeFeed) -> None:
    for kind in ("ticker", "trade"):
        feed.push(kind, "KRW-BTC", 1)
    async with connect(address) as socket:
        await ask(
            socket,
            {**BTC, "is_only_snapshot": True},
            {"type": "trade", "codes": ["KRW-BTC"], "isOnlyRealtime": True},
        )
        assert (await told(socket))["type"] == "ticker"
        feed.push("ticker", "KRW-BTC", 2)
        feed.push("trade", "KRW-BTC", 3)
        message = await told(socket)
        assert (message["type"], message["trade_price"]) == ("trade", 3)


async def test_a_second_subscription_replaces_the_first(address: str, feed: FakeFeed) -> None:
    feed.push("ticker", "KRW-BTC", 1)
    feed.push("ticker", "KRW-ETH", 2)
    async with connect(address) as socket:
        await ask(socket, BTC)
        assert (await told(socket))["code"] == "KRW-BTC"
        await ask(socket, {"type": "ticker", "codes": ["KRW-ETH"]})
        assert (await told(socket))["code"] == "KRW-ETH"
        feed.push("ticker", "KRW-BTC", 3)
        feed.push("ticker", "KRW-ETH", 4)
        message = await told(socket)
        assert (message["code"], message["trade_price"]) == ("KRW-ETH", 4)


async def test_an_unknown_code_is_silently_nothing(address: str, feed: FakeFeed) -> None:
    feed.push("ticker", "KRW-BTC", 1)
    async with connect(address) as socket:
        await ask(socket, {"type": "ticker", "codes": ["krw-btc", "KRW-BTC"]})
        assert (await told(socket))["code"] == "KRW-BTC"


async def test_a_listing_changes_the_format_of_running_streams(
    address: str, feed: FakeFeed
) -> None:
    feed.push("ticker", "KRW-BTC", 1)
    async with connect(address) as socket:
        await ask(socket, BTC, {"format": "JSON_LIST"})
        assert [each["type"] for each in await told(socket)] == ["ticker"]
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
        assert await told(socket) == [
            {"method": "LIST_SUBSCRIPTIONS", "result": [BTC], "ticket": "t"}
        ]
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"}, {"format": "SIMPLE"})
        assert await told(socket) == {
            "mthd": "LIST_SUBSCRIPTIONS",
            "rslt": [{"ty": "ticker", "cds": ["KRW-BTC"]}],
            "tckt": "t",
        }
        feed.push("ticker", "KRW-BTC", 2)
        assert await told(socket) == {"ty": "ticker", "cd": "KRW-BTC", "tp": 2, "st": "REALTIME"}


async def test_a_broken_request_gets_an_error_frame_and_an_orderly_close(address: str) -> None:
    async with connect(address) as socket:
        await socket.send(b"nonsense")
        assert (await told(socket))["error"]["name"] == "WRONG_FORMAT"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


async def test_the_sixth_message_of_a_second_is_refused(address: str, clock: Clock) -> None:
    async with connect(address) as socket:
        for _ in range(5):
            await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
            await told(socket)
        clock.now_s += 1
        for _ in range(5):
            await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
            await told(socket)
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
        assert (await told(socket))["error"]["name"] == "Too Many Requests"


def test_a_window_forgets_what_is_older_than_its_span() -> None:
    window = Window(2, 60.0)
    assert [window.take(at) for at in (0, 1, 59.9, 60, 60.5, 61)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


async def test_a_handshake_is_counted_and_may_be_refused(address: str, feed: FakeFeed) -> None:
    async with connect(address, origin=Origin("https://example.org")):
        pass
    feed.is_full = True
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{address}/private", additional_headers=TOKEN)
    response = refused.value.response
    assert response.status_code == 429
    assert json.loads(response.body)["error"]["name"] == "too_many_requests"
    assert feed.handshakes == [
        ("127.0.0.1", None, "https://example.org"),
        ("127.0.0.1", "Bearer good", None),
    ]


async def test_a_text_ping_starts_a_status_every_ten_seconds(address: str, clock: Clock) -> None:
    async with connect(address) as socket:
        await socket.send("PING")
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
        await told(socket)
        for _ in range(2):
            clock.now_s += 10
            assert await told(socket) == {"status": "UP"}


async def test_silence_cuts_the_line_without_a_close_frame(address: str, clock: Clock) -> None:
    async with connect(address) as socket:
        clock.now_s = 60
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is None


async def test_a_protocol_ping_counts_as_life(address: str, clock: Clock) -> None:
    async with connect(address) as socket:
        for now_s in (59, 118, 177):
            clock.now_s = now_s
            await (await socket.ping())
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
        assert (await told(socket))["result"] == []


async def test_private_streams_tell_only_what_happens_from_now_on(
    address: str, feed: FakeFeed
) -> None:
    feed.own.append({"type": "myOrder", "code": "KRW-BTC", "price": Decimal(1)})
    async with connect(f"{address}/private", additional_headers=TOKEN) as socket:
        await ask(socket, {"type": "myOrder"}, {"type": "myAsset"})
        await ask(socket, {"method": "LIST_SUBSCRIPTIONS"})
        assert (await told(socket))["result"] == [{"type": "myOrder"}, {"type": "myAsset"}]
        exact = Decimal("0.12345678901234567890")
        feed.own.append({"type": "myAsset", "balance": exact})
        assert await told(socket) == {
            "type": "myAsset",
            "balance": exact,
            "stream_type": "REALTIME",
        }


async def test_a_bad_token_gets_an_error_frame(address: str) -> None:
    async with connect(f"{address}/private") as socket:
        assert (await told(socket))["error"]["name"] == "INVALID_AUTH"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_private_types_at_the_public_address_are_refused(address: str) -> None:
    async with connect(address) as socket:
        await ask(socket, {"type": "myOrder"})
        assert (await told(socket))["error"]["name"] == "INVALID_AUTH"
