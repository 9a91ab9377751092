"""Status, headers and body of a Gemini answer → a Reply or one of our errors.

400 with API_KEY_INVALID, 401, 403 → Unauthorized · 429 → RateLimited · 408, 5xx and anything that
is no JSON → Unavailable · every other 4xx → Refused. Pure: the present is passed in.

Each error's context says `may_be_billed`: whether Google may charge for the call all the same.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from zoneinfo import ZoneInfo

from jobs.core.errors import (
    JobError,
    NotSent,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    WaitSource,
)
from jobs.core.untrusted import LONGEST_WAIT_S, clean
from jobs.gemini.model import Exchange, Reply, Usage

PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where the day of Google's per-day quotas ends."""

LONGEST_MESSAGE = 300
LONGEST_STRING = 4000
"""Google's longest messages, which name every quota that is used up, have about 1,500."""
MOST_TOKENS = 10_000_000
"""More than any model takes or gives: a bill beyond it is a mistake or a lie."""
MODEL_NAME = re.compile(r"^[\w.-]{1,100}$", re.ASCII)
DURATION = re.compile(r"^(\d{1,12}(?:\.\d{1,9})?)s$")
PLEASE_RETRY = re.compile(
    r"retry in (?:(\d{1,4})h)?(?:(\d{1,4})m(?!s))?(\d{1,9}(?:\.\d{1,12})?)(ms|s)\b", re.IGNORECASE
)
PASSING_4XX = frozenset({HTTPStatus.REQUEST_TIMEOUT, 499})
"""Given up waiting or cancelled on the way: says nothing about the request."""

UNBILLED_5XX = frozenset({500, 503})
"""What Gemini itself answers when it did not generate; a gateway's 502 and 504 prove nothing."""


def read(answer: Exchange, now: datetime) -> Reply:
    """The reply in a 200. Raises RateLimited, Unavailable, Unauthorized or Refused otherwise."""
    body = accept(answer, now)
    candidate = _first(body.get("candidates"))
    feedback = _mapping(body.get("promptFeedback"))
    version = _string(body.get("modelVersion")).removeprefix("models/")
    return Reply(
        text=_text(candidate),
        finish_reason=_string(candidate.get("finishReason")),
        block_reason=_string(feedback.get("blockReason")),
        usage=read_usage(_mapping(body.get("usageMetadata"))),
        model_version=version if MODEL_NAME.match(version) else None,
        body=body,
    )


def accept(answer: Exchange, now: datetime) -> Mapping[str, object]:
    """The body of a 200 that is a JSON object; raises as `read` does."""
    if answer.status != HTTPStatus.OK:
        raise _error(answer, now)
    if not isinstance(answer.body, dict):
        raise Unavailable(
            "something that is not Gemini answered",
            status=answer.status,
            may_be_billed=True,
        )
    return answer.body


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Token counts; absent means 0. Thoughts that are not named are rebuilt from the total."""
    prompt, candidates = _count(usage, "promptTokenCount"), _count(usage, "candidatesTokenCount")
    tool_use = _count(usage, "toolUsePromptTokenCount")
    unnamed = max(0, _count(usage, "totalTokenCount") - prompt - candidates - tool_use)
    return Usage(
        prompt=prompt,
        cached=min(prompt, _count(usage, "cachedContentTokenCount")),
        candidates=candidates,
        thoughts=_count(usage, "thoughtsTokenCount") or unnamed,
        tool_use=tool_use,
    )


def may_be_billed(error: JobError) -> bool:
    """Whether the call behind `error` may cost money although it gave nothing."""
    never = isinstance(error, RateLimited | NotSent | Refused)
    return bool(error.context.get("may_be_billed", not never))


def next_quota_day(now: datetime) -> datetime:
    """The coming midnight Pacific, when per-day quotas reset (aware UTC)."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC).astimezone(UTC)


def _error(answer: Exchange, now: datetime) -> JobError:
    error = _mapping(_mapping(answer.body).get("error"))
    details = [_mapping(detail) for detail in _sequence(error.get("details"))]
    message = _string(error.get("message"))
    status = answer.status
    context = {"status": status, "may_be_billed": False}
    said = " ".join(message.split())[:LONGEST_MESSAGE] or f"HTTP {status}"
    wait_s, source = _wait(answer.headers, details, message, now)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _rate_limited(said, details, now, (wait_s, source))
    if not error or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING_4XX:
        context["may_be_billed"] = not (error and status in UNBILLED_5XX)
        return Unavailable(
            f"Gemini is not available: {said}", retry_after_s=wait_s, wait_source=source, **context
        )
    name = _reason(details) or _string(error.get("status")) or f"HTTP_{status}"
    kind = Unauthorized if _is_about_the_key(status, name) else Refused
    return kind(f"Gemini refused: {said}", name=name, **context)


def _rate_limited(
    said: str,
    details: Sequence[Mapping[str, object]],
    now: datetime,
    wait: tuple[float | None, WaitSource],
) -> RateLimited:
    wait_s, source = wait
    quota_id = next((each for each in _quota_ids(details) if "PerDay" in each), None)
    if quota_id is not None:
        # the short delay beside a per-day quota is misleading: nothing comes back before midnight
        wait_s, source = (next_quota_day(now) - now).total_seconds(), "retry-info"
    return RateLimited(
        f"Gemini's quota is used up: {said}",
        retry_after_s=wait_s,
        wait_source=source,
        status=int(HTTPStatus.TOO_MANY_REQUESTS),
        quota=quota_id or next(_quota_ids(details), "unnamed"),
        per_day=quota_id is not None,
        may_be_billed=False,
    )


def _wait(
    headers: Mapping[str, str],
    details: Sequence[Mapping[str, object]],
    message: str,
    now: datetime,
) -> tuple[float | None, WaitSource]:
    """The wait to keep: the larger of header and RetryInfo, else what the message says."""
    header_s = _retry_after(headers.get("retry-after", ""), now)
    info_s = _retry_info(details)
    if header_s is not None and (info_s is None or header_s >= info_s):
        return min(header_s, LONGEST_WAIT_S), "retry-after"
    if info_s is None:
        info_s = _please_retry(message)
    return (None, "backoff") if info_s is None else (min(info_s, LONGEST_WAIT_S), "retry-info")


def _retry_after(value: str, now: datetime) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _retry_info(details: Sequence[Mapping[str, object]]) -> float | None:
    for detail in details:
        if _string(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            match = DURATION.match(_string(detail.get("retryDelay")))
            if match is not None:
                return float(match[1])
    return None


def _please_retry(message: str) -> float | None:
    if (match := PLEASE_RETRY.search(message)) is None:
        return None
    seconds = float(match[3]) / (1000 if match[4].lower() == "ms" else 1)
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + seconds


def _quota_ids(details: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for detail in details:
        for violation in _sequence(detail.get("violations")):
            if quota := _string(_mapping(violation).get("quotaId")):
                yield quota


def _reason(details: Sequence[Mapping[str, object]]) -> str:
    return next((reason for each in details if (reason := _string(each.get("reason")))), "")


def _is_about_the_key(status: int, name: str) -> bool:
    return status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or name.startswith("API_KEY_")


def _text(candidate: Mapping[str, object]) -> str | None:
    parts = _sequence(_mapping(candidate.get("content")).get("parts"))
    texts = [
        text
        for part in map(_mapping, parts)
        if isinstance(text := part.get("text"), str) and part.get("thought") is not True
    ]
    return "".join(texts) if texts else None


def _count(usage: Mapping[str, object], name: str) -> int:
    value = usage.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(0, value), MOST_TOKENS)


def _first(value: object) -> Mapping[str, object]:
    return next(map(_mapping, _sequence(value)), {})


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _string(value: object) -> str:
    """A foreign text, clean and short; "" for anything else. What the model says is `_text`."""
    return clean(value[:LONGEST_STRING]) if isinstance(value, str) else ""
