"""A log record as one line: JSON for programs, text for a person."""

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TextIO

import orjson

from daemon.redaction import MASK, Masker, is_private
from jobs.core import untrusted

LONGEST_TEXT = 8_000
"""Characters of one text; journald cuts a line after 48 KiB."""
DEEPEST = 6
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z
COMMON = frozenset({"ts", "level", "logger", "event", "message", "exception"})
COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
PRIORITIES = {"TRACE": 7, "DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""What journald calls a level (sd-daemon(3)): `journalctl -p err` shows 3 and lower."""
JOURNAL = "JOURNAL_STREAM"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

private = lru_cache(maxsize=4096)(is_private)


@dataclass(slots=True, kw_only=True)
class Entry:
    """One thing to log. `fields` are the record's own and may hold private values.

    `harmless` says that they cannot: nothing but numbers, instants and names of our own.
    """

    at: datetime
    level: str
    logger: str | None
    message: str
    fields: dict[str, Any]
    error_type: str | None = None
    trace: str = ""
    harmless: bool = False


def json_line(entry: Entry, mask: Masker) -> str:
    """The entry as one line of JSON, masked, with its line end. Never raises."""
    fields = entry.fields
    document: dict[str, Any] = {
        "ts": stamp(entry.at),
        "level": entry.level,
        "logger": entry.logger,
        "event": fields.get("event", "log"),
        "message": cut(entry.message),
    }
    if entry.harmless:
        return f"{encode(document | fields)}\n"
    add_fields(document, fields)
    if entry.error_type or entry.trace:
        document.setdefault("error_type", entry.error_type)
        document["exception"] = cut(entry.trace)
    line = mask(encode(document))
    # JSON escapes C0 alone; C1 and marks that reverse a line steer a terminal as well
    return (line if line.isascii() else untrusted.clean(line)) + "\n"


def text_line(entry: Entry, mask: Masker, *, colour: bool) -> str:
    """The entry as text for a person, masked, with its line end."""
    fields: dict[str, Any] = {}
    add_fields(fields, entry.fields)
    told = {key: value for key, value in fields.items() if value is not None}
    shown = " ".join(f"{key}={_plain(value)}" for key, value in told.items())
    event = entry.fields.get("event", "log")
    text = mask(f"{event} {cut(entry.message)} {shown}".rstrip())
    rest = mask(f"\n{cut(entry.trace)}") if entry.trace else ""
    head = f"{entry.at.strftime('%H:%M:%S.%f')[:-3]} {entry.level:<8}"
    if colour:
        head = f"\x1b[{COLOURS.get(entry.level, '0')}m{head}\x1b[0m"
    return f"{head} {_harmless(text)}{_harmless(rest)}\n"


def is_journal(stream: TextIO, journal_stream: str | None) -> bool:
    """Whether a stream is the one that systemd connected to the journal ($JOURNAL_STREAM).

    Inode and device are compared because the variable is inherited by what is piped elsewhere.
    """
    if not journal_stream:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no file at all
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def with_priority(level: str, line: str) -> str:
    """The line (of text: each of its lines) with the priority that journald takes off again."""
    prefix = f"<{PRIORITIES.get(level, 6)}>"
    inner = line[:-1].replace("\n", f"\n{prefix}")  # no splitlines: JSON may hold U+2028
    return f"{prefix}{inner}{line[-1:]}"


def stamp(at: datetime) -> str:
    """The instant in RFC 3339, UTC, with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def add_fields(document: dict[str, Any], fields: dict[str, Any]) -> None:
    """Add the entry's own fields; private ones masked, those named like common ones renamed."""
    for key, value in fields.items():
        if key in COMMON:
            if key != "event":
                document[f"{key}_"] = clean(value)
        elif value is None:
            document[key] = None
        elif private(key):
            document[key] = MASK
        else:
            kind = type(value)
            document[key] = value if kind in PLAIN else clean(value)


PLAIN = frozenset({int, float, bool, datetime})


def clean(value: Any, depth: int = 0) -> Any:
    """The value with the private fields of nested tables masked and long texts cut."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, dict | list | tuple | set | frozenset):
        return _clean_many(value, depth + 1) if depth < DEEPEST else "…"
    return value


def _clean_many(value: Any, depth: int) -> Any:
    if not isinstance(value, dict):
        return [clean(each, depth) for each in value]
    return {
        str(key): MASK if each is not None and private(str(key)) else clean(each, depth)
        for key, each in value.items()
    }


def cut(text: str) -> str:
    """The text, or its two ends when it is too long for a line."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]} …{len(text) - 2 * half} characters… {text[-half:]}"


def encode(document: dict[str, Any]) -> str:
    """The document as JSON, whatever stands in it."""
    try:
        return orjson.dumps(document, default=spell, option=OPTIONS).decode()
    except TypeError:  # a lone surrogate, a number over 64 bits
        return json.dumps(document, default=spell, skipkeys=True)


def spell(value: object) -> object:
    """The text of a value that JSON does not know."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        return cut(repr(value) if dataclasses.is_dataclass(value) else str(value))
    except Exception:  # noqa: BLE001 - a value that cannot say what it is must not stop the line
        return f"<{type(value).__name__}>"


def _plain(value: Any) -> str:
    """A field's value for a person: bare where it is one word, else as JSON."""
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, str) and value and not any(each.isspace() for each in value):
        return value
    return encode({"": value})[4:-1].strip()


def _harmless(text: str) -> str:
    """The text without characters that steer a terminal."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
