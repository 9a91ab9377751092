"""The sandbox as a server: the application with all its routes, and uvicorn around it."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox import control, gemini, rest_exchange, rest_orders, rest_quotation, websocket
from sandbox.control import Control
from sandbox.control_gate import ControlGate
from sandbox.faults import ABORT, Faults, FaultyApp
from sandbox.gate import no_route
from sandbox.requests import RequestLog
from sandbox.venue import Venue

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
PULSE_S = 0.05
GRACE_S = 1
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def application(venue: Venue) -> ASGIApp:
    """The whole sandbox as one ASGI application."""
    faults, log = Faults(), RequestLog(venue.now)
    routes: list[BaseRoute] = [
        *rest_quotation.routes(venue),
        *rest_exchange.routes(venue),
        *rest_orders.routes(venue),
        *control.routes(Control(venue, faults, log)),
        *websocket.routes(venue),
        *gemini.routes(gemini.FakeGemini()),
        Route("/{path:path}", no_route(venue), methods=METHODS),
    ]
    return FaultyApp(ControlGate(Starlette(routes=routes)), faults, log)


class ResettableProtocol(H11Protocol):
    """uvicorn's HTTP that lets a request reset the connection that it came in on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Hand the application a way to reset this connection."""
        super().connection_made(transport)
        app = cast(ASGIApp, self.app)

        async def resettable(scope: Scope, receive: Receive, send: Send) -> None:
            scope[ABORT] = partial(_reset, transport)
            await app(scope, receive, send)

        self.app = resettable


def _reset(transport: asyncio.Transport) -> None:
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


class Server(uvicorn.Server):
    """A uvicorn that calls `on_start` once it accepts, and ends with exit code 0 on a signal."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for connections, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal without raising it again afterwards."""
        loop = asyncio.get_running_loop()
        for each in STOP_SIGNALS:
            loop.add_signal_handler(each, self.stop)
        yield
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)

    def stop(self) -> None:
        """Begin an orderly stop; the second call ends it at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 lets the machine choose. Raises OSError."""
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio sets it only on sockets of protocol TCP; without it every answer waits 40 ms
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        line.bind((host, port))
    except OSError:
        line.close()
        raise
    line.listen(2048)
    return line


async def serve(
    venue: Venue, line: socket.socket, on_start: Callable[[], None], *, stop_on_eof: bool = False
) -> None:
    """Serve `venue` on a bound socket until a signal comes, or standard input ends."""
    config = uvicorn.Config(
        application(venue),
        http=ResettableProtocol,
        ws=websocket.SocketProtocol,
        ws_ping_interval=None,
        ws_per_message_deflate=True,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=60,
    )
    server = Server(config, on_start)
    pulse = asyncio.create_task(_pulse(venue))
    if stop_on_eof:
        asyncio.get_running_loop().add_reader(sys.stdin, partial(_read_stdin, server))
    try:
        await server.serve(sockets=[line])
    finally:
        pulse.cancel()


def _read_stdin(server: Server) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin)
        server.stop()


async def _pulse(venue: Venue) -> None:
    """Let orders be filled while nobody asks."""
    while True:
        await asyncio.sleep(PULSE_S)
        for pocket in venue.pockets.values():
            venue.advance(pocket)
