"""A log record as one line: JSON for programs, text for a terminal."""

import dataclasses
import json
import re
from datetime import UTC, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from daemon.masking import MASK, Masker, is_private

if TYPE_CHECKING:
    from loguru import Record

LONGEST_TEXT = 8_000
"""Characters of one text; journald cuts a line after 48 KiB."""
DEEPEST = 6
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z
COMMON = frozenset({"ts", "level", "logger", "event", "message", "exception"})
COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

private = lru_cache(maxsize=4096)(is_private)


def json_line(record: "Record", trace: str, mask: Masker) -> str:
    """The record as one line of JSON, masked, with its line end. Never raises."""
    extra = record["extra"]
    document: dict[str, Any] = {
        "ts": stamp(record),
        "level": record["level"].name,
        "logger": record["name"],
        "event": extra.get("event", "log"),
        "message": cut(record["message"]),
    }
    add_fields(document, extra)
    if error := record["exception"]:
        document.setdefault("error_type", error.type.__name__ if error.type else None)
        document["exception"] = cut(trace)
    return mask(encode(document)) + "\n"


def text_line(record: "Record", trace: str, mask: Masker, *, colour: bool) -> str:
    """The record as text for a person, masked, with its line end."""
    fields: dict[str, Any] = {}
    add_fields(fields, record["extra"])
    shown = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
    event = record["extra"].get("event", "log")
    level = record["level"].name
    when = record["time"].strftime("%H:%M:%S.%f")[:-3]
    text = mask(f"{event} {record['message']} {shown}".rstrip())
    rest = mask(f"\n{trace}") if trace else ""
    head = f"{when} {level:<8}"
    if colour:
        head = f"\x1b[{COLOURS.get(level, '0')}m{head}\x1b[0m"
    return f"{head} {_harmless(text)}{_harmless(rest)}\n"


def stamp(record: "Record") -> str:
    """The instant of the record: RFC 3339, UTC, microseconds."""
    return record["time"].astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def add_fields(document: dict[str, Any], extra: dict[str, Any]) -> None:
    """Add the record's own fields; private ones masked, common ones kept apart."""
    for key, value in extra.items():
        if key == "event":
            continue
        name = f"{key}_" if key in COMMON else key
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is float:
            document[name] = MASK if value is not None and private(key) else value
        elif private(key):
            document[name] = MASK
        elif kind is str:
            document[name] = cut(value)
        else:
            document[name] = clean(value)


def clean(value: Any, depth: int = 0) -> Any:
    """The value with the private fields of nested tables masked."""
    if isinstance(value, dict):
        if depth >= DEEPEST:
            return "…"
        return {
            str(key): MASK if each is not None and private(str(key)) else clean(each, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(each, depth + 1) for each in value] if depth < DEEPEST else "…"
    return cut(value) if isinstance(value, str) else value


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
        if dataclasses.is_dataclass(value):
            return cut(repr(value))
        return cut(str(value))
    except Exception:  # noqa: BLE001 - a value that cannot say what it is must not stop the line
        return f"<{type(value).__name__}>"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    return value if isinstance(value, str) else encode_value(value)


def encode_value(value: Any) -> str:
    """One field's value as JSON."""
    return encode({"_": value})[5:-1].strip()


def _harmless(text: str) -> str:
    """The text without characters that steer a terminal."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
