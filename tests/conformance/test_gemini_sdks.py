"""Both Gemini SDKs through every scenario of the sandbox's Gemini, over real HTTP.

Whatever the SDK makes of an answer, the job must see the same: the same reply or the same error,
the same wait, the same bill, and exactly one request.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from fixtures.gemini import GeminiServer

from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError, NotSent, RateLimited, Refused, Unauthorized, Unavailable
from jobs.gemini.answer import SCHEMA, read_answer
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.model import Reply, Request
from sandbox.gemini import API_KEY
from sandbox.gemini_scenarios import NAMES

Sdk = Literal["google-genai", "google-generativeai"]
MODEL = "gemini-3.5-flash-lite"
NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
TABLE = {
    "columns": ["market", "ret_15", "rsi_14", "position_return_pct"],
    "rows": [
        ["KRW-BTC", "0.3000", "55.0", None],
        ["KRW-ETH", "-0.2000", "40.0", "1.5"],
        ["KRW-XRP", "0.0100", None, None],
    ],
}
MARKETS = ["KRW-BTC", "KRW-ETH", "KRW-XRP"]
REQUEST = Request(
    model=MODEL,
    system="Decide.",
    prompt=f"<market_data>\n{json.dumps(TABLE)}\n</market_data>",
    schema=SCHEMA,
    max_output_tokens=2000,
    timeout_s=20.0,
)

pytestmark = pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])


@asynccontextmanager
async def opened(sdk: Sdk, url: str, **changes: Any) -> AsyncIterator[GeminiClient]:
    given: dict[str, Any] = {
        "sdk": sdk,
        "model": MODEL,
        "api_key": API_KEY,
        "base_url": url,
        "timeout_s": 20.0,
    }
    connection = Connection(**(given | changes))
    async with open_model(connection, gates=Gates(lambda: NOW), clock=lambda: NOW) as client:
        yield client


async def ask(sdk: Sdk, server: GeminiServer, scenario: str, **changes: Any) -> Reply:
    request = replace(REQUEST, model=f"{MODEL}--{scenario}", **changes)
    async with opened(sdk, server.url, timeout_s=request.timeout_s) as client:
        return await client.generate(request)


@pytest.mark.parametrize(
    ("scenario", "finish", "usable"),
    [
        ("ok", "STOP", True),
        ("thoughts-and-cache", "STOP", True),
        ("unknown-fields", "STOP", True),
        ("rerouted", "STOP", True),
        ("unpriced", "STOP", True),
        ("off-list", "STOP", True),
        ("out-of-range", "STOP", True),
        ("contradiction", "STOP", True),
        ("doubled", "STOP", True),
        ("empty", "", False),
        ("max-tokens-half", "MAX_TOKENS", False),
        ("max-tokens-empty", "MAX_TOKENS", False),
        ("safety", "SAFETY", False),
        ("recitation", "RECITATION", False),
        ("blocked", "", False),
        ("stop-empty", "STOP", False),
        ("unknown-finish", "TIRED_OF_THIS", False),
        ("continuation", "CONTINUATION", False),
        ("wrong-shape", "STOP", False),
        ("prose", "STOP", False),
        ("fenced-json", "STOP", False),
        ("nan", "STOP", False),
    ],
)
async def test_an_answer_is_read_the_same_and_only_a_good_one_decides(
    sdk: Sdk, gemini_server: GeminiServer, scenario: str, finish: str, usable: bool
) -> None:
    reply = await ask(sdk, gemini_server, scenario)
    assert reply.finish_reason == finish
    assert gemini_server.fake.calls["generateContent"] == 1
    if not usable:
        with pytest.raises(JobError):
            read_answer(reply, MARKETS)
        return
    answer = read_answer(reply, MARKETS)
    whole = scenario in {"ok", "thoughts-and-cache", "unknown-fields", "rerouted", "unpriced"}
    assert len(answer.decisions) == (3 if whole else 2)
    assert bool(answer.refused) is not whole


@pytest.mark.parametrize(
    ("scenario", "kind", "wait_s", "source", "billed"),
    [
        ("429-header", RateLimited, 7.0, "retry-after", False),
        ("429-retry-info", RateLimited, 45.837906927, "retry-info", False),
        ("429-both", RateLimited, 17.0, "retry-info", False),
        ("429-message", RateLimited, 17.156209832, "retry-info", False),
        ("429-bare", RateLimited, None, "backoff", False),
        ("429-per-day", RateLimited, 5 * 3600.0, "retry-info", False),
        ("500", Unavailable, None, "backoff", False),
        ("503", Unavailable, None, "backoff", False),
        ("504", Unavailable, None, "backoff", True),
        ("502-html", Unavailable, None, "backoff", True),
        ("200-html", Unavailable, None, "backoff", True),
        ("400-key", Unauthorized, None, "", False),
        ("403", Unauthorized, None, "", False),
        ("400-argument", Refused, None, "", False),
        ("400-region", Refused, None, "", False),
        ("404", Refused, None, "", False),
        ("reset", Unavailable, None, "backoff", True),
        ("short-body", Unavailable, None, "backoff", True),
    ],
)
async def test_a_failure_is_the_same_error_with_the_same_wait(
    sdk: Sdk,
    gemini_server: GeminiServer,
    scenario: str,
    kind: type[JobError],
    wait_s: float | None,
    source: str,
    billed: bool,
) -> None:
    with pytest.raises(JobError) as caught:
        await ask(sdk, gemini_server, scenario)
    assert type(caught.value) is kind
    assert caught.value.context["may_be_billed"] is billed
    assert getattr(caught.value, "retry_after_s", None) == wait_s
    assert getattr(caught.value, "wait_source", "") == source
    assert API_KEY not in str(caught.value)
    assert gemini_server.fake.calls["generateContent"] == 1


async def test_a_dated_retry_after_is_understood(sdk: Sdk, gemini_server: GeminiServer) -> None:
    with pytest.raises(RateLimited) as caught:
        await ask(sdk, gemini_server, "429-header-date")
    assert caught.value.wait_source == "retry-after"


@pytest.mark.parametrize("scenario", ["hang", "drip"])
async def test_the_deadline_ends_what_no_socket_timeout_ends(
    sdk: Sdk, gemini_server: GeminiServer, scenario: str
) -> None:
    with pytest.raises(Unavailable, match="in time") as caught:
        await ask(sdk, gemini_server, scenario, timeout_s=0.3)
    assert caught.value.context["may_be_billed"] is True


def test_every_scenario_is_tried_here(sdk: Sdk) -> None:
    tried: set[str] = {"hang", "drip", "429-header-date"}
    for test in (
        test_an_answer_is_read_the_same_and_only_a_good_one_decides,
        test_a_failure_is_the_same_error_with_the_same_wait,
    ):
        (mark,) = [m for m in vars(test)["pytestmark"] if m.args[0][0] == "scenario"]
        tried |= {case[0] for case in mark.args[1]}
    assert tried == NAMES


@pytest.mark.parametrize(
    ("script", "requests"),
    [(["429-bare", "ok"], 2), (["503", "503", "ok"], 3), (["continuation", "continuation"], 1)],
)
async def test_nothing_is_repeated_behind_our_back(
    sdk: Sdk, gemini_server: GeminiServer, script: list[str], requests: int
) -> None:
    """Each call takes one answer of the script; the caller alone decides to call again."""
    fake = gemini_server.fake
    fake.script.extend(script)
    async with opened(sdk, gemini_server.url) as client:
        for made in range(1, requests + 1):
            try:
                reply = await client.generate(REQUEST)
            except JobError:
                assert made < requests
            assert fake.calls["generateContent"] == made
    assert reply.finish_reason == ("CONTINUATION" if requests == 1 else "STOP")


async def test_thoughts_and_cached_tokens_are_counted(
    sdk: Sdk, gemini_server: GeminiServer
) -> None:
    usage = (await ask(sdk, gemini_server, "thoughts-and-cache")).usage
    assert usage.thoughts > 0
    assert 0 < usage.cached < usage.prompt
    assert usage.output == usage.candidates + usage.thoughts


async def test_whoever_answered_is_named(sdk: Sdk, gemini_server: GeminiServer) -> None:
    assert (await ask(sdk, gemini_server, "rerouted")).model_version == "gemini-3.8-flash"


async def test_the_request_says_what_it_must(sdk: Sdk, gemini_server: GeminiServer) -> None:
    async with opened(sdk, gemini_server.url) as client:
        await client.generate(replace(REQUEST, temperature=0.5))
    (sent,) = gemini_server.fake.requests
    body: Any = sent["body"]
    config = body["generationConfig"]
    assert body["systemInstruction"]["parts"] == [{"text": "Decide."}]
    assert body["contents"][0]["parts"] == [{"text": REQUEST.prompt}]
    assert config["responseMimeType"] == "application/json"
    assert config["maxOutputTokens"] == 2000
    assert config["temperature"] == 0.5
    assert config["candidateCount"] == 1
    thinking = config.get("thinkingConfig", {})
    steered = sdk == "google-genai"  # the old SDK cannot
    assert (thinking.get("thinkingLevel", thinking.get("thinking_level")) == "MINIMAL") is steered


async def test_a_probe_proves_key_and_model_without_generating(
    sdk: Sdk, gemini_server: GeminiServer
) -> None:
    fake = gemini_server.fake
    async with opened(sdk, gemini_server.url) as client:
        await client.probe()
    async with opened(sdk, gemini_server.url, model="gemini-0.9-retired") as client:
        with pytest.raises(Refused, match="not found"):
            await client.probe()
    async with opened(sdk, gemini_server.url, api_key="WRONG-KEY") as client:
        with pytest.raises(Unauthorized, match="API key not valid"):
            await client.probe()
    assert fake.calls["models.get"] == 2  # the wrong key did not get so far
    assert not fake.calls["generateContent"]


async def test_a_wrong_key_is_unauthorized(sdk: Sdk, gemini_server: GeminiServer) -> None:
    async with opened(sdk, gemini_server.url, api_key="WRONG-KEY") as client:
        with pytest.raises(Unauthorized) as caught:
            await client.generate(REQUEST)
    assert "WRONG-KEY" not in str(caught.value)
    assert "WRONG-KEY" not in str(caught.value.__cause__)


async def test_the_api_version_is_the_configured_one(sdk: Sdk, gemini_server: GeminiServer) -> None:
    async with opened(sdk, gemini_server.url, api_version="v1") as client:
        await client.generate(REQUEST)
    (sent,) = gemini_server.fake.requests
    assert sent["version"] == ("v1" if sdk == "google-genai" else "v1beta")


async def test_nobody_listening_is_not_sent(sdk: Sdk, unused_url: str) -> None:
    async with opened(sdk, unused_url) as client:
        with pytest.raises(NotSent) as caught:
            await client.generate(REQUEST)
    assert caught.value.context["may_be_billed"] is False


async def test_a_proxy_is_not_asked_for_an_address_on_this_machine(
    sdk: Sdk, gemini_server: GeminiServer, unused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert (await ask(sdk, gemini_server, "ok")).finish_reason == "STOP"


async def test_one_client_serves_many_calls_one_after_another(
    sdk: Sdk, gemini_server: GeminiServer
) -> None:
    async with opened(sdk, gemini_server.url) as client:
        for _ in range(20):
            await client.generate(REQUEST)
    assert gemini_server.fake.calls["generateContent"] == 20


async def test_no_other_http_library_is_used(
    sdk: Sdk, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """google-genai switches to aiohttp wherever it is installed, as it is here."""
    import aiohttp
    import httpx2

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("not this library")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", refuse)
    monkeypatch.setattr(httpx2.AsyncClient, "send", refuse)
    async with opened(sdk, gemini_server.url) as client:
        await client.generate(REQUEST)


def test_only_the_chosen_sdk_is_imported_and_its_notices_are_quiet(sdk: Sdk) -> None:
    """With warnings as errors, as the old SDK's import would otherwise end the process."""
    chosen, other = {
        "google-genai": ("google.genai", "google.generativeai"),
        "google-generativeai": ("google.generativeai", "google.genai"),
    }[sdk]
    code = f"""
import asyncio, sys
from datetime import UTC, datetime
from jobs.core.cooldowns import Gates
from jobs.gemini.client import Connection, open_model

def now():
    return datetime.now(UTC)

async def main():
    connection = Connection(sdk={sdk!r}, model="m", api_key="k", base_url="http://127.0.0.1:9")
    async with open_model(connection, gates=Gates(now), clock=now):
        assert {chosen!r} in sys.modules
        assert {other!r} not in sys.modules

assert not [name for name in sys.modules if name.startswith("google.gen")]
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
