"""Both SDKs when calls are cancelled, when nobody answers, and when all ends in the middle."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest
from fixtures.decisions import MODEL, SLOT, Decisions
from fixtures.hostile_answers import envelope
from fixtures.raw_http import Raw, RawServer

from jobs.core.cooldowns import Gates
from jobs.core.errors import Unavailable
from jobs.gemini.answer import SCHEMA
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.model import Request
from jobs.gemini.source import GeminiSource

Sdk = Literal["google-genai", "google-generativeai"]
NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
GOOD = Raw(body=json.dumps(envelope("{}")).encode())
CALLS = 20
REQUEST = Request(
    model=MODEL, system="s", prompt="p", schema=SCHEMA, max_output_tokens=100, timeout_s=30.0
)

pytestmark = pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])


@asynccontextmanager
async def opened(sdk: Sdk, url: str, timeout_s: float = 30.0) -> AsyncIterator[GeminiClient]:
    connection = Connection(sdk=sdk, model=MODEL, api_key="k", base_url=url, timeout_s=timeout_s)
    async with open_model(connection, gates=Gates(lambda: NOW), clock=lambda: NOW) as client:
        yield client


def source_of(decisions: Decisions, client: GeminiClient, timeout_s: float) -> GeminiSource:
    source = decisions.source(client)
    return replace(source, asking=replace(source.asking, timeout_s=timeout_s))


async def test_a_cancelled_call_is_accounted_for_and_the_next_one_works(
    sdk: Sdk, decisions: Decisions, raw_server: RawServer
) -> None:
    """The provider has the request already: it may bill it, whoever went away."""
    raw_server.released.clear()
    async with opened(sdk, raw_server.url, timeout_s=2.0) as client:
        job = decisions.job(source_of(decisions, client, 2.0))
        task = asyncio.create_task(job.run(SLOT))
        await raw_server.waiting.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (call,) = decisions.rows("SELECT * FROM llm_calls")
        assert (call["outcome"], call["cost_known"]) == ("cancelled", False)
        assert 0 < call["cost_usd"] <= call["reserved_usd"]
        assert call["settled_at"] is not None
        raw_server.released.set()
        raw_server.answer = lambda _: GOOD
        assert (await client.generate(REQUEST)).text == "{}"
    await raw_server.closed.wait()


async def test_a_call_nobody_answers_costs_an_estimate(
    sdk: Sdk, decisions: Decisions, raw_server: RawServer
) -> None:
    raw_server.released.clear()
    async with opened(sdk, raw_server.url, timeout_s=0.3) as client:
        with pytest.raises(Unavailable):
            await decisions.job(source_of(decisions, client, 0.3)).run(SLOT)
        (call,) = decisions.rows("SELECT * FROM llm_calls")
        assert (call["outcome"], call["cost_known"]) == ("timeout", False)
        assert 0 < call["cost_usd"] <= call["reserved_usd"]
        raw_server.released.set()
    await raw_server.closed.wait()


async def test_closing_lets_every_call_in_flight_end(sdk: Sdk, raw_server: RawServer) -> None:
    raw_server.released.clear()
    raw_server.answer = lambda _: GOOD
    async with opened(sdk, raw_server.url) as client:
        calls = [asyncio.create_task(client.generate(REQUEST)) for _ in range(CALLS)]
        await raw_server.waiting.acquire()
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        assert not closing.done()
        raw_server.released.set()
        replies = await asyncio.gather(*calls)
        await closing
    assert [reply.text for reply in replies] == ["{}"] * CALLS
    assert raw_server.asked == CALLS
    await raw_server.closed.wait()


async def test_closing_waits_no_longer_than_the_calls_deadlines(
    sdk: Sdk, raw_server: RawServer
) -> None:
    """No answer ever comes: every call ends at its own deadline, and then the client closes."""
    raw_server.released.clear()
    hurried = replace(REQUEST, timeout_s=0.5)
    async with opened(sdk, raw_server.url, timeout_s=0.5) as client:
        calls = [asyncio.create_task(client.generate(hurried)) for _ in range(CALLS)]
        await raw_server.waiting.acquire()
        await client.aclose()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} <= {Unavailable} | {type(ends[0])}
    assert all(isinstance(end, Unavailable) for end in ends)
    raw_server.released.set()


async def test_a_storm_of_cancellations_leaves_a_client_that_works(
    sdk: Sdk, raw_server: RawServer
) -> None:
    raw_server.answer = lambda _: GOOD
    async with opened(sdk, raw_server.url) as client:
        for number in range(CALLS):
            call = asyncio.create_task(client.generate(REQUEST))
            for _ in range(number):  # cancelled a little further on each time
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert (await client.generate(REQUEST)).finish_reason == "STOP"
    await raw_server.closed.wait()
