"""Transport truth against a real socket: what the line does, and what we may conclude."""

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from loguru import logger

from jobs.core.cooldowns import Gates
from jobs.core.errors import BadData, Banned, NotSent, RateLimited, Refused, Unavailable
from jobs.core.http_clients import settings
from jobs.core.job import RunCounters, current_counters
from jobs.upbit.http import Call, Sender, open_http, timeouts
from jobs.upbit.limits import EXCHANGE, QUOTATION, Limit, Limiter
from jobs.upbit.signing import Keys, Signer

NOW = datetime(2026, 1, 5, tzinfo=UTC)
TICKER = Call(method="GET", path="/v1/ticker", group="ticker", params=[("markets", "KRW-BTC")])
ORDER = Call(
    method="POST", path="/v1/orders", group="order", params=[("market", "KRW-BTC")], signed=True
)
OPEN = Call(
    method="GET",
    path="/v1/orders/open",
    group="default",
    params=[("states[]", "wait"), ("to", "a+b:c")],
    signed=True,
)

SIGNER = Signer(Keys("access", "secret" * 8))

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that reads one request per connection and then does as it is told."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer: Answer = reply(200, "[]")
        self.asked = asyncio.Event()
        self.released = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.lower().splitlines()
                if line[:15] == b"content-length:"
            ),
            0,
        )
        self.requests.append(head + await reader.readexactly(length))
        self.asked.set()
        await self.answer(writer)
        writer.close()

    def headers(self) -> dict[str, str]:
        lines = self.requests[-1].partition(b"\r\n\r\n")[0].decode().splitlines()[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def reply(status: int, body: str, *headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        content = body.encode()
        lines = [
            f"HTTP/1.1 {status} X",
            f"Content-Length: {len(content)}",
            "Connection: close",
            *headers,
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()

    return answer


async def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def half_a_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()


async def not_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()


async def bad_gzip(writer: asyncio.StreamWriter) -> None:
    await reply(200, "no gzip", "Content-Encoding: gzip")(writer)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield peer
    peer.released.set()
    await asyncio.gather(*peer.tasks)
    server.close()
    await server.wait_closed()


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test."""
    seen: list[dict[str, Any]] = []
    sink = logger.add(
        lambda message: seen.append(
            {"level": message.record["level"].name, **message.record["extra"]}
        ),
        level="DEBUG",
    )
    yield seen
    logger.remove(sink)


def gates() -> Gates:
    return Gates(lambda: NOW)


@asynccontextmanager
async def sending(
    url: str,
    shut: Gates | None = None,
    *,
    timeout_s: float = 5.0,
    limiter: Limiter | None = None,
    signer: Signer | None = SIGNER,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Sender]:
    own = open_http(settings(url), timeout_s=timeout_s, max_connections=5)
    async with own if transport is None else httpx.AsyncClient(transport=transport) as http:
        yield Sender(
            http,
            base_url=url + "/",
            signer=signer,
            gates=shut or gates(),
            limiter=limiter or Limiter(),
            clock=lambda: NOW,
            timeout_s=timeout_s,
        )


async def test_the_query_goes_out_encoded_and_nothing_else_with_it(peer: Peer) -> None:
    async with sending(peer.url) as sender:
        assert await sender.json(OPEN) == []
    assert peer.requests[0].startswith(
        b"GET /v1/orders/open?states%5B%5D=wait&to=a%2Bb%3Ac HTTP/1.1"
    )
    headers = peer.headers()
    assert headers["authorization"].startswith("Bearer ey")
    assert "origin" not in headers
    assert "content-type" not in headers


async def test_a_body_is_json_of_strings(peer: Peer) -> None:
    peer.answer = reply(201, "{}")
    async with sending(peer.url) as sender:
        assert await sender.json(ORDER) == {}
    assert peer.requests[0].endswith(b'\r\n\r\n{"market":"KRW-BTC"}')
    assert peer.headers()["content-type"] == "application/json; charset=utf-8"


async def test_public_calls_carry_no_token(peer: Peer) -> None:
    async with sending(peer.url) as sender:
        await sender.json(TICKER)
    assert "authorization" not in peer.headers()


async def test_every_attempt_is_signed_anew(peer: Peer) -> None:
    tokens = set()
    async with sending(peer.url) as sender:
        for _ in range(3):
            await sender.json(OPEN)
            tokens.add(peer.headers()["authorization"])
    assert len(tokens) == 3


async def test_a_signed_call_without_keys_is_a_bug_and_is_not_sent(peer: Peer) -> None:
    async with sending(peer.url, signer=None) as sender:
        with pytest.raises(LookupError):
            await sender.json(OPEN)
    assert peer.requests == []


@pytest.mark.parametrize("trouble", [reset, hang_up, half_a_body, not_http, bad_gzip])
@pytest.mark.parametrize("call", [TICKER, ORDER])
async def test_a_broken_line_after_sending_is_no_answer_and_nothing_is_repeated(
    peer: Peer, trouble: Answer, call: Call
) -> None:
    peer.answer = trouble
    async with sending(peer.url) as sender:
        with pytest.raises(Unavailable):
            await sender.json(call)
    assert len(peer.requests) == 1


async def test_silence_ends_with_the_deadline(peer: Peer) -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await peer.released.wait()

    peer.answer = silence
    async with sending(peer.url, timeout_s=0.6) as sender:
        with pytest.raises(Unavailable):
            await sender.json(TICKER)


async def test_an_answer_that_drips_ends_with_the_deadline(peer: Peer) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n")
        while not peer.released.is_set() and not writer.transport.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.005)  # each byte is well inside the read time-out

    peer.answer = drip
    async with sending(peer.url, timeout_s=0.6) as sender:
        with pytest.raises(Unavailable, match="TimeoutError"):
            await sender.json(TICKER)


async def test_no_connection_means_not_sent_and_uses_no_quota() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        async with sending(f"http://127.0.0.1:{taken.getsockname()[1]}") as sender:
            for _ in range(20):  # more than a second holds
                with pytest.raises(NotSent):
                    await sender.json(ORDER)


async def test_a_busy_connection_pool_means_not_sent() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("busy", request=request)

    async with sending("http://x", transport=httpx.MockTransport(refuse)) as sender:
        with pytest.raises(NotSent):
            await sender.json(TICKER)


async def test_cancelling_cancels_the_request(peer: Peer) -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await peer.released.wait()

    peer.answer = silence
    async with sending(peer.url) as sender:
        task = asyncio.create_task(sender.json(TICKER))
        await peer.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, "<html>Bad Gateway</html>", Unavailable),
        (301, "", Unavailable),
        (400, '{"error":{"name":400,"message":"Invalid parameter"}}', Refused),
        (200, "[" * 50_000, BadData),
        (400, "[" * 50_000, Unavailable),
        (400, '{"error":{"name":1E+99999999999999999999}}', Unavailable),
        (400, '{"error":{"name":"x","message":"bad \\ud800 \\u0000 \\u001b[2J"}}', Refused),
    ],
)
async def test_failed_answers(peer: Peer, status: int, body: str, kind: type[Exception]) -> None:
    peer.answer = reply(status, body)
    async with sending(peer.url) as sender:
        with pytest.raises(kind):
            await sender.json(TICKER)


@pytest.mark.parametrize("body", ["", "<html>hello</html>", '[{"market":"KRW-', "[NaN]"])
async def test_a_page_or_half_an_answer_to_a_question_may_be_asked_again(
    peer: Peer, body: str
) -> None:
    peer.answer = reply(200, body)
    async with sending(peer.url) as sender:
        with pytest.raises(Unavailable, match="not JSON") as caught:
            await sender.json(TICKER)
        with pytest.raises(BadData, match="not JSON"):
            await sender.json(ORDER)
    assert caught.value.context["begins"] == body
    assert caught.value.retry_after_s is None
    assert len(peer.requests) == 2


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("call", [TICKER, OPEN, ORDER], ids=lambda call: call.group)
@pytest.mark.parametrize("header", ["Fri, 31 Dec 9999 23:59:59 GMT", "999999999", "86400"])
async def test_no_header_closes_a_group_for_more_than_an_hour(
    peer: Peer, status: int, call: Call, header: str
) -> None:
    peer.answer = reply(status, "no", f"Retry-After: {header}")
    shut = gates()
    async with sending(peer.url, shut) as sender:
        with pytest.raises(RateLimited if status == 429 else Banned):
            await sender.json(call)
    assert {gate.until for gate in shut.closed()} == {NOW + timedelta(hours=1)}


def packed(content: bytes, *, most: int | None = None) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        body = gzip.compress(content)[:most]
        head = f"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def test_gzip_alone_is_asked_for_and_unpacked(peer: Peer) -> None:
    peer.answer = packed(b"[1]")
    async with sending(peer.url) as sender:
        assert await sender.json(TICKER) == [1]
    assert peer.headers()["accept-encoding"] == "gzip"


async def test_a_small_body_that_unpacks_to_hundreds_of_megabytes_is_stopped(peer: Peer) -> None:
    tracemalloc.start()
    peer.answer = packed(b"[" + b" " * 200_000_000 + b"]")
    async with sending(peer.url) as sender:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        with pytest.raises(Unavailable, match="longer than 8388608 bytes"):
            await sender.json(TICKER)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 40_000_000


async def test_a_body_that_never_ends_is_stopped(peer: Peer) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\n\r\n")
        try:
            while True:
                writer.write(b" " * 1_000_000)
                await writer.drain()
        except ConnectionError:
            pass

    peer.answer = answer
    async with sending(peer.url) as sender:
        with pytest.raises(Unavailable, match="longer than 8388608 bytes"):
            await sender.json(TICKER)


async def test_half_of_a_packed_body_and_other_packings_are_no_answer(peer: Peer) -> None:
    async with sending(peer.url) as sender:
        for peer.answer in (
            packed(b"[1, 2, 3]" * 1000, most=30),
            reply(200, "[]", "Content-Encoding: br"),
        ):
            with pytest.raises(Unavailable, match="DecodingError"):
                await sender.json(TICKER)


async def test_429_closes_the_gate_of_its_group_until_the_next_window(peer: Peer) -> None:
    peer.answer = reply(429, "Too many API requests.")
    shut = gates()
    async with sending(peer.url, shut) as sender:
        with pytest.raises(RateLimited) as first:
            await sender.json(TICKER)
        with pytest.raises(RateLimited):
            await sender.json(TICKER)
        peer.answer = reply(200, "[]")
        await sender.json(OPEN)  # another group goes on
    assert (first.value.retry_after_s, first.value.wait_source) == (1.0, "remaining-req")
    assert [gate.name for gate in shut.closed()] == ["upbit:ticker"]
    assert len(peer.requests) == 2  # nothing went out inside the wait


@pytest.mark.parametrize("header", ["7", "Mon, 05 Jan 2026 00:00:07 GMT"])
async def test_429_with_retry_after_is_heeded(peer: Peer, header: str) -> None:
    peer.answer = reply(429, "", f"Retry-After: {header}")
    shut = gates()
    async with sending(peer.url, shut) as sender:
        with pytest.raises(RateLimited) as caught:
            await sender.json(TICKER)
    assert (caught.value.retry_after_s, caught.value.wait_source) == (7.0, "retry-after")
    assert shut.wait_s("upbit:ticker") == 7


@pytest.mark.parametrize(("call", "side"), [(TICKER, QUOTATION), (OPEN, EXCHANGE)])
async def test_418_closes_every_group_of_its_side(
    peer: Peer, call: Call, side: dict[str, Any]
) -> None:
    peer.answer = reply(418, '{"error":{"name":418,"message":"90초 동안 차단"}}')
    shut = gates()
    async with sending(peer.url, shut) as sender:
        with pytest.raises(Banned) as caught:
            await sender.json(call)
    assert (caught.value.retry_after_s, caught.value.wait_source) == (90, "ban")
    assert {gate.name for gate in shut.closed()} == {f"upbit:{group}" for group in side}
    assert {gate.until for gate in shut.closed()} == {NOW + timedelta(seconds=90)}


async def test_a_closed_gate_lets_nothing_out(peer: Peer) -> None:
    shut = gates()
    shut.close("upbit", 5, source="ban", reason="all of it")
    async with sending(peer.url, shut) as sender:
        with pytest.raises(Banned):
            await sender.json(TICKER)
    assert peer.requests == []


async def test_a_gate_that_closes_while_a_call_queues_stops_it(peer: Peer) -> None:
    shut, now = gates(), [0.0]

    async def sleep(seconds: float) -> None:
        shut.close("upbit:ticker", 5, source="retry-after", reason="meanwhile")
        now[0] += seconds

    limiter = Limiter(limits={"ticker": Limit(1)}, share=1.0, monotonic=lambda: now[0], sleep=sleep)
    async with sending(peer.url, shut, limiter=limiter) as sender:
        await sender.json(TICKER)
        with pytest.raises(RateLimited):
            await sender.json(TICKER)
    assert len(peer.requests) == 1


async def test_every_request_is_counted_for_its_run(peer: Peer) -> None:
    tally = RunCounters()
    token = current_counters.set(tally)
    try:
        async with sending(peer.url) as sender:
            await sender.json(TICKER)
            await sender.json(OPEN)
    finally:
        current_counters.reset(token)
    assert tally.api_calls == 2


async def test_one_line_a_request(peer: Peer, lines: list[dict[str, Any]]) -> None:
    peer.answer = reply(200, "[]", "Remaining-Req: group=ticker; min=600; sec=9")
    async with sending(peer.url) as sender:
        await sender.json(TICKER)
    (line,) = lines
    assert line.pop("ms") >= 0
    assert len(line.pop("request_id")) == 32
    assert line == {
        "level": "DEBUG",
        "event": "api.request",
        "method": "GET",
        "path": "/v1/ticker",
        "group": "ticker",
        "status": 200,
        "remaining": "group=ticker; min=600; sec=9",
    }


@pytest.mark.parametrize(
    ("answer", "level", "status"),
    [
        (reply(400, '{"error":{"name":"under_min_total_bid"}}'), "INFO", 400),
        (reply(401, '{"error":{"name":"nonce_used"}}'), "WARNING", 401),
        (reply(429, ""), "WARNING", 429),
        (reply(503, ""), "WARNING", 503),
        (reset, "WARNING", None),
    ],
)
async def test_a_failed_request_is_one_louder_line(
    peer: Peer, lines: list[dict[str, Any]], answer: Answer, level: str, status: int | None
) -> None:
    peer.answer = answer
    async with sending(peer.url) as sender:
        with pytest.raises((Unavailable, Refused, RateLimited)) as caught:
            await sender.json(OPEN)
    (line,) = lines
    assert (line["event"], line["level"], line["status"]) == ("api.request", level, status)
    assert line["request_id"] == caught.value.context["request_id"]
    assert "Bearer" not in str(line)


async def test_a_refusal_that_was_hoped_for_is_no_warning(
    peer: Peer, lines: list[dict[str, Any]]
) -> None:
    """The question whether the key may withdraw warned at every start of a key that may not."""
    peer.answer = reply(401, '{"error":{"name":"out_of_scope"}}')
    async with sending(peer.url) as sender:
        for expected, level in ((frozenset({"out_of_scope"}), "INFO"), (frozenset(), "WARNING")):
            with pytest.raises(Refused):
                await sender.json(replace(OPEN, expected=expected))
            assert lines[-1]["level"] == level


def test_connecting_ends_before_the_whole_call_does() -> None:
    limits = timeouts(5.0)
    assert limits.connect is not None
    assert limits.pool is not None
    assert limits.pool + 2 * limits.connect < 5.0  # TCP, then TLS
    assert limits.read == limits.write == 5.0
