"""Every recorded and imagined answer of Gemini becomes the right reply or the right error."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.errors import JobError, RateLimited, Refused, Transient, Unauthorized, Unavailable
from jobs.core.untrusted import LONGEST_WAIT_S
from jobs.gemini import classify
from jobs.gemini.model import Exchange, Usage

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
FIXTURES = Path(__file__).parents[3] / "data" / "fixtures"


def recorded(kind: str) -> dict[str, dict[str, Any]]:
    document = json.loads((FIXTURES / f"gemini_{kind}.json").read_text(encoding="utf-8"))
    return {case["name"]: case for case in document["cases"]}


ERRORS = recorded("errors")
ANSWERS = recorded("success")


def error_of(status: int, body: object = None, headers: dict[str, str] | None = None) -> JobError:
    with pytest.raises(JobError) as caught:
        classify.read(Exchange(status=status, headers=headers or {}, body=body), NOW)
    return caught.value


def body_of(message: str = "", *details: object) -> dict[str, object]:
    return {"error": {"code": 429, "message": message, "details": list(details)}}


def retry_info(delay: object) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("429_per_day_free_tier", RateLimited),
        ("429_per_minute_free_tier", RateLimited),
        ("429_short", RateLimited),
        ("503_overloaded", Unavailable),
        ("503_high_demand", Unavailable),
        ("500_internal", Unavailable),
        ("400_api_key_invalid", Unauthorized),
        ("404_model", Refused),
    ],
)
def test_each_recorded_error_has_its_class(name: str, kind: type[JobError]) -> None:
    case = ERRORS[name]
    error = error_of(case["http_status"], case["body"])
    assert type(error) is kind
    assert "\n" not in str(error)
    assert not classify.may_be_billed(error)


def test_a_per_day_quota_waits_for_midnight_pacific_not_for_the_short_delay() -> None:
    case = ERRORS["429_per_day_free_tier"]
    error = error_of(429, case["body"])
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == timedelta(hours=5).total_seconds()  # 03:00 UTC is 19:00 PST
    assert error.wait_source == "retry-info"
    assert error.context["per_day"] is True
    assert "PerDay" in str(error.context["quota"])


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        (datetime(2026, 11, 20, 7, 59, tzinfo=UTC), datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), datetime(2026, 11, 21, 8, 0, tzinfo=UTC)),
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), datetime(2026, 7, 2, 7, 0, tzinfo=UTC)),
        (datetime(2026, 11, 1, 8, 30, tzinfo=UTC), datetime(2026, 11, 2, 8, 0, tzinfo=UTC)),
    ],
)
def test_the_quota_day_ends_at_midnight_pacific_summer_and_winter(
    now: datetime, midnight: datetime
) -> None:
    assert classify.next_quota_day(now) == midnight


@pytest.mark.parametrize(
    ("headers", "body", "wait_s", "source"),
    [
        ({"retry-after": "7"}, None, 7.0, "retry-after"),
        ({"retry-after": "Fri, 20 Nov 2026 03:01:30 GMT"}, None, 90.0, "retry-after"),
        ({"retry-after": "Fri, 20 Nov 2026 02:00:00 GMT"}, None, 0.0, "retry-after"),
        ({"retry-after": "soon"}, None, None, "backoff"),
        ({"retry-after": "inf"}, None, None, "backoff"),
        ({"retry-after": "Fri, 20 Nov 2026 03:01:30"}, None, None, "backoff"),
        ({"retry-after": "-5"}, None, 0.0, "retry-after"),
        ({"retry-after": "99999999999"}, None, 7 * 86400.0, "retry-after"),
        ({}, body_of("", retry_info("45.837906927s")), 45.837906927, "retry-info"),
        ({}, body_of("", retry_info("17s")), 17.0, "retry-info"),
        ({}, body_of("", retry_info("0.000000001s")), 1e-9, "retry-info"),
        ({}, body_of("", retry_info("1m")), None, "backoff"),
        ({}, body_of("", retry_info(17)), None, "backoff"),
        ({}, body_of("", retry_info("999999999999s")), 7 * 86400.0, "retry-info"),
        ({"retry-after": "30"}, body_of("", retry_info("17.5s")), 30.0, "retry-after"),
        ({"retry-after": "3"}, body_of("", retry_info("17.5s")), 17.5, "retry-info"),
        ({}, body_of("Please retry in 17.156209832s."), 17.156209832, "retry-info"),
        ({}, body_of("Please retry in 1h2m3.5s."), 3723.5, "retry-info"),
        ({}, body_of("Please retry in 250ms."), 0.25, "retry-info"),
        ({}, body_of("Please retry in 9s.", retry_info("2s")), 2.0, "retry-info"),
        ({}, body_of("Please wait."), None, "backoff"),
        ({}, "<html>", None, "backoff"),
    ],
)
def test_a_429_says_how_long_to_wait(
    headers: dict[str, str], body: object, wait_s: float | None, source: str
) -> None:
    error = error_of(429, body, headers)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == wait_s
    assert error.wait_source == source


def test_a_busy_server_s_wait_is_kept_too() -> None:
    error = error_of(503, body_of("busy"), {"retry-after": "12"})
    assert isinstance(error, Unavailable)
    assert (error.retry_after_s, error.wait_source) == (12.0, "retry-after")


@pytest.mark.parametrize(
    ("status", "body", "kind", "billed"),
    [
        (500, body_of("internal"), Unavailable, False),
        (503, body_of("busy"), Unavailable, False),
        (504, body_of("deadline"), Unavailable, True),
        (502, None, Unavailable, True),
        (500, None, Unavailable, True),
        (404, None, Unavailable, True),
        (302, None, Unavailable, True),
        (408, body_of("timeout"), Unavailable, True),
        (200, None, Unavailable, True),
        (200, [1], Unavailable, True),
        (401, body_of("who"), Unauthorized, False),
        (403, body_of("no"), Unauthorized, False),
        (400, body_of("bad"), Refused, False),
        (404, body_of("gone"), Refused, False),
    ],
)
def test_status_and_body_decide_class_and_whether_it_may_cost(
    status: int, body: object, kind: type[JobError], billed: bool
) -> None:
    error = error_of(status, body)
    assert type(error) is kind
    assert classify.may_be_billed(error) is billed


def test_a_refusal_is_named_by_reason_then_status_then_number() -> None:
    reason = {"@type": "x/google.rpc.ErrorInfo", "reason": "API_KEY_SERVICE_BLOCKED"}
    named = error_of(400, {"error": {"status": "INVALID_ARGUMENT", "details": [reason]}})
    assert isinstance(named, Unauthorized)
    assert named.name == "API_KEY_SERVICE_BLOCKED"
    by_status = error_of(400, {"error": {"status": "FAILED_PRECONDITION", "message": "region"}})
    assert isinstance(by_status, Refused)
    assert by_status.name == "FAILED_PRECONDITION"
    by_number = error_of(418, {"error": {"message": "teapot"}})
    assert isinstance(by_number, Refused)
    assert (by_number.name, by_number.status) == ("HTTP_418", 418)


def read(body: object) -> Any:
    return classify.read(Exchange(status=200, headers={}, body=body), NOW)


def test_recorded_answers_give_text_finish_usage_and_version() -> None:
    reply = read(ANSWERS["text_2_5_flash"]["body"])
    assert reply.text == "Hello! How can I help you today?"
    assert reply.finish_reason == "STOP"
    assert reply.usage == Usage(prompt=9, candidates=9, thoughts=34)
    assert reply.model_version == "gemini-2.5-flash"


def test_recorded_unfinished_answers_are_read_as_such() -> None:
    half = read(ANSWERS["max_tokens_partial_text"]["body"])
    assert (half.text, half.finish_reason) == ("The capital of France is", "MAX_TOKENS")
    empty = read(ANSWERS["max_tokens_no_parts"]["body"])
    assert (empty.text, empty.finish_reason) == (None, "MAX_TOKENS")
    unsafe = read(ANSWERS["finish_safety_empty_content"]["body"])
    assert (unsafe.text, unsafe.finish_reason) == (None, "SAFETY")


def test_thought_parts_are_no_text() -> None:
    parts = [{"text": "hm", "thought": True}, {"text": "{"}, {"functionCall": {}}, {"text": "}"}]
    assert read({"candidates": [{"content": {"parts": parts}}]}).text == "{}"


def test_a_blocked_prompt_names_its_reason() -> None:
    reply = read({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
    assert (reply.block_reason, reply.text, reply.finish_reason) == ("PROHIBITED_CONTENT", None, "")


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("models/gemini-3.8-flash", "gemini-3.8-flash"),
        ("gemini\x00", None),
        ("a" * 101, None),
        (7, None),
    ],
)
def test_a_model_version_is_a_plain_name_or_nothing(version: object, kept: str | None) -> None:
    assert read({"modelVersion": version}).model_version == kept


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, Usage()),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 115},
            Usage(prompt=10, candidates=5, thoughts=100),
        ),
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 4, "totalTokenCount": 14},
            Usage(prompt=10, tool_use=4),
        ),
        ({"promptTokenCount": 10, "cachedContentTokenCount": 12}, Usage(prompt=10, cached=10)),
        (
            {"promptTokenCount": -3, "candidatesTokenCount": "9", "thoughtsTokenCount": True},
            Usage(),
        ),
        ({"promptTokenCount": 10**30}, Usage(prompt=10_000_000)),
    ],
)
def test_usage_is_read_and_thoughts_are_rebuilt_from_the_total(
    counts: dict[str, object], usage: Usage
) -> None:
    assert classify.read_usage(counts) == usage


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "error",
        "details",
        "message",
        "status",
        "candidates",
        "content",
        "parts",
        "text",
        "finishReason",
        "usageMetadata",
        "promptFeedback",
        "retryDelay",
        "violations",
        "@type",
    ]
)
shaped = st.recursive(
    anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(status=st.integers(100, 599), body=shaped, after=st.text(max_size=40))
def test_no_answer_at_all_is_a_bug(status: int, body: object, after: str) -> None:
    """Whatever comes back is a Reply or one of our errors, and a wait is never negative."""
    exchange = Exchange(status=status, headers={"retry-after": after}, body=body)
    assert 0 <= _wait_of(exchange) <= LONGEST_WAIT_S


def _wait_of(exchange: Exchange) -> float:
    try:
        classify.read(exchange, NOW)
    except JobError as error:
        return (error.retry_after_s or 0.0) if isinstance(error, Transient) and str(error) else 0.0
    return 0.0
