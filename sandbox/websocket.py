"""The venue's WebSocket: a public and a private socket, their streams, quotas and idle cut.

Every message goes out in a binary frame. Nobody acknowledges a subscription; a new one replaces
the old; a broken request gets an error frame and the socket is closed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request as Handshake

from sandbox.feed import Message, SocketLimits, VenueFeed
from sandbox.frames import (
    Format,
    FrameError,
    Request,
    Subscription,
    encode,
    error_frame,
    merged,
    parse_request,
)
from sandbox.quotas import Limited
from sandbox.venue import Venue

PATH = "/websocket/v1"
LINE = "upbitd.line"
UP = b'{"status":"UP"}'


class Feed(Protocol):
    """Where messages come from."""

    def news(
        self, stream: Subscription, code: str, mark: Hashable
    ) -> tuple[list[Message], Hashable]:
        """Messages after `mark` (None: the newest one alone), and the mark to come back with."""
        ...

    def own_news(
        self, account: object, stream: Subscription, mark: int | None
    ) -> tuple[list[Message], int]:
        """What happened to the account's orders or assets after `mark` (None: nothing yet)."""
        ...

    def limits(self) -> SocketLimits:
        """What holds for a socket that is opened now."""
        ...

    def count_handshake(self, ip: str, authorization: str | None, origin: str | None) -> str:
        """Count a handshake; return its Remaining-Req header. Raises Limited."""
        ...

    def account(self, authorization: str | None, ip: str) -> object:
        """Whose token this is. Raises FrameError `INVALID_AUTH`."""
        ...


class Window:
    """At most `limit` takings in any `span_s` seconds."""

    def __init__(self, limit: int, span_s: float) -> None:
        self._limit = limit
        self._span_s = span_s
        self._taken: deque[float] = deque()

    def take(self, now_s: float) -> bool:
        """Count one taking at `now_s` (monotonic seconds); False when it is one too many."""
        while self._taken and now_s - self._taken[0] >= self._span_s:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return False
        self._taken.append(now_s)
        return True


@dataclass(slots=True)
class Line:
    """The line under a socket: whether a ping came, and how to cut it without a close frame."""

    abort: Callable[[], None]
    is_pinged: bool = False


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket that also tells the application of pings, and may be cut hard."""

    line: Line

    def handle_connect(self, event: Handshake) -> None:
        """Hand the line to the application, which starts at the loop's next turn."""
        super().handle_connect(event)
        self.line = Line(self.transport.abort)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[LINE] = self.line

    def handle_ping(self) -> None:
        """Answer the ping, and remember that the client is alive."""
        super().handle_ping()
        self.line.is_pinged = True

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and take a refused handshake for the whole answer that it is."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True


class Connection:
    """One open socket: what it subscribed to and how far each stream was sent."""

    def __init__(
        self, socket: WebSocket, feed: Feed, limits: SocketLimits, account: object = None
    ) -> None:
        self._socket = socket
        self._feed = feed
        self._limits = limits
        self._account = account
        self._format: Format = "DEFAULT"
        self._streams: list[Subscription] = []
        self._marks: dict[tuple[str, str], Hashable] = {}
        self._own_marks: dict[str, int] = {}
        self._up_at_s: float | None = None
        self._quotas = (
            Window(limits.messages_per_s, 1.0),
            Window(limits.messages_per_min, 60.0),
        )
        self._line: Line = socket.scope["extensions"][LINE]
        self._used_at_s = limits.now_s()

    async def run(self) -> None:
        """Serve until the client leaves, breaks the protocol, or falls silent."""
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            while not self._is_idle():
                await asyncio.wait({receiving}, timeout=self._limits.grid_s)
                if receiving.done():
                    message = receiving.result()
                    if message["type"] == "websocket.disconnect":
                        return
                    receiving = asyncio.ensure_future(self._socket.receive())
                    await self._read(message)
                await self._send_news()
                await self._say_up()
            self._line.abort()
        except FrameError as refusal:
            await self._send(error_frame(refusal.name, str(refusal)))
            await self._socket.close(1000)
        finally:
            receiving.cancel()

    def _is_idle(self) -> bool:
        if self._line.is_pinged:
            self._line.is_pinged = False
            self._used_at_s = self._limits.now_s()
        return self._limits.now_s() - self._used_at_s >= self._limits.idle_s

    async def _send(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)
        self._used_at_s = self._limits.now_s()

    async def _read(self, message: Mapping[str, Any]) -> None:
        now_s = self._used_at_s = self._limits.now_s()
        text = message.get("text") or (message.get("bytes") or b"").decode(errors="replace")
        if text == "PING":
            self._up_at_s = now_s + self._limits.up_every_s
            return
        if not all(quota.take(now_s) for quota in self._quotas):
            raise FrameError("Too Many Requests", "too many messages on this socket")
        request = parse_request(text, private=self._account is not None)
        if request.listing:
            await self._list(request)
        else:
            await self._subscribe(request)

    async def _list(self, request: Request) -> None:
        self._format = request.format or self._format
        listing = {
            "method": "LIST_SUBSCRIPTIONS",
            "result": [stream.listed() for stream in self._streams],
            "ticket": request.ticket,
        }
        await self._send(encode(listing, self._format))

    async def _subscribe(self, request: Request) -> None:
        self._format = request.format or "DEFAULT"
        self._streams = merged(request.subscriptions)
        self._marks.clear()
        self._own_marks = {
            stream.type: self._feed.own_news(self._account, stream, None)[1]
            for stream in self._streams
            if self._account is not None
        }
        for stream in self._streams:
            for code in stream.codes if self._account is None else ():
                messages, self._marks[stream.type, code] = self._feed.news(stream, code, None)
                if stream.snapshot:
                    await self._send_all(messages, "SNAPSHOT")

    async def _send_news(self) -> None:
        for stream in self._streams:
            if self._account is not None:
                messages, mark = self._feed.own_news(
                    self._account, stream, self._own_marks[stream.type]
                )
                self._own_marks[stream.type] = mark
                await self._send_all(messages, "REALTIME")
            elif stream.realtime:
                await self._send_changes(stream)

    async def _send_changes(self, stream: Subscription) -> None:
        for code in stream.codes:
            key = stream.type, code
            messages, self._marks[key] = self._feed.news(stream, code, self._marks[key])
            await self._send_all(messages, "REALTIME")

    async def _send_all(self, messages: list[Message], stream_type: str) -> None:
        for message in messages:
            await self._send(encode({**message, "stream_type": stream_type}, self._format))

    async def _say_up(self) -> None:
        now_s = self._limits.now_s()
        if self._up_at_s is not None and now_s >= self._up_at_s:
            self._up_at_s = now_s + self._limits.up_every_s
            await self._send(UP)


class Sockets:
    """Opens sockets: handshake quotas and tokens."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def public(self, socket: WebSocket) -> None:
        """Serve one client of the public address."""
        if await self._opened(socket):
            await self._serve(Connection(socket, self._feed, self._feed.limits()))

    async def private(self, socket: WebSocket) -> None:
        """Serve one client of the private address; a bad token gets an error frame."""
        if not await self._opened(socket):
            return
        try:
            account = self._feed.account(socket.headers.get("authorization"), _host(socket))
        except FrameError as refusal:
            await socket.send_bytes(error_frame(refusal.name, str(refusal)))
            await socket.close(1000)
            return
        await self._serve(Connection(socket, self._feed, self._feed.limits(), account))

    async def _opened(self, socket: WebSocket) -> bool:
        token, origin = socket.headers.get("authorization"), socket.headers.get("origin")
        try:
            quota = self._feed.count_handshake(_host(socket), token, origin)
        except Limited as refusal:
            body = {"error": {"name": "too_many_requests", "message": refusal.message}}
            await socket.send_denial_response(JSONResponse(body, status_code=refusal.status))
            return False
        await socket.accept(headers=[(b"remaining-req", quota.encode())])
        return True

    @staticmethod
    async def _serve(connection: Connection) -> None:
        try:
            await connection.run()
        except WebSocketDisconnect:  # the client left while something was being sent
            return


def _host(socket: WebSocket) -> str:
    return socket.client.host if socket.client else ""


def socket_routes(feed: Feed) -> list[WebSocketRoute]:
    """The two addresses, served from `feed` by a server that uses `SocketProtocol`."""
    sockets = Sockets(feed)
    return [
        WebSocketRoute(PATH, sockets.public),
        WebSocketRoute(f"{PATH}/private", sockets.private),
    ]


def routes(venue: Venue) -> list[WebSocketRoute]:
    """The two addresses of `venue`."""
    return socket_routes(VenueFeed(venue))
