"""Finds the daemon's own log lines in what journald, Docker and others make of them.

They are wrapped as JSON (`journalctl -o json`, Docker's json-file), carry a prefix (`-o short-iso`,
`docker compose logs`, the CRI format), a priority, a byte order mark or a carriage return.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

Numbered = tuple[str, bytes]
"""Where a line stands, and the line."""

BOM = b"\xef\xbb\xbf"
OURS = b'{"ts":'
"""How a line of ours begins; a broken one is told apart by it from a line of others."""
WRAPPED = ("MESSAGE", "log", "message", "line", "msg")
"""Where journald, Docker and other collectors keep the line."""
PRETTY = re.compile(rb'\s*"(?:MESSAGE|log)"\s*:\s*(".*"),?\s*$')
"""The same on a line of its own (`journalctl -o json-pretty`)."""
DEEPEST = 3
LONGEST_PART = 1_000_000


class Unreadable(ValueError):
    """The line cannot be read; the message says why."""


class NotOurs(Unreadable):
    """The line is not one of the daemon's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one line of Docker's holds of a longer one: it cuts them after 16 KiB."""

    place: str
    stream: str
    data: bytes


def documents(lines: Iterable[Numbered]) -> Iterator[tuple[str, dict[str, Any] | Unreadable]]:
    """Yield each line of the daemon's as its document, or why it cannot be read.

    Empty lines are passed over; parts of one line are joined.
    """
    parts: dict[str, _Part] = {}
    for place, line in lines:
        if not (text := line.removeprefix(BOM).strip()):
            continue
        if (part := _part(place, text, parts)) is not None:
            parts[part.stream] = part
            continue
        yield place, _read(_whole(text, parts))
    for part in parts.values():
        yield part.place, _read(part.data)


def _part(place: str, text: bytes, parts: dict[str, _Part]) -> _Part | None:
    """What is known of a line whose end has not come yet."""
    if not text.startswith(b"{") or b'"log"' not in text:
        return None
    outer = _parsed(text)
    log = outer.get("log") if outer else None
    if not isinstance(log, str) or log.endswith("\n") or outer is None or "time" not in outer:
        return None
    stream = str(outer.get("stream"))
    before = parts[stream] if stream in parts else _Part(place=place, stream=stream, data=b"")
    if len(before.data) > LONGEST_PART:
        return None
    return _Part(place=before.place, stream=stream, data=before.data + log.encode())


def _whole(text: bytes, parts: dict[str, _Part]) -> bytes:
    """The line with its parts before it."""
    outer = _parsed(text) if parts else None
    if outer is None or "log" not in outer:
        return text
    before = parts.pop(str(outer.get("stream")), None)
    return text if before is None else before.data + str(outer["log"]).encode()


def _read(text: bytes) -> dict[str, Any] | Unreadable:
    """The document of a line, or why there is none."""
    try:
        return _unwrap(text, DEEPEST)
    except Unreadable as exc:
        return exc


def _unwrap(text: bytes, depth: int) -> dict[str, Any]:
    start = text.find(b"{")
    document = None if start < 0 else _parsed(text[start:])
    if document is None:
        if depth and (pretty := PRETTY.match(text)) is not None:
            return _unwrap(_bytes_of(_text(pretty[1])), depth - 1)
        if OURS in text:
            raise Unreadable("is not JSON")
        raise NotOurs("is no line of upbitd")
    if isinstance(document.get("event"), str):
        return document
    for name in WRAPPED:
        if depth and (inner := _bytes_of(document.get(name))):
            return _unwrap(inner, depth - 1)
    raise NotOurs("is no line of upbitd")


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _text(quoted: bytes) -> object:
    try:
        return orjson.loads(quoted)
    except orjson.JSONDecodeError:
        return None


def _bytes_of(value: object) -> bytes:
    """A wrapped line as bytes; journald writes one as numbers when it is no plain text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            return b""
    return b""


def numbered(name: str, lines: Iterable[bytes]) -> Iterator[Numbered]:
    """The lines of a file with the place of each for people."""
    for number, line in enumerate(lines, 1):
        yield f"{name}:{number}", line
