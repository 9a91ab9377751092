"""One connection of the health port: reads requests, lets them through the gate, answers."""

import hmac
import io
import ipaddress
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from loguru import logger

from health.response import SECURITY_HEADERS, Request, Response, Route, json_response

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
ALLOWED: Final = "GET, HEAD"
MAX_QUERY_FIELDS: Final = 20
LOOK_UP_S: Final = 0.1
GRACE_S: Final = 0.5


class Port(Protocol):
    """What a connection needs to know of the port it belongs to."""

    routes: Mapping[str, Route]

    @property
    def token(self) -> str | None:
        """What callers have to know; None lets loopback names through."""
        ...

    @property
    def read_timeout_s(self) -> float:
        """How long a request's head may take, in total."""
        ...

    def is_crowded(self) -> bool:
        """Whether every thread has a connection, so that nobody takes the next one."""
        ...

    def new_request_id(self) -> str:
        """An id for a request that came without one."""
        ...

    def on_answer(self, path: str, duration_s: float, /) -> None:
        """Take note of an answer that was sent."""
        ...


def serve_connection(connection: socket.socket, client: tuple[str, int], port: Port) -> None:
    """Answer every request of one connection; the caller closes it afterwards.

    Raises ConnectionError and TimeoutError when the client goes away or is too slow.
    """
    Handler(connection, client, cast(BaseServer, port))


class _Reader(io.RawIOBase):
    """Reads a socket up to one total deadline; the stdlib's timeout starts anew with each byte.

    It looks up from its wait now and then: while the port is crowded, who has not asked for
    anything within the grace has to go. The kernel keeps the time, because Python's own socket
    timeouts give the interpreter away once more for every read.
    """

    def __init__(self, connection: socket.socket, port: Port) -> None:
        self._connection = connection
        self._port = port
        self._began_s = 0.0
        _limit(connection, socket.SO_RCVTIMEO, min(LOOK_UP_S, port.read_timeout_s))

    def begin(self) -> None:
        """Start the deadline of the next request."""
        self._began_s = time.monotonic()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what has come; raises TimeoutError when the deadline or the grace is over."""
        while True:
            waited_s = time.monotonic() - self._began_s
            crowded = waited_s > GRACE_S and self._port.is_crowded()
            if crowded or waited_s >= self._port.read_timeout_s:
                raise TimeoutError("the request did not come in time")
            try:
                return self._connection.recv_into(buffer)
            except BlockingIOError:
                continue


def _limit(connection: socket.socket, option: int, timeout_s: float) -> None:
    """Set a socket's own timeout."""
    micros = int(timeout_s * 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", *divmod(micros, 1_000_000)))


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD on the routes of its port; every error is JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # head and body leave in one piece

    def setup(self) -> None:
        """Put the deadline under the reader."""
        super().setup()
        self.rfile.close()
        _limit(self.connection, socket.SO_SNDTIMEO, self.port.read_timeout_s)
        self._reader = _Reader(self.connection, self.port)
        self.rfile = io.BufferedReader(self._reader)
        self.request_id = ""

    @property
    def port(self) -> Port:
        """The port this connection belongs to."""
        return cast(Port, self.server)

    def handle_one_request(self) -> None:
        """Wait for one request and answer it."""
        self.request_id, self.path = self.port.new_request_id(), ""
        self._started_s = time.perf_counter()
        self._reader.begin()
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer with the same head and no body."""
        self._answer()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The stdlib's own refusals (malformed, too long, unknown method), as JSON."""
        del explain
        self.close_connection = True  # what follows on this connection cannot be trusted
        self.request_version = self.protocol_version  # the stdlib takes nonsense for HTTP/0.9
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._take_request_id()
            self._send(_error(405, "only GET and HEAD are answered", headers={"Allow": ALLOWED}))
        else:
            self._send(_error(code, message or HTTPStatus(code).phrase))

    def version_string(self) -> str:
        """Name the program, not its parts."""
        return "upbitd"

    def log_message(self, format: str, *args: object) -> None:
        """Requests are logged when they are answered; the stdlib's own lines say no more."""

    def _answer(self) -> None:
        self._started_s = time.perf_counter()
        self._take_request_id()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that nobody reads would pass for a request
        with logger.contextualize(request_id=self.request_id):
            self._send(self._respond())

    def _take_request_id(self) -> None:
        given = self.headers.get("X-Request-ID", "")
        if REQUEST_ID.fullmatch(given):
            self.request_id = given

    def _respond(self) -> Response:
        try:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query, max_num_fields=MAX_QUERY_FIELDS))
        except ValueError:
            return _error(400, "the address cannot be read")
        token = query.pop("token", None)
        if (refusal := self._refusal(token)) is not None:
            return refusal
        route = self.port.routes.get(url.path)
        if route is None:
            return _error(404, "no such path", paths=sorted(self.port.routes))
        return _guarded(route, Request(path=url.path, query=query, request_id=self.request_id))

    def _refusal(self, query_token: str | None) -> Response | None:
        """Why this caller gets no answer: a wrong token, or a name that is not this machine's.

        A page anywhere can point its own name at 127.0.0.1 and read what its visitors' daemons
        say; without a token only addresses and localhost are therefore answered.
        """
        if self.port.token is None:
            if _is_local_name(self.headers.get("Host")):
                return None
            return _error(421, "call this port by its address or as localhost, or set health.token")
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else query_token or ""
        if hmac.compare_digest(given.encode(), self.port.token.encode()):
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="upbitd"'}
        return _error(401, "a token is required: Authorization: Bearer …", headers=challenge)

    def _send(self, response: Response) -> None:
        head = {
            **SECURITY_HEADERS,
            **response.headers,
            "Content-Type": response.content_type,
            "Content-Length": str(len(response.body)),
            "X-Request-ID": self.request_id,
        }
        self.send_response(response.status)
        for name, value in head.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()
        self._log(response.status)

    def _log(self, status: int) -> None:
        duration_s = time.perf_counter() - self._started_s
        # the query stays out: it may hold the token
        path = self.path.partition("?")[0]
        self.port.on_answer(path if path in self.port.routes else "other", duration_s)
        log = logger.bind(
            event="health.request",
            request_id=self.request_id,
            method=self.command,
            path=path,
            status=status,
            duration_ms=round(duration_s * 1000, 3),
        )
        log.debug("health port answered")


def _guarded(route: Callable[[Request], Response], request: Request) -> Response:
    try:
        return route(request)
    except Exception as exc:  # noqa: BLE001 - the boundary: a route's bug is an answer, not silence
        log = logger.bind(event="health.route_failed", path=request.path)
        log.opt(exception=exc).error("a route of the health port failed")
        return _error(500, "this path failed; the log has the reason under this request id")


def _error(
    status: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    paths: Sequence[str] | None = None,
) -> Response:
    body: dict[str, object] = {"error": message}
    if paths is not None:
        body["paths"] = list(paths)
    return json_response(body, status, headers)


def _is_local_name(host: str | None) -> bool:
    """Whether a Host header is an address or localhost. HTTP/1.0 may send none."""
    if host is None:
        return True
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
