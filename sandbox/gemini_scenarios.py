"""Everything else that Gemini, a proxy or the network may do instead of answering well.

A scenario is chosen by its name: in the script queue, or after `--` in the model's name
(`gemini-3.5-flash-lite--429-header`). Bodies are those of recorded answers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal

How = Literal["whole", "hang", "drip", "reset", "short"]

QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n"
    "* Quota exceeded for metric: generativelanguage.googleapis.com/"
    "generate_content_free_tier_requests, limit: 10"
)
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
TYPE = "type.googleapis.com/google.rpc."
GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"
PORTAL = b"<!doctype html><html><body>Please sign in to the network</body></html>"

Document = dict[str, object]
NO_PARTS: Document = {"role": "model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes over the wire, and how."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=UTF-8"
    how: How = "whole"


def error(
    code: int, status: str, message: str, *details: Document, headers: Mapping[str, str] = {}
) -> Answer:
    """An error in Google's form."""
    body: Document = {"code": code, "message": message, "status": status}
    if details:
        body["details"] = list(details)
    return Answer(status=code, body=_dump({"error": body}), headers=headers)


def bad_key() -> Answer:
    """A key that is not accepted: 400, not 401."""
    message = "API key not valid. Please pass a valid API key."
    info: Document = {
        "@type": f"{TYPE}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    localized: Document = {
        "@type": f"{TYPE}LocalizedMessage",
        "locale": "en-US",
        "message": message,
    }
    return error(400, "INVALID_ARGUMENT", message, info, localized)


def unknown_model(model: str, version: str) -> Answer:
    """A model that does not exist, or no longer does."""
    return error(
        404,
        "NOT_FOUND",
        f"models/{model} is not found for API version {version}, or is not supported for "
        "generateContent. Call ModelService.ListModels to see the list of available models and "
        "their supported methods.",
    )


def whole(document: Document) -> Answer:
    """A complete 200."""
    return Answer(body=_dump(document))


def _exhausted(
    *, header: str | None = None, delay: str | None = None, quota: str | None = None, hint: str = ""
) -> Answer:
    details: list[Document] = []
    if quota is not None:
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": "20",
        }
        details.append({"@type": f"{TYPE}QuotaFailure", "violations": [violation]})
        details.append({"@type": f"{TYPE}Help", "links": []})
    if delay is not None:
        details.append({"@type": f"{TYPE}RetryInfo", "retryDelay": delay})
    headers = {} if header is None else {"Retry-After": header}
    return error(429, "RESOURCE_EXHAUSTED", QUOTA + hint, *details, headers=headers)


def _in_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)


REFUSALS: Mapping[str, Callable[[], Answer]] = {
    "429-header": lambda: _exhausted(header="7"),
    "429-header-date": lambda: _exhausted(header=_in_a_minute()),
    "429-retry-info": lambda: _exhausted(delay="45.837906927s", quota=PER_MINUTE),
    "429-both": lambda: _exhausted(header="3", delay="17s", quota=PER_MINUTE),
    "429-message": lambda: _exhausted(hint="\nPlease retry in 17.156209832s."),
    "429-bare": lambda: error(
        429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."
    ),
    "429-per-day": lambda: _exhausted(
        delay="17s", quota=PER_DAY, hint="\nPlease retry in 17.984925417s."
    ),
    "500": lambda: error(500, "INTERNAL", "An internal error has occurred. Please retry."),
    "503": lambda: error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "504": lambda: error(504, "DEADLINE_EXCEEDED", "The request timed out. Please try again."),
    "400-key": bad_key,
    "400-argument": lambda: error(400, "INVALID_ARGUMENT", "Invalid value at 'contents'."),
    "400-region": lambda: error(
        400, "FAILED_PRECONDITION", "User location is not supported for the API use."
    ),
    "403": lambda: error(403, "PERMISSION_DENIED", "The caller does not have permission"),
    "404": lambda: unknown_model("gemini-1.5-flash", "v1beta"),
    "502-html": lambda: Answer(status=502, body=GATEWAY, content_type="text/html"),
    "200-html": lambda: Answer(body=PORTAL, content_type="text/html"),
    "empty": lambda: Answer(body=b"{}"),
    "hang": lambda: Answer(how="hang"),
    "reset": lambda: Answer(how="reset"),
}
"""Scenarios that do not look at the request."""


def _candidate(document: Document, **changes: object) -> Document:
    candidates = document["candidates"]
    first = candidates[0] if isinstance(candidates, list) else {}
    changed = {name: value for name, value in {**first, **changes}.items() if value is not None}
    return {**document, "candidates": [changed]}


def _said(document: Document, text: str, finish: str = "STOP") -> Document:
    content = {"role": "model", "parts": [{"text": text}]}
    return _candidate(document, content=content, finishReason=finish)


def text_of(document: Document) -> str:
    """The text of the first candidate of a good answer."""
    candidates = document["candidates"]
    assert isinstance(candidates, list)  # noqa: S101 - our own document
    return str(candidates[0]["content"]["parts"][-1]["text"])


def _reshaped(document: Document, change: Callable[[Document], None]) -> Document:
    """The answer's own JSON with its first decision changed."""
    answer = json.loads(text_of(document))
    change(answer["decisions"][0])
    return _said(document, json.dumps(answer))


def _doubled(document: Document) -> Document:
    answer = json.loads(text_of(document))
    answer["decisions"].append(answer["decisions"][0])
    return _said(document, json.dumps(answer))


def _with_thought(document: Document) -> Document:
    parts = [
        {"text": "Let me weigh the momentum first.", "thought": True},
        {"text": text_of(document), "thoughtSignature": "EpwCCpkCAQw51sdPTqr6sgqY"},
    ]
    with_cache = dict(_usage(document))
    with_cache["cachedContentTokenCount"] = int(with_cache["promptTokenCount"]) // 2
    changed = _candidate(document, content={"role": "model", "parts": parts})
    return {**changed, "usageMetadata": with_cache}


def _usage(document: Document) -> dict[str, int]:
    usage = document["usageMetadata"]
    assert isinstance(usage, dict)  # noqa: S101 - our own document
    return usage


def _without_answer(document: Document, finish: str, content: Document) -> Document:
    return _silent(_candidate(document, content=content, finishReason=finish))


def _silent(document: Document) -> Document:
    """The same without tokens for an answer."""
    usage = dict(_usage(document))
    usage["totalTokenCount"] -= usage.pop("candidatesTokenCount", 0)
    return {**document, "usageMetadata": usage}


def _blocked(document: Document) -> Document:
    kept = {name: value for name, value in document.items() if name != "candidates"}
    return {**_silent(kept), "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []}}


def _extended(document: Document) -> Document:
    known = _candidate(document, avgLogprobs=-0.01, groundingNotes={"unheard": "of"})
    return {**known, "serviceTier": "standard", "futureField": {"a": [1, 2, None]}}


VARIANTS: Mapping[str, Callable[[Document], Document]] = {
    "ok": lambda document: document,
    "thoughts-and-cache": _with_thought,
    "max-tokens-half": lambda document: _said(
        document, text_of(document)[: len(text_of(document)) // 2], "MAX_TOKENS"
    ),
    "max-tokens-empty": lambda document: _without_answer(document, "MAX_TOKENS", NO_PARTS),
    "safety": lambda document: _without_answer(document, "SAFETY", {}),
    "recitation": lambda document: _without_answer(document, "RECITATION", NO_PARTS),
    "blocked": _blocked,
    "stop-empty": lambda document: _without_answer(document, "STOP", NO_PARTS),
    "unknown-finish": lambda document: _candidate(document, finishReason="TIRED_OF_THIS"),
    "unknown-fields": _extended,
    "continuation": lambda document: {
        **_said(document, '{"decisions": [', "CONTINUATION"),
        "continuationToken": "c2FuZGJveA==",
    },
    "rerouted": lambda document: {**document, "modelVersion": "gemini-3.8-flash"},
    "unpriced": lambda document: {**document, "modelVersion": "gemini-9.9-unheard-of"},
    "wrong-shape": lambda document: _said(document, '{"advice": {"KRW-BTC": "buy everything"}}'),
    "prose": lambda document: _said(document, "I would buy KRW-BTC with all you have."),
    "fenced-json": lambda document: _said(document, f"```json\n{text_of(document)}\n```"),
    "nan": lambda document: _reshaped(
        document, lambda entry: entry.update(confidence=float("nan"))
    ),
    "off-list": lambda document: _reshaped(
        document, lambda entry: entry.update(market="KRW-MOONSHOT")
    ),
    "out-of-range": lambda document: _reshaped(document, lambda entry: entry.update(confidence=7)),
    "contradiction": lambda document: _reshaped(
        document, lambda entry: entry.update(action="buy", reason="Weak: you should sell now.")
    ),
    "doubled": _doubled,
}
"""Scenarios that spoil a good answer."""

DELIVERIES: Mapping[str, How] = {"drip": "drip", "short-body": "short"}
"""Scenarios that deliver a good answer badly."""

NAMES = frozenset(REFUSALS) | frozenset(VARIANTS) | frozenset(DELIVERIES)


def play(name: str, document: Document) -> Answer:
    """The scenario `name`, given the good answer it stands instead of. Raises KeyError."""
    if name in REFUSALS:
        return REFUSALS[name]()
    if name in DELIVERIES:
        return replace(whole(document), how=DELIVERIES[name])
    return whole(VARIANTS[name](document))


def _dump(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
