"""What the routes of the health port get and give."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

JSON: Final = "application/json; charset=utf-8"

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that passed the gate. `query` holds the last value of each name."""

    path: str
    query: Mapping[str, str]
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a route answers; `headers` replace the default security headers of the same name."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Request], Response]


def json_response(
    body: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer. Instants become RFC 3339 in UTC, Decimals strings."""
    text = json.dumps(body, default=_plain, ensure_ascii=False, separators=(",", ":"))
    # a lone surrogate in somebody's error text must not cost the whole answer
    return Response(
        body=text.encode("utf-8", "replace") + b"\n", status=status, headers=headers or {}
    )


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")
