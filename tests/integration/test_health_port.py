"""The health port over real sockets: it answers while others hang, drip, flood or lie."""

import asyncio
import http.client
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from loguru import logger

from health import routes
from health.handler import session_of
from health.response import Request, Response, json_response
from health.server import GRACE_S, GREEDY_GRACE_S, CannotListen, HealthServer, Listen

TOKEN = "a-token-of-enough-length"
Head = Mapping[str, str]


def hello(request: Request) -> Response:
    return json_response({"query": dict(request.query), "request_id": request.request_id})


def broken(request: Request) -> Response:
    raise RuntimeError("an inner secret")


ROUTES = {"/hello": hello, "/broken": broken}


@contextmanager
def opened(**settings: Any) -> Iterator[HealthServer]:
    with HealthServer(Listen(**{"port": 0, **settings}), ROUTES) as server:
        yield server


@pytest.fixture
def port() -> Iterator[HealthServer]:
    """A port with short deadlines on which 127.0.0.1 is answered without a token."""
    with opened() as server:
        yield server


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = dict(response.getheaders())
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    server: HealthServer, path: str = "/hello", method: str = "GET", headers: Head | None = None
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def raw(server: HealthServer, sent: bytes) -> bytes:
    """Everything that comes back until the port closes, which it does long before it has to."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=4) as sock:
        sock.sendall(sent)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


# --- what is answered


def test_get_answers_json_with_the_security_headers(port: HealthServer) -> None:
    answer = ask(port, "/hello?a=1&a=2&b=%ED%95%9C")
    assert answer.status == 200
    assert answer.json["query"] == {"a": "2", "b": "한"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Server"] == "upbitd"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_head_answers_the_same_head_without_a_body(port: HealthServer) -> None:
    headers = {"X-Request-ID": "same"}
    get, head = ask(port, headers=headers), ask(port, method="HEAD", headers=headers)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(get.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_405_with_what_is_allowed(port: HealthServer, method: str) -> None:
    answer = ask(port, method=method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.json == {"error": "only GET and HEAD are answered"}


def test_an_unknown_path_is_404_and_names_the_known_ones(port: HealthServer) -> None:
    answer = ask(port, "/hello/")
    assert answer.status == 404
    assert answer.json == {"error": "no such path", "paths": ["/broken", "/hello"]}


def test_a_failing_route_is_500_without_its_reason(port: HealthServer) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{extra} {exception}", diagnose=False)
    try:
        answer = ask(port, "/broken", headers={"X-Request-ID": "look-for-me"})
    finally:
        logger.remove(sink)
    assert answer.status == 500
    assert b"secret" not in answer.body
    [logged] = [line for line in lines if "health.route_failed" in line]
    assert "look-for-me" in logged
    assert "an inner secret" in logged


@pytest.mark.parametrize("given", ["abc-1.2_3:4", "x" * 128])
def test_a_valid_request_id_is_echoed_and_handed_on(port: HealthServer, given: str) -> None:
    answer = ask(port, headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert answer.json["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", "two words", "x" * 129, "a\tb", "ключ".encode().decode("latin-1")]
)
def test_any_other_request_id_is_replaced(port: HealthServer, given: str) -> None:
    made = ask(port, headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_each_answer_is_told_of_by_its_path() -> None:
    told: list[tuple[str, float]] = []
    with HealthServer(Listen(port=0), ROUTES, lambda *answer: told.append(answer)) as server:
        for path in ("/hello?token=x", "/hello", "/absent/../hello"):
            ask(server, path)
        raw(server, b"nonsense\r\n\r\n")
    assert sorted(path for path, _ in told) == ["/hello", "/hello", "other", "other"]
    assert all(seconds >= 0 for _, seconds in told)


def test_refusals_carry_a_request_id_too(port: HealthServer) -> None:
    assert ask(port, "/nowhere").headers["X-Request-ID"]
    post = ask(port, method="POST", headers={"X-Request-ID": "mine"})
    assert post.headers["X-Request-ID"] == "mine"
    assert b"X-Request-ID: " in raw(port, b"nonsense\r\n\r\n")


def test_a_connection_serves_many_requests(port: HealthServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port.port, timeout=10)
    connection.connect()
    own_port = connection.sock.getsockname()[1]
    for _ in range(3):
        connection.request("GET", "/hello")
        assert Answer(connection.getresponse()).status == 200
        assert connection.sock.getsockname()[1] == own_port
    connection.close()


def test_requests_sent_ahead_are_answered_in_order(port: HealthServer) -> None:
    one = b"GET /hello?n=%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    received = raw(port, one % (1, b"") + one % (2, b"Connection: close\r\n"))
    assert re.findall(rb'"n":"(\d)"', received) == [b"1", b"2"]


@pytest.mark.parametrize("body", [b"Content-Length: 30", b"Transfer-Encoding: chunked"])
def test_a_body_never_passes_for_the_next_request(port: HealthServer, body: bytes) -> None:
    smuggled = b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = raw(
        port, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n" + body + b"\r\n\r\n" + smuggled
    )
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /hello HTTP/9.9\r\n\r\n", 505),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /hello HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /hello?" + b"a=1&" * 30 + b" HTTP/1.0\r\n\r\n", 400),
        (b"GET http://[/hello HTTP/1.0\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_read_is_refused_in_json(
    port: HealthServer, sent: bytes, status: int
) -> None:
    head, _, body = raw(port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert isinstance(json.loads(body)["error"], str)


def test_a_client_without_headers_is_answered(port: HealthServer) -> None:
    assert b'"query":{}' in raw(port, b"GET /hello HTTP/1.0\r\n\r\n")


# --- who is answered


@pytest.mark.parametrize(
    "host", ["localhost:1", "LOCALHOST", "x.localhost.", "127.0.0.1", "[::1]:8787"]
)
def test_without_a_token_this_machines_names_are_answered(port: HealthServer, host: str) -> None:
    assert ask(port, headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[", ""]
)
def test_a_name_that_only_points_here_is_not(port: HealthServer, host: str) -> None:
    answer = ask(port, headers={"Host": host})
    assert answer.status == 421
    assert "health.token" in answer.json["error"]


@pytest.fixture
def guarded() -> Iterator[HealthServer]:
    """A port that wants a token."""
    with opened(token=TOKEN) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/hello", {"Authorization": f"Bearer {TOKEN}"}),
        ("/hello", {"Authorization": f"bearer  {TOKEN}"}),
        ("/hello", {"Authorization": f"Bearer {TOKEN}", "Host": "daemon.example"}),
        ("/hello", {"Cookie": f"other=1; upbitd_PORT={session_of(TOKEN)}"}),
    ],
)
def test_a_token_opens(guarded: HealthServer, path: str, headers: Head) -> None:
    sent = {name: each.replace("PORT", str(guarded.port)) for name, each in headers.items()}
    answer = ask(guarded, path, headers=sent)
    assert answer.status == 200
    assert "token" not in answer.json["query"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/hello", {}),
        ("/nowhere", {}),
        ("/hello?token=", {}),
        ("/hello?token=wrong", {}),
        ("/hello", {"Authorization": "Bearer wrong"}),
        ("/hello", {"Authorization": f"Basic {TOKEN}"}),
        (f"/hello?token={TOKEN}", {"Authorization": "Bearer wrong"}),
        ("/hello", {"Authorization": "Bearer \xff"}),
        ("/hello", {"Cookie": f"upbitd_PORT={TOKEN}"}),
        ("/hello", {"Cookie": "upbitd_PORT=\xff; ;;="}),
        ("/hello", {"Authorization": "", "Cookie": f"upbitd_PORT={session_of(TOKEN)}"}),
    ],
)
def test_anything_else_is_401(guarded: HealthServer, path: str, headers: Head) -> None:
    sent = {name: each.replace("PORT", str(guarded.port)) for name, each in headers.items()}
    answer = ask(guarded, path, headers=sent)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="upbitd"'


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"/hello?token={TOKEN}", "/hello"),
        (f"/hello?a=1&token={TOKEN}&b=%0d%0aX: y", "/hello?a=1&b=%0D%0AX%3A+y"),
    ],
)
def test_a_token_in_the_address_becomes_a_cookie(
    guarded: HealthServer, path: str, place: str
) -> None:
    answer = ask(guarded, path.replace(" ", "+"))
    assert (answer.status, answer.headers["Location"]) == (303, place)
    cookie, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert TOKEN not in cookie
    assert ask(guarded, place, headers={"Cookie": cookie}).status == 200


def test_no_address_sends_the_caller_elsewhere(guarded: HealthServer) -> None:
    answer = ask(guarded, f"//evil.example/hello?token={TOKEN}")
    assert answer.headers["Location"] == "/evil.example/hello"


def test_the_token_is_in_no_log_line_and_no_text_form(guarded: HealthServer) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{extra}", level="TRACE", diagnose=False)
    try:
        ask(guarded, f"/hello?token={TOKEN}")
        ask(guarded, f"/broken?token={TOKEN}")
    finally:
        logger.remove(sink)
    assert any("health.request" in line for line in lines)
    assert TOKEN not in "".join(lines)
    assert TOKEN not in repr(Listen(token=TOKEN))


# --- who may not hold it up


def poll(holds: Callable[[], bool]) -> None:
    """Wait, for ten seconds at the most, until something holds."""
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never did")


def silent(server: HealthServer, stack: ExitStack) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return stack.enter_context(sock)


def test_many_silent_clients_do_not_keep_an_honest_one_out() -> None:
    with opened(threads=4, read_timeout_s=60) as server, ExitStack() as stack:
        hogs = [silent(server, stack) for _ in range(10)]
        assert ask(server).status == 200
        assert hogs[0].recv(1) == b""  # it had to go


def test_who_asks_all_the_time_does_not_keep_others_out() -> None:
    """Sixteen of them, one request every 0.3 s: of five probes in six seconds none was answered."""
    with opened(threads=4, read_timeout_s=1) as server, ExitStack() as stack:
        greedy = [silent(server, stack) for _ in range(4)]
        for sock in greedy:
            sock.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = [sock.makefile("rb").read() for sock in greedy]
        assert any(b"Connection: close" in answer for answer in answers)
        assert ask(server).status == 200


def test_one_address_with_many_connections_has_little_patience_left() -> None:
    with opened(threads=6, read_timeout_s=60) as server, ExitStack() as stack:
        port = server._open
        assert port is not None
        assert port.patience_s("127.0.0.1") == 60
        for _ in range(6):
            silent(server, stack)
        poll(port.is_crowded)
        assert port.patience_s("127.0.0.1") == GREEDY_GRACE_S
        assert port.patience_s("192.0.2.1") == GRACE_S


@pytest.mark.parametrize("path", ["/nowhere", "/hello?" + "a=1&" * 30])
def test_a_refusal_ends_the_connection(port: HealthServer, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert b"Connection: close" in raw(port, sent)


def test_a_wrong_token_ends_the_connection(guarded: HealthServer) -> None:
    assert b" 401 " in raw(guarded, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_a_connection_is_not_kept_for_ever(
    port: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health.handler.LONGEST_CONNECTION_S", 0.0)
    assert b" 200 " in raw(port, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 0\r\nContent-Length: 40",
        "Content-Length: 40\r\nContent-Length: 0",
        "Content-Length : 40",
        "Content-Length\t: 40",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: identity\r\nContent-Length: 0",
        "Content-Length: +40",
    ],
)
def test_a_body_is_never_read_as_a_request(port: HealthServer, fields: str) -> None:
    inner = "GET /hello?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sent = f"GET /hello HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n{inner}"
    assert raw(port, sent.encode()).count(b"HTTP/1.1 ") == 1


def test_a_reader_that_drips_is_left_at_the_total_deadline() -> None:
    def big(request: Request) -> Response:
        return Response(body=b"x" * 50_000_000)

    listen = Listen(port=0, threads=1, read_timeout_s=0.2)
    with HealthServer(listen, {**ROUTES, "/big": big}) as server, ExitStack() as stack:
        sock = silent(server, stack)
        sock.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        taken = 0
        while chunk := sock.recv(1024):
            taken += len(chunk)
            threading.Event().wait(0.001)
        assert taken < 50_000_000


def test_an_idle_connection_is_kept_while_there_is_room() -> None:
    with opened(threads=2, read_timeout_s=60) as server, ExitStack() as stack:
        idle = silent(server, stack)
        idle.settimeout(0.7)
        assert ask(server).status == 200
        with pytest.raises(TimeoutError):
            idle.recv(1)


def test_a_connection_that_works_is_never_the_one_to_go() -> None:
    inside, release = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        inside.set()
        release.wait(10)
        return json_response({"slow": True})

    routes_here = {**ROUTES, "/slow": slow}
    with HealthServer(Listen(port=0, threads=2), routes_here) as server, ExitStack() as stack:
        working = silent(server, stack)
        working.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert inside.wait(10)
        silent(server, stack)
        working.settimeout(0.7)
        with pytest.raises(TimeoutError):
            working.recv(1)
        working.settimeout(10)
        release.set()
        assert b'{"slow":true}' in working.makefile("rb").read()
        assert ask(server).status == 200


def test_with_every_thread_at_work_the_next_one_waits_its_turn() -> None:
    inside, release = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        inside.set()
        release.wait(10)
        return json_response({})

    routes_here = {**ROUTES, "/slow": slow}
    with HealthServer(Listen(port=0, threads=1), routes_here) as server, ExitStack() as stack:
        silent(server, stack).sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert inside.wait(10)
        waiting = silent(server, stack)
        waiting.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        release.set()
        assert b"200 OK" in waiting.makefile("rb").read()


def test_a_dripping_client_is_cut_off_at_the_total_deadline() -> None:
    with opened(read_timeout_s=0.2) as server, ExitStack() as stack:
        dripping = silent(server, stack)
        dripping.settimeout(0.01)
        received = None
        for _ in range(10_000):
            try:
                dripping.sendall(b"x")
                received = dripping.recv(1)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                received = b""
                break
        assert received == b""


def test_a_client_that_goes_away_leaves_nothing_behind(port: HealthServer) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            sock = silent(port, stack)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(b"GET /hello HTTP/1.1\r\n")
    assert [ask(port).status for _ in range(40)] == [200] * 40


def test_a_client_that_does_not_take_its_answer_is_left() -> None:
    def big(request: Request) -> Response:
        return Response(body=b"x" * 50_000_000)

    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}", level="DEBUG")
    listen = Listen(port=0, threads=1, read_timeout_s=0.1)
    with HealthServer(listen, {**ROUTES, "/big": big}) as server, ExitStack() as stack:
        silent(server, stack).sendall(b"GET /big HTTP/1.0\r\n\r\n")
        assert ask(server).status == 200
    logger.remove(sink)
    assert "DEBUG a client of the health port went away" in "".join(lines)


def test_a_thread_outlives_a_connection_that_fails_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(connection: object, client: object, port: object) -> None:
        raise ZeroDivisionError

    with opened(threads=1) as server:
        with monkeypatch.context() as patched:
            patched.setattr("health.server.serve_connection", fail)
            assert raw(server, b"") == b""
        assert ask(server).status == 200


def test_a_machine_without_descriptors_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([OSError(24, "Too many open files"), OSError(103, "aborted")])
    accept = socket.socket.accept

    def refuse_first(self: socket.socket) -> tuple[socket.socket, Any]:
        if (refusal := next(refusals, None)) is not None:
            raise refusal
        return accept(self)

    monkeypatch.setattr("socket.socket.accept", refuse_first)
    with opened(threads=1) as server:
        assert ask(server).status == 200


async def test_it_answers_while_the_loop_is_stuck() -> None:
    async def never() -> dict[str, object]:
        return {}

    loop = asyncio.get_running_loop()
    stats = routes.facts(routes.on_loop(loop, never, timeout_s=0.05))
    with HealthServer(Listen(port=0), {**ROUTES, "/stats": stats}) as server:
        # no await from here on: the loop is held
        assert ask(server).status == 200
        answer = ask(server, "/stats")
    assert answer.status == 503
    assert answer.json == {"error": "no answer within 0.05 s"}


# --- opening and closing


def test_a_port_in_use_names_the_key(port: HealthServer) -> None:
    with pytest.raises(CannotListen, match=rf"^health\.port: 127\.0\.0\.1:{port.port} is in use"):
        HealthServer(Listen(port=port.port), ROUTES).start()


def test_an_address_that_is_not_ours_names_the_key() -> None:
    with pytest.raises(CannotListen, match=r"^health\.host: cannot listen on 192\.0\.2\.1:0"):
        HealthServer(Listen(host="192.0.2.1", port=0), ROUTES).start()


def test_a_port_that_does_not_exist_names_the_key() -> None:
    with pytest.raises(CannotListen, match=r"^health\.port: 127\.0\.0\.1:70000 is not"):
        HealthServer(Listen(port=70000), ROUTES).start()


def test_a_privileged_port_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.bind", refuse)
    with pytest.raises(CannotListen, match=r"^health\.port: 127\.0\.0\.1:80 needs a privilege"):
        HealthServer(Listen(port=80), ROUTES).start()


def test_the_same_port_can_be_opened_again_at_once() -> None:
    with opened() as first:
        ask(first)
        number = first.port
    with opened(port=number) as again:
        assert ask(again).status == 200


def test_closing_ends_waiting_connections_and_the_threads() -> None:
    with ExitStack() as stack:
        server = HealthServer(Listen(port=0), ROUTES)
        server.start()
        waiting = silent(server, stack)
        assert ask(server).status == 200
        server.close()
        server.close()
        assert waiting.recv(1) == b""
    with pytest.raises(RuntimeError, match="not open"):
        _ = server.port


def test_the_switch_interval_is_given_back() -> None:
    before = sys.getswitchinterval()
    with opened(switch_interval_s=0.0007):
        assert sys.getswitchinterval() == pytest.approx(0.0007)
    assert sys.getswitchinterval() == before


def test_ipv6_loopback_works_where_there_is_one(has_ipv6: bool) -> None:
    if not has_ipv6:
        pytest.skip("this machine has no IPv6 loopback")
    with opened(host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        connection = http.client.HTTPConnection("::1", server.port, timeout=10)
        connection.request("GET", "/hello")
        assert Answer(connection.getresponse()).status == 200
        connection.close()


@pytest.fixture
def has_ipv6() -> bool:
    """Whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_many_at_once_are_all_answered(port: HealthServer) -> None:
    answers: list[int] = []

    def several(ask_once: Callable[[], Answer]) -> None:
        answers.extend(ask_once().status for _ in range(20))

    threads = [threading.Thread(target=several, args=(lambda: ask(port),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 320
