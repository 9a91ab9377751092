"""Reading one decoded JSON object field by field: every doubt is a BadData that names the field."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Generic, TypeVar

from jobs.core.errors import BadData
from jobs.core.untrusted import LAST_INSTANT, clean, decode, to_decimal, to_instant

__all__ = ["KST", "Fields", "Readable", "decode", "every", "readable", "rows", "to_decimal"]

T = TypeVar("T")

KST = timezone(timedelta(hours=9))
"""Korea has no daylight saving time."""

MOST_ROWS = 10_000
"""Of one list: 1,000 finished orders are the longest that is documented. An error for each of the
four million zeros that 8 MB can hold would be gigabytes."""

LONGEST_FIELD = 1000
"""Characters of one text: the longest that the documentation promises has 64."""

_MARKET = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9._]{1,30}")
_SHORT_OFFSET = re.compile(r"([+-]\d\d:\d)$")
_LAST_MS = int(LAST_INSTANT.timestamp() * 1000)


def every(raw: object, parse: Callable[[object], T]) -> list[T]:
    """Parse every row of a JSON list. Raises BadData when it is no list or a row is bad."""
    return [parse(row) for row in _listed(raw)]


def rows(raw: object, parse: Callable[[object], T]) -> list[T]:
    """The readable rows of a JSON list, as `readable` finds them."""
    return readable(raw, parse).rows


def _listed(raw: object) -> list[object]:
    if not isinstance(raw, list):
        raise BadData("expected a list", got=type(raw).__name__)
    if len(raw) > MOST_ROWS:
        raise BadData("more rows than any list has", rows=len(raw))
    return raw


@dataclass(frozen=True, slots=True)
class Readable(Generic[T]):
    """The rows of a list answer that could be read, and why each of the others could not.

    `total` is how many rows came: whoever counts rows to find the last page counts these.
    """

    rows: list[T]
    odd: tuple[BadData, ...]
    total: int


def readable(
    raw: object,
    parse: Callable[[object], T],
    *,
    named_by: Collection[str] = ("market",),
    must: Callable[[object], bool] = lambda _: False,
    key: Callable[[T], object] = id,
) -> Readable[T]:
    """Parse a JSON list row by row: one odd row costs itself and no other.

    `named_by` are the keys that name a row in its error, and `key` is what no two rows share: of
    doubled ones the first counts. Raises BadData when it is no list, when a
    row that `must` be read is odd, and when several rows came and not one is as documented: then
    it is the answer that is odd.
    """
    listed = _listed(raw)
    good: dict[object, T] = {}
    odd: list[BadData] = []
    for row in listed:
        try:
            made = parse(row)
            _refuse_second(key(made), good)
            good[key(made)] = made
        except BadData as exc:
            exc.context |= _names(row, named_by)
            if must(row):
                raise
            odd.append(exc)
    if len(odd) > 1 and not good:
        raise odd[0]
    return Readable(list(good.values()), tuple(odd), len(listed))


def _refuse_second(name: object, known: Collection[object]) -> None:
    if name in known:  # one statement of Postgres writes no row twice
        raise BadData("a row that was there before")


def _names(row: object, keys: Collection[str]) -> dict[str, object]:
    if not isinstance(row, dict):
        return {}
    return {key: clean(str(row[key])[:80]) for key in keys if isinstance(row.get(key), str)}


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
        """A string that is not empty, clean, and no longer than any that is documented."""
        value = self.raw.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_FIELD:
            raise self.bad(key)
        return clean(value)

    def market(self, key: str) -> str:
        """The code of a market: it stands in addresses, tables and the model's prompt."""
        value = self.text(key)
        if not _MARKET.fullmatch(value):
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

    def price(self, key: str) -> Decimal:
        """A number above zero: a price of zero is no price."""
        value = self.number(key)
        if value <= 0:
            raise self.bad(key)
        return value

    def amount(self, key: str) -> Decimal:
        """A number that is not negative."""
        value = self.number(key)
        if value < 0:
            raise self.bad(key)
        return value

    def maybe_number(self, key: str) -> Decimal | None:
        """A finite number, or None when the key is absent or null."""
        return None if self.raw.get(key) is None else self.number(key)

    def amount_or_zero(self, key: str) -> Decimal:
        """A number that is not negative, or zero when the key is absent or null."""
        return Decimal(0) if self.raw.get(key) is None else self.amount(key)

    def maybe_amount(self, key: str) -> Decimal | None:
        """A number that is not negative, or None when the key is absent or null."""
        return None if self.raw.get(key) is None else self.amount(key)

    def count(self, key: str) -> int:
        """A whole number, or zero when the key is absent or null."""
        value = self.amount_or_zero(key)
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
        return tuple(clean(each) for each in value)

    def inner(self, key: str) -> "Fields":
        """The object under `key`."""
        value = self.raw.get(key)
        if not isinstance(value, dict):
            raise self.bad(key)
        return Fields(f"{self.what}.{key}", value)

    def instant_ms(self, key: str) -> datetime:
        """Milliseconds since the epoch, as aware UTC."""
        value = self.number(key)
        if not 0 <= value < _LAST_MS:
            raise self.bad(key)
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value))

    def instant(self, key: str, *, zone: timezone = KST) -> datetime:
        """An ISO time as aware UTC; `zone` is assumed when it names none."""
        # one official sample ends in "+09:0"
        text = _SHORT_OFFSET.sub(r"\g<1>0", self.text(key))
        try:
            value = datetime.fromisoformat(text)
        except ValueError as exc:
            raise self.bad(key) from exc
        instant = to_instant(value if value.tzinfo else value.replace(tzinfo=zone))
        if instant is None:
            raise self.bad(key)
        return instant
