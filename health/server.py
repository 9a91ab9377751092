"""The health port: a small HTTP server in threads of its own.

It answers while the event loop is stuck, holds no more connections than it has threads, and is
hard to starve: a request's head and its answer have one total deadline each, and while no thread is
free, every answer ends its connection, and those that have been waiting for half a second without
asking for anything have to go, at once where their address holds more than its share.

Every thread waits for connections itself. Handing them over would cost two or three more waits for
the interpreter, half a millisecond each while the event loop spins.
"""

import errno
import itertools
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from loguru import logger

from health.handler import serve_connection
from health.response import Route

OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S: Final = 0.05
GRACE_S: Final = 0.5
GREEDY_GRACE_S: Final = 0.05
MOST_OF_ONE: Final = 4
"""While it is crowded, one address may keep so many connections waiting for the whole grace."""


class CannotListen(Exception):
    """The port cannot be opened; the message names the configuration key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where and how to listen. Without a `token` only loopback names are answered.

    `threads` is also the greatest number of open connections. `switch_interval_s` is how soon a
    thread of the port gets the interpreter when the loop spins in pure Python; it holds for the
    whole process while the port is open.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: str | None = field(default=None, repr=False)
    threads: int = 16
    read_timeout_s: float = 5.0
    backlog: int = 128
    switch_interval_s: float = 0.0005


class HealthServer:
    """The port. `start` opens it, `close` ends it; a context manager does both.

    `on_answer` hears, in the port's threads, of each answer: its path ("other" where none of
    `routes` has it) and how many seconds it took.
    """

    def __init__(
        self,
        listen: Listen,
        routes: Mapping[str, Route],
        on_answer: Callable[[str, float], None] = lambda _path, _seconds: None,
    ) -> None:
        self._listen = listen
        self._routes = dict(routes)
        self._on_answer = on_answer
        self._open: _Port | None = None
        self._old_switch_interval_s = sys.getswitchinterval()

    def start(self) -> None:
        """Listen and answer in the background. Raises CannotListen."""
        self._open = _Port(
            self._listen, self._routes, _listening_socket(self._listen), self._on_answer
        )
        self._old_switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(self._listen.switch_interval_s)
        self._open.start()

    def close(self) -> None:
        """Stop listening and end every connection. Closing twice is harmless."""
        if self._open is None:
            return
        self._open.close()
        self._open = None
        sys.setswitchinterval(self._old_switch_interval_s)

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        if self._open is None:
            raise RuntimeError("the health port is not open")
        return self._open.number

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


def _listening_socket(listen: Listen) -> socket.socket:
    where = f"{listen.host}:{listen.port}"
    sock = socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((listen.host, listen.port))
        sock.listen(listen.backlog)
    except (OSError, OverflowError) as exc:
        sock.close()
        raise _cannot(exc, where) from exc
    return sock


def _cannot(exc: OSError | OverflowError, where: str) -> CannotListen:
    if isinstance(exc, OverflowError):
        return CannotListen(f"health.port: {where} is not a port from 0 to 65535")
    if exc.errno == errno.EADDRINUSE:
        hint = "another process listens there; choose another health.port"
        return CannotListen(f"health.port: {where} is in use: {hint}")
    if exc.errno == errno.EACCES:
        return CannotListen(f"health.port: {where} needs a privilege; use 1024 to 65535")
    return CannotListen(f"health.host: cannot listen on {where}: {exc.strerror or exc}")


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster


class _Port:
    """The listening socket and its threads; what handlers need to know of both."""

    def __init__(
        self,
        listen: Listen,
        routes: Mapping[str, Route],
        listening: socket.socket,
        on_answer: Callable[[str, float], None],
    ) -> None:
        self.routes = routes
        self.on_answer = on_answer
        self.token = listen.token
        self.read_timeout_s = listen.read_timeout_s
        self.number = int(listening.getsockname()[1])
        self._listening = listening
        self._lock = Lock()
        self._connections: dict[socket.socket, str] = {}
        self._closed = Event()
        # numbered, because asking the kernel for random bytes gives the interpreter away
        self._prefix, self._numbers = uuid.uuid4().hex[:16], itertools.count(1)
        self._threads = [
            Thread(target=self._work, name=f"health-{n}", daemon=True)
            for n in range(listen.threads)
        ]

    def start(self) -> None:
        """Start answering."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop listening, end every connection, and wait for the threads."""
        self._closed.set()
        _hang_up(self._listening)  # wakes every thread that waits for a connection
        self._listening.close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)
        for thread in self._threads:
            thread.join(self.read_timeout_s)

    def is_crowded(self) -> bool:
        """Whether every thread has a connection."""
        return len(self._connections) >= len(self._threads)

    def patience_s(self, address: str) -> float:
        """How long a connection from this address may wait at present without asking."""
        if not self.is_crowded():
            return self.read_timeout_s
        with self._lock:
            its_own = sum(each == address for each in self._connections.values())
        return min(GREEDY_GRACE_S if its_own > MOST_OF_ONE else GRACE_S, self.read_timeout_s)

    def new_request_id(self) -> str:
        """A request id of 32 hexadecimal digits that no other request has."""
        return f"{self._prefix}{next(self._numbers):016x}"

    def _work(self) -> None:
        while not self._closed.is_set():
            try:
                connection, client = self._listening.accept()
            except OSError as exc:
                if exc.errno in OUT_OF_RESOURCES:
                    self._closed.wait(PAUSE_S)
                continue
            self._serve(connection, client)

    def _serve(self, connection: socket.socket, client: tuple[str, int]) -> None:
        with self._lock:
            self._connections[connection] = client[0]
        try:
            if self._closed.is_set():
                return
            serve_connection(connection, client, self)
        except (ConnectionError, TimeoutError, BlockingIOError):
            logger.bind(event="health.connection").debug("a client of the health port went away")
        except Exception as exc:  # noqa: BLE001 - the boundary: a thread has to outlive a connection
            log = logger.bind(event="health.connection_failed")
            log.opt(exception=exc).error("a connection of the health port failed")
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            _hang_up(connection)
            connection.close()
