"""Keeps web pages away from the control endpoint: an open tab must not drive the exchange.

A page may send a form or a text to any address, and may point a name of its own at 127.0.0.1; it
cannot hide its Origin, name this machine in Host, or send JSON without being asked first.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.answers import Json, strings

CONTROL = "/sandbox"
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class ControlGate:
    """Answers requests to the control endpoint that a web page may have made with a refusal."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        refusal = None
        if scope["type"] == "http" and scope["path"].startswith(CONTROL):
            refusal = why_not(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, why = refusal
        await Json(strings({"error": why}), status)(scope, receive, send)


def why_not(method: str, headers: Headers) -> tuple[int, str] | None:
    """Why a request is refused: the status and a sentence."""
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        return 403, "the control endpoint takes no requests of web pages"
    if not is_local_name(headers.get("host", "")):
        return 421, "call the control endpoint by its address or as localhost"
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and (kind or (method in BODY_METHODS and _has_body(headers))):
        return 415, "send JSON with Content-Type: application/json"
    return None


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def is_local_name(host: str) -> bool:
    """Whether a Host header is an address or localhost; as the health port judges it."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
