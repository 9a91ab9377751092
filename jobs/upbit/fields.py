"""Reading one decoded JSON object field by field: every doubt is a BadData that names the field."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from jobs.errors import BadData

T = TypeVar("T")

KST = timezone(timedelta(hours=9))
"""Korea has no daylight saving time."""

_SHORT_OFFSET = re.compile(r"([+-]\d\d:\d)$")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def decode(content: bytes | str) -> object:
    """Decode JSON with Decimals for all fractions. Raises BadData when it is no JSON."""
    try:
        # orjson is out of the question here: it reads numbers as float
        return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError as exc:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadData("the answer is not JSON", size=len(content)) from exc


def rows(raw: object, parse: Callable[[object], T]) -> list[T]:
    """Parse every row of a JSON list. Raises BadData when it is no list or a row is bad."""
    if not isinstance(raw, list):
        raise BadData("expected a list", got=type(raw).__name__)
    return [parse(row) for row in raw]


def to_decimal(value: object) -> Decimal | None:
    """Return a finite Decimal for a JSON number or a number in a string, else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and what it is, for the error messages."""

    what: str
    raw: dict[str, object]

    @classmethod
    def of(cls, what: str, raw: object) -> "Fields":
        """Wrap `raw`. Raises BadData unless it is an object."""
        if not isinstance(raw, dict):
            raise BadData(f"{what} is not an object", got=type(raw).__name__)
        return cls(what, raw)

    def bad(self, key: str) -> BadData:
        """The error that says that the value under `key` cannot be used."""
        return BadData(f"{self.what} has no usable {key}", value=repr(self.raw.get(key))[:80])

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self.raw.get(key)
        if not isinstance(value, str) or not value:
            raise self.bad(key)
        return value

    def maybe_text(self, key: str) -> str | None:
        """A string, or None when the key is absent, null or empty."""
        return None if self.raw.get(key) in (None, "") else self.text(key)

    def number(self, key: str) -> Decimal:
        """A finite number."""
        value = to_decimal(self.raw.get(key))
        if value is None:
            raise self.bad(key)
        return value

    def maybe_number(self, key: str) -> Decimal | None:
        """A finite number, or None when the key is absent or null."""
        return None if self.raw.get(key) is None else self.number(key)

    def number_or_zero(self, key: str) -> Decimal:
        """A finite number, or zero when the key is absent or null."""
        return self.maybe_number(key) or Decimal(0)

    def count(self, key: str) -> int:
        """A whole number, or zero when the key is absent or null."""
        value = self.number_or_zero(key)
        if value != int(value):
            raise self.bad(key)
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty when the key is absent or null."""
        value = self.raw.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.bad(key)
        return tuple(value)

    def inner(self, key: str) -> "Fields":
        """The object under `key`."""
        value = self.raw.get(key)
        if not isinstance(value, dict):
            raise self.bad(key)
        return Fields(f"{self.what}.{key}", value)

    def instant_ms(self, key: str) -> datetime:
        """Milliseconds since the epoch, as aware UTC."""
        try:
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(self.number(key)))
        except OverflowError as exc:
            raise self.bad(key) from exc

    def instant(self, key: str, *, zone: timezone = KST) -> datetime:
        """An ISO time as aware UTC; `zone` is assumed when it names none."""
        # one official sample ends in "+09:0"
        text = _SHORT_OFFSET.sub(r"\g<1>0", self.text(key))
        try:
            value = datetime.fromisoformat(text)
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError) as exc:
            raise self.bad(key) from exc
