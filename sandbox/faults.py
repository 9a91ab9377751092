"""Faults on demand: which requests go wrong, and how. Works on every route but /sandbox."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal, cast, get_args

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.requests import Entry, RequestLog

Action = Literal["pass", "answer", "reset", "hang", "garble", "drip"]
When = Literal["before", "after"]
FAULT = "upbitd.fault"
ABORT = "upbitd.abort"
DRIP_CHUNKS = 20


@dataclass(slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with matching requests.

    Matching: `method`, `path` (shell pattern), `market` (anywhere in query or body); of the
    matching requests the first `nth - 1` pass, the next `count` (0: all) are hit.
    What happens: the request waits `delay_ms`; then `action`, `before` or `after` the venue has
    processed it (an order sent with `after` exists):
    pass    the normal answer (for a mere delay, other `headers`, `hide_ms` or `share`)
    answer  `status`, `body` and `headers` instead of the venue's; `raw` is a body byte for byte, in
            base64 (a bomb of gzip with the header content-encoding, what is no JSON or no UTF-8)
    reset   the connection is reset without an answer
    hang    no answer until the client leaves
    garble  the venue's status with half its body
    drip    the venue's answer, its body spread over `drip_ms`
    For new orders: `hide_ms` unknown to queries for so long; `share` the part that may fill.
    """

    method: str = "*"
    path: str = "*"
    market: str = ""
    nth: int = 1
    count: int = 1
    action: Action = "pass"
    when: When = "before"
    status: int | None = None
    body: object = None
    raw: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    delay_ms: int = 0
    drip_ms: int = 2000
    hide_ms: int = 0
    share: str | None = None
    number: int = 0
    seen: int = 0
    hits: int = 0

    @classmethod
    def of(cls, raw: Mapping[str, object]) -> "Fault":
        """Read a fault from JSON. Raises ValueError that names what does not fit."""
        settable = {each.name for each in fields(cls)} - {"number", "seen", "hits"}
        if unknown := raw.keys() - settable:
            raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
        fault = cls(**raw)  # type: ignore[arg-type]  # checked below
        if fault.action not in get_args(Action) or fault.when not in get_args(When):
            raise ValueError(f"action is one of {get_args(Action)}, when of {get_args(When)}")
        numbers = (fault.nth, fault.count, fault.delay_ms, fault.drip_ms, fault.hide_ms)
        if not all(isinstance(each, int) for each in numbers):
            raise ValueError("nth, count and the milliseconds are whole numbers")
        if fault.share is not None and not 0 <= Decimal(str(fault.share)) <= 1:
            raise ValueError("share is a number from 0 to 1")
        fault.content()
        return fault

    def shown(self) -> dict[str, object]:
        """The fault as JSON, with how often it was met and used; of `raw` the size alone."""
        return asdict(self) | {"raw": len(self.raw)}

    def hits_request(self, method: str, path: str, text: str) -> bool:
        """Whether this request is to go wrong; counts it."""
        if not (fnmatchcase(method, self.method) and fnmatchcase(path, self.path)):
            return False
        if self.market and self.market not in text:
            return False
        self.seen += 1
        is_due = self.seen >= self.nth and (not self.count or self.hits < self.count)
        self.hits += is_due
        return is_due

    def content(self) -> bytes:
        """The body to answer with: bytes and text as they are, anything else as JSON.

        Raises ValueError when `raw` is no base64.
        """
        if self.raw:
            return base64.b64decode(self.raw, validate=True)
        if isinstance(self.body, str):
            return self.body.encode()
        return b"" if self.body is None else json.dumps(self.body).encode()


class Faults:
    """The faults in force, oldest first; the first that hits a request is used."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._last = 0

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force and number it."""
        self._last += 1
        fault.number = self._last
        self._faults[fault.number] = fault
        return fault

    def clear(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        if number is None:
            self._faults.clear()
        else:
            self._faults.pop(number, None)

    def listed(self) -> list[Fault]:
        """The faults in force."""
        return list(self._faults.values())

    def match(self, method: str, path: str, text: str) -> Fault | None:
        """The fault for this request, if any."""
        faults = self._faults.values()
        return next((each for each in faults if each.hits_request(method, path, text)), None)


@dataclass(slots=True)
class _Answer:
    """A response kept back instead of being sent."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def keep(self, message: Message) -> None:
        """Take one ASGI message."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def changed(self, fault: Fault) -> None:
        """Apply what the fault says about status, headers and body."""
        if fault.action == "answer":
            self.status = fault.status or self.status
            is_given = fault.body is not None or fault.raw
            self.body = fault.content() if is_given else self.body
            kind = b"text/plain; charset=utf-8"
            if isinstance(fault.body, str):
                kind = b"text/html" if fault.body.startswith("<") else kind
            elif is_given:
                kind = b"application/json; charset=utf-8"
            self._set(b"content-type", kind)
        for name, value in fault.headers.items():
            self._set(name.lower().encode(), None if value is None else value.encode())
        if fault.action == "garble":
            self.body = self.body[: len(self.body) // 2]
        self._set(b"content-length", str(len(self.body)).encode())

    def _set(self, name: bytes, value: bytes | None) -> None:
        self.headers = [each for each in self.headers if each[0] != name]
        if value is not None:
            self.headers.append((name, value))


class FaultyApp:
    """The application with faults in front of it, and a log of everything that arrives."""

    def __init__(self, app: ASGIApp, faults: Faults, log: RequestLog) -> None:
        self._app = app
        self._faults = faults
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as well or as badly as the faults want."""
        if scope["type"] != "http" or scope["path"].startswith("/sandbox"):
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        replayed = _replay(body, receive)
        entry = self._log.arrived(scope["method"], scope["path"], scope["query_string"], body)
        text = f"{entry.query}\n{entry.body}"
        fault = self._faults.match(scope["method"], scope["path"], text)
        if fault is None:
            await self._app(scope, replayed, _noting(entry, send))
            return
        entry.fault = fault.number
        scope[FAULT] = fault
        await self._go_wrong(fault, scope, replayed, _noting(entry, send))

    async def _go_wrong(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer()
        is_processed = fault.when == "after" or fault.action in ("pass", "garble", "drip")
        if fault.when == "before":
            await asyncio.sleep(fault.delay_ms / 1000)
        if is_processed:
            await self._app(scope, receive, answer.keep)
        if fault.when == "after":
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault.action in ("reset", "hang"):
            await _leave(fault.action, scope, receive)
            return
        answer.changed(fault)
        await _send(answer, fault, send)


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.request":
            parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


def _noting(entry: Entry, send: Send) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
        await send(message)

    return noted


async def _leave(action: Action, scope: Scope, receive: Receive) -> None:
    if action == "reset":
        cast(Callable[[], None], scope[ABORT])()
    while (await receive())["type"] != "http.disconnect":
        continue


async def _send(answer: _Answer, fault: Fault, send: Send) -> None:
    start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    if fault.action != "drip":
        await send({"type": "http.response.body", "body": answer.body})
        return
    size = max(1, -(-len(answer.body) // DRIP_CHUNKS))
    for begin in range(0, len(answer.body), size):
        part = answer.body[begin : begin + size]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(fault.drip_ms / 1000 / DRIP_CHUNKS)
    await send({"type": "http.response.body", "body": b""})
