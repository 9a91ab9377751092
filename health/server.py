"""The health port: a small HTTP server in threads of its own.

It answers while the event loop is stuck, holds no more connections than it may, and is hard to
starve: a request's head has one total deadline, and a newcomer takes the place of the connection
that has been waiting longest without asking for anything.
"""

import errno
import socket
import socketserver
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, Self

from loguru import logger

from health.handler import Handler
from health.response import Route

BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n"
    b'Connection: close\r\nContent-Length: 36\r\n\r\n{"error":"every connection is busy"}'
)


class CannotListen(Exception):
    """The port cannot be opened; the message names the configuration key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where and how to listen. Without a `token` only loopback names are answered.

    `switch_interval_s` is how soon a thread of the port gets the interpreter when the loop spins
    in pure Python; it holds for the whole process while the port is open.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: str | None = field(default=None, repr=False)
    max_connections: int = 32
    read_timeout_s: float = 5.0
    backlog: int = 128
    switch_interval_s: float = 0.0005


class HealthServer:
    """The port. `start` opens it, `close` ends it; a context manager does both."""

    def __init__(self, listen: Listen, routes: Mapping[str, Route]) -> None:
        self._listen = listen
        self._routes = dict(routes)
        self._http: _Http | None = None
        self._thread: Thread | None = None
        self._old_switch_interval_s = sys.getswitchinterval()

    def start(self) -> None:
        """Listen and answer in the background. Raises CannotListen."""
        self._http = _open(self._listen, self._routes)
        self._old_switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(self._listen.switch_interval_s)
        self._thread = Thread(
            target=self._http.serve_forever, args=(0.1,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection. Closing twice is harmless."""
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._thread.join()
        self._http.connections.end_all()
        self._http.server_close()
        self._http = self._thread = None
        sys.setswitchinterval(self._old_switch_interval_s)

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        if self._http is None:
            raise RuntimeError("the health port is not open")
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page, without a path."""
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(listen: Listen, routes: Mapping[str, Route]) -> "_Http":
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    where = f"{listen.host}:{listen.port}"
    try:
        return _Http(listen, routes, family)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            hint = "another process listens there; choose another health.port"
            raise CannotListen(f"health.port: {where} is in use: {hint}") from exc
        if exc.errno == errno.EACCES:
            raise CannotListen(
                f"health.port: {where} needs a privilege; use 1024 to 65535"
            ) from exc
        raise CannotListen(f"health.host: cannot listen on {where}: {exc.strerror or exc}") from exc
    except OverflowError as exc:
        raise CannotListen(f"health.port: {listen.port} is not 0 to 65535") from exc


class _Connections:
    """The open connections; None marks one that works on a request, else since when it waits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._waiting_since: dict[socket.socket, float | None] = {}

    def admit(self, connection: socket.socket) -> bool:
        """Take `connection` in, in place of the one that waits longest if there is no room."""
        with self._lock:
            if len(self._waiting_since) >= self._limit and not self._evict():
                return False
            self._waiting_since[connection] = time.monotonic()
            return True

    def mark(self, connection: socket.socket, *, waiting: bool) -> None:
        """Note whether `connection` waits for a request or works on one."""
        with self._lock:
            if connection in self._waiting_since:
                self._waiting_since[connection] = time.monotonic() if waiting else None

    def leave(self, connection: socket.socket) -> None:
        """Forget `connection`; it has ended."""
        with self._lock:
            self._waiting_since.pop(connection, None)

    def end_all(self) -> None:
        """End every connection, whatever it does."""
        with self._lock:
            for connection in self._waiting_since:
                _hang_up(connection)
            self._waiting_since.clear()

    def _evict(self) -> bool:
        idle = [(since, conn) for conn, since in self._waiting_since.items() if since is not None]
        if not idle:
            return False
        _, oldest = min(idle, key=lambda each: each[0])
        del self._waiting_since[oldest]
        _hang_up(oldest)  # its thread reads an end of file and goes
        return True


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster


class _Http(ThreadingHTTPServer):
    """The listening socket, with a bound on its connections."""

    daemon_threads = True

    def __init__(
        self, listen: Listen, routes: Mapping[str, Route], family: socket.AddressFamily
    ) -> None:
        self.address_family = family
        self.request_queue_size = listen.backlog
        self.listen = listen
        self.routes = routes
        self.token = listen.token
        self.read_timeout_s = listen.read_timeout_s
        self.connections = _Connections(listen.max_connections)
        super().__init__((listen.host, listen.port), Handler)

    def server_bind(self) -> None:
        """Bind without the reverse name look-up of the stdlib, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.listen.host, int(self.server_address[1])

    def mark(self, connection: socket.socket, *, waiting: bool) -> None:
        """Note whether `connection` waits for a request or works on one."""
        self.connections.mark(connection, waiting=waiting)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand an accepted connection to a thread of its own, or turn it away at the bound."""
        if self.connections.admit(request):
            super().process_request(request, client_address)
        else:
            self._turn_away(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended a connection; a client that went away is no error."""
        del request
        error = sys.exception()
        log = logger.bind(event="health.connection", client=str(client_address[0]))
        if isinstance(error, (ConnectionError, TimeoutError)):
            log.debug("a client of the health port went away")
        else:
            log.opt(exception=error).error("a connection of the health port failed")

    def _turn_away(self, request: socket.socket) -> None:
        try:
            request.setblocking(False)
            request.send(BUSY)
        except OSError:
            pass  # it is turned away in any case
        finally:
            self.shutdown_request(request)
