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
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from loguru import logger

from health.response import SECURITY_HEADERS, Request, Response, Route, json_response

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
ALLOWED: Final = "GET, HEAD"
MAX_QUERY_FIELDS: Final = 20
LOOK_UP_S: Final = 0.1
LONGEST_CONNECTION_S: Final = 30.0
OUT_BYTES: Final = 65536  # head and body leave in one piece


class Port(Protocol):
    """What a connection needs to know of the port it belongs to."""

    routes: Mapping[str, Route]

    @property
    def token(self) -> str | None:
        """What callers have to know; None lets loopback names through."""
        ...

    @property
    def number(self) -> int:
        """The port's number."""
        ...

    @property
    def read_timeout_s(self) -> float:
        """How long a request's head may take, in total, and how long its answer."""
        ...

    def is_crowded(self) -> bool:
        """Whether every thread has a connection, so that nobody takes the next one."""
        ...

    def patience_s(self, address: str) -> float:
        """How long a connection from this address may wait at present without asking."""
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
    anything within its patience has to go. The kernel keeps the time, because Python's own socket
    timeouts give the interpreter away once more for every read.
    """

    def __init__(self, connection: socket.socket, address: str, port: Port) -> None:
        self._connection = connection
        self._address = address
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
        """Read what has come; raises TimeoutError when the deadline or the patience is over."""
        while True:
            if time.monotonic() - self._began_s >= self._port.patience_s(self._address):
                raise TimeoutError("the request did not come in time")
            try:
                return self._connection.recv_into(buffer)
            except BlockingIOError:
                continue


class _Writer(io.RawIOBase):
    """Writes a socket up to one total deadline, so that a slow reader cannot hold a thread."""

    def __init__(self, connection: socket.socket, port: Port) -> None:
        self._connection = connection
        self._port = port
        self._until_s = 0.0

    def begin(self) -> None:
        """Start the deadline of the next answer."""
        self._until_s = time.monotonic() + self._port.read_timeout_s

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Send a part; raises ConnectionAbortedError when the answer was not taken in time.

        Not TimeoutError, which the stdlib's loop over requests takes for an idle client.
        """
        try:
            if time.monotonic() < self._until_s:
                return self._connection.send(data)
        except BlockingIOError:
            pass  # the kernel's own limit of one send
        raise ConnectionAbortedError("the answer was not taken in time")


def _limit(connection: socket.socket, option: int, timeout_s: float) -> None:
    """Set a socket's own timeout."""
    micros = int(timeout_s * 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", *divmod(micros, 1_000_000)))


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD on the routes of its port; every error is JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Put the deadlines under the reader and the writer."""
        super().setup()
        self.rfile.close()
        self.wfile.close()
        _limit(self.connection, socket.SO_SNDTIMEO, self.port.read_timeout_s)
        self._opened_s = time.monotonic()
        self._reader = _Reader(self.connection, self.client_address[0], self.port)
        self._writer = _Writer(self.connection, self.port)
        self.rfile = io.BufferedReader(self._reader)
        self.wfile = io.BufferedWriter(self._writer, OUT_BYTES)
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
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that nobody reads would pass for a request
        with logger.contextualize(request_id=self.request_id):
            self._send(self._respond())

    def _take_request_id(self) -> None:
        given = self.headers.get("X-Request-ID", "")
        if REQUEST_ID.fullmatch(given):
            self.request_id = given

    def _respond(self) -> Response:
        if self.headers.defects:  # "Content-Length : 9" ends the head for us and not for a proxy
            return _error(400, "the head cannot be read")
        try:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query, max_num_fields=MAX_QUERY_FIELDS))
        except ValueError:
            return _error(400, "the address cannot be read")
        token = query.pop("token", None)
        if (refusal := self._refusal(token)) is not None:
            return refusal
        if token is not None and (secret := self.port.token) is not None:
            return self._without_token(url.path, query, secret)
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
        if self._knows(self.port.token, query_token):
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="upbitd"'}
        return _error(401, "a token is required: Authorization: Bearer …", headers=challenge)

    def _knows(self, token: str, query_token: str | None) -> bool:
        """Whether this caller has the token: in the header, in the address, or as our cookie."""
        if (given := self.headers.get("Authorization")) is not None:
            scheme, _, bearer = given.partition(" ")
            return scheme.lower() == "bearer" and _is_same(bearer.strip(), token)
        if query_token is not None:
            return _is_same(query_token, token)
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie_name)
        except CookieError:
            return False
        return cookie is not None and _is_same(cookie.value, session_of(token))

    @property
    def _cookie_name(self) -> str:
        """With the port, because browsers share cookies between all ports of a machine."""
        return f"upbitd_{self.port.number}"

    def _without_token(self, path: str, query: Mapping[str, str], token: str) -> Response:
        """Sends the caller to the same address without its token, which becomes a cookie.

        A token in an address stays in the browser's history and in the logs of proxies.
        """
        place = f"/{path.lstrip('/')}" + (f"?{urlencode(query)}" if query else "")
        cookie = f"{self._cookie_name}={session_of(token)}; HttpOnly; SameSite=Strict; Path=/"
        return json_response(
            {"moved": "this address without its token"},
            HTTPStatus.SEE_OTHER,
            {"Location": place, "Set-Cookie": cookie},
        )

    def _send(self, response: Response) -> None:
        self._writer.begin()
        if self._is_last(response.status):
            self.close_connection = True
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

    def _is_last(self, status: int) -> bool:
        """Whether the connection ends with this answer.

        Sixteen clients that asked every 0.3 s kept all threads for ever, the refused ones as well
        (probes: 0 answered, 5 failed in 6 s): while it is crowded each answer frees its thread.
        """
        is_refused = 400 <= status < 500  # noqa: PLR2004 - 5xx of a probe is an answer
        is_old = time.monotonic() - self._opened_s > LONGEST_CONNECTION_S
        return is_refused or is_old or self.port.is_crowded()

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


def session_of(token: str) -> str:
    """The cookie that stands for the token: whoever finds it does not have the token."""
    return hmac.digest(token.encode(), b"upbitd health port", "sha256").hex()


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


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
