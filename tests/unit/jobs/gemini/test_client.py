"""The client over a wire: one request a call, the gate, the deadline, and an orderly end."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from jobs.core.cooldowns import Gates
from jobs.core.errors import RateLimited, Refused, Unavailable
from jobs.core.job import RunCounters, current_counters
from jobs.gemini.client import Connection, GeminiClient
from jobs.gemini.model import Exchange, Request

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
REQUEST = Request(
    model="gemini-3.5-flash-lite",
    system="s",
    prompt="p",
    schema={},
    max_output_tokens=10,
    timeout_s=5.0,
)
GOOD = Exchange(
    status=200,
    headers={},
    body={"candidates": [{"content": {"parts": [{"text": "{}"}]}, "finishReason": "STOP"}]},
)
BUSY = Exchange(status=429, headers={"retry-after": "30"}, body={"error": {"message": "quota"}})


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeWire:
    """Answers what it is told, and counts."""

    def __init__(self, answer: Callable[[], Awaitable[Exchange]]) -> None:
        self._answer = answer
        self.sent = 0
        self.closed = False

    async def generate(self, request: Request) -> Exchange:
        self.sent += 1
        return await self._answer()

    async def describe(self, model: str, timeout_s: float) -> Exchange:
        self.sent += 1
        return await self._answer()

    async def aclose(self) -> None:
        self.closed = True


def always(answer: Exchange) -> Callable[[], Awaitable[Exchange]]:
    async def give() -> Exchange:
        return answer

    return give


def client_of(wire: FakeWire, clock: Clock) -> tuple[GeminiClient, Gates]:
    gates = Gates(clock)
    model = GeminiClient(wire, model=REQUEST.model, gates=gates, clock=clock)
    return model, gates


async def test_a_call_is_one_request_and_is_counted() -> None:
    wire = FakeWire(always(GOOD))
    client, _ = client_of(wire, Clock())
    tally = RunCounters()
    current_counters.set(tally)
    reply = await client.generate(REQUEST)
    assert reply.finish_reason == "STOP"
    assert (wire.sent, tally.api_calls) == (1, 1)


async def test_a_429_closes_the_gate_and_nothing_is_sent_inside_it() -> None:
    clock = Clock()
    wire = FakeWire(always(BUSY))
    client, gates = client_of(wire, clock)
    with pytest.raises(RateLimited):
        await client.generate(REQUEST)
    clock.pass_time(29.9)
    with pytest.raises(RateLimited, match="closed") as refused:
        await client.generate(REQUEST)
    assert refused.value.retry_after_s == pytest.approx(0.1)
    with pytest.raises(RateLimited):
        await client.probe()
    assert wire.sent == 1
    assert gates.closed()[0].source == "retry-after"
    clock.pass_time(0.2)
    with pytest.raises(RateLimited):
        await client.generate(REQUEST)
    assert wire.sent == 2


async def test_a_429_without_a_wait_leaves_the_gate_open() -> None:
    bare = Exchange(status=429, headers={}, body={"error": {"message": "quota"}})
    client, gates = client_of(FakeWire(always(bare)), Clock())
    with pytest.raises(RateLimited):
        await client.generate(REQUEST)
    assert gates.closed() == []


async def test_a_busy_server_s_wait_closes_the_gate_too() -> None:
    busy = Exchange(status=503, headers={"retry-after": "3"}, body={"error": {"message": "x"}})
    client, gates = client_of(FakeWire(always(busy)), Clock())
    with pytest.raises(Unavailable):
        await client.probe()
    assert gates.wait_s("gemini") == 3.0


async def test_a_refusal_closes_nothing() -> None:
    refused = Exchange(status=404, headers={}, body={"error": {"message": "no such model"}})
    client, gates = client_of(FakeWire(always(refused)), Clock())
    with pytest.raises(Refused):
        await client.probe()
    assert gates.closed() == []


async def test_a_probe_is_content_with_any_json_object() -> None:
    client, _ = client_of(FakeWire(always(Exchange(status=200, headers={}, body={}))), Clock())
    await client.probe()


async def test_the_whole_call_ends_at_its_deadline() -> None:
    cancelled = asyncio.Event()

    async def hang() -> Exchange:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    client, _ = client_of(FakeWire(hang), Clock())
    hurried = Request(
        **{name: getattr(REQUEST, name) for name in Request.__slots__} | {"timeout_s": 0.01}
    )
    with pytest.raises(Unavailable, match="in time") as caught:
        await client.generate(hurried)
    assert cancelled.is_set()
    assert caught.value.context["timed_out"] is True
    assert caught.value.context["may_be_billed"] is True


async def test_closing_waits_for_the_call_in_flight() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Exchange:
        begun.set()
        await go_on.wait()
        return GOOD

    wire = FakeWire(slow)
    client, _ = client_of(wire, Clock())
    call = asyncio.create_task(client.generate(REQUEST))
    await begun.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    assert not wire.closed
    go_on.set()
    assert (await call).text == "{}"
    await closing
    assert wire.closed


def test_a_connection_never_shows_its_key() -> None:
    connection = Connection(sdk="google-genai", model="m", api_key="SECRET-OF-MINE")
    assert "SECRET" not in repr(connection)
