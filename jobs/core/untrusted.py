"""What others send us, bounded where it enters: bytes, JSON, numbers, texts, dates.

An exchange, a model, a proxy in between: a bug or a compromise there must cost one row, one run or
one line, never the process. Both clients read through this module, so each bound exists once; the
bytes themselves are counted in jobs/core/bounded_http.py.
"""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime

from jobs.core.errors import BadData

DEEPEST = 32
"""Levels of nesting: Upbit's answers have 4, Gemini's 8. `repr` and `json` recurse per level."""

LONGEST_NUMBER = 64
"""Characters of one number: Upbit's have up to 30."""

MOST_MAGNITUDE = 30
"""Powers of ten up or down. `int(Decimal("1E+1000000"))` holds the event loop for 24 s."""

LONGEST_TEXT = 300
"""Characters of a foreign text in an error or a log line."""

LONGEST_WAIT_S = 7 * 86400.0
"""A longer wait is a mistake of the server's: no header closes a gate for longer."""

FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(2100, 1, 1, tzinfo=UTC)

UNUSABLE = Decimal("NaN")
"""Stands in a decoded document for a number beyond the bounds, so that only its row is refused."""

_HARMFUL = re.compile(
    # C0 but tab and line ends, DEL and C1, line and paragraph separators, marks that reverse the
    # order of what is shown, lone surrogates: what neither Postgres nor UTF-8 nor a terminal takes
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_REPLACEMENT = "\ufffd"
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_SECONDS = re.compile(r"\d{1,300}(?:\.\d{1,300})?", re.ASCII)
_LONGEST_HEADER = 300
_END_OF_WORD = re.compile(r"[\w+/=.~-]*\Z")


class NotJson(BadData):
    """The body is no JSON at all: a page of somebody in between, or the half of an answer."""


# --- texts -------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """The text with U+FFFD for every character that a database, UTF-8 or a terminal cannot hold.

    Replaced and never removed: what is not a known name must not become one.
    """
    return _HARMFUL.sub(_REPLACEMENT, text)


def cut(text: str, longest: int) -> str:
    """The text, or so much of its beginning.

    It ends before the word that the cut would split: half a secret is masked by nobody.
    """
    return text if len(text) <= longest else f"{_END_OF_WORD.sub('', text[:longest]).rstrip()}…"


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text clean, on one line, with at most `longest` characters as `cut` leaves them."""
    return cut(clean(" ".join(cut(text, 4 * longest).split())), longest)


def beginning(content: bytes | str, longest: int = 120) -> str:
    """The first characters of a body, for an error that says what came instead of an answer."""
    if isinstance(content, str):
        return one_line(content, longest)
    # errors="replace" makes at least a character of every four bytes
    return one_line(content[: 16 * longest].decode(errors="replace"), longest)


# --- numbers and instants ----------------------------------------------------------------------


def to_decimal(value: object) -> Decimal | None:
    """The Decimal of a JSON number or of a number in a string; None for anything unusable.

    Usable numbers are finite and within `MOST_MAGNITUDE` and `LONGEST_NUMBER`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, str):
        if len(value) > LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            return None
    elif isinstance(value, int) and abs(value) >= 10 ** (MOST_MAGNITUDE + 1):
        return None  # before Decimal() spells a number of a million digits
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if _is_bounded(number) else None


def _is_bounded(number: Decimal) -> bool:
    return number.is_finite() and abs(number.adjusted()) <= MOST_MAGNITUDE


def to_instant(value: datetime) -> datetime | None:
    """The aware instant in UTC; None outside of the years that a trading day can have."""
    try:
        instant = value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return instant if FIRST_INSTANT <= instant < LAST_INSTANT else None


def http_date(header: str | None) -> datetime | None:
    """An HTTP date as aware UTC; None for anything else."""
    if not header or len(header) > _LONGEST_HEADER:
        return None
    try:
        date = parsedate_to_datetime(header)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        # OverflowError: "Fri, 31 Dec 9999 23:59:59 -1200" has no UTC
        return None


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """The wait of a `Retry-After` header, seconds or a date; None for nothing usable.

    Never more than `LONGEST_WAIT_S`, whichever form it has.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_WAIT_S)
    if (until := http_date(text)) is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_WAIT_S)


# --- JSON --------------------------------------------------------------------------------------


def decode(content: bytes | str) -> object:
    """Decode JSON, fractions as Decimal; a number beyond the bounds becomes `UNUSABLE`.

    Of a doubled key the last counts, as for every other client. Raises NotJson, and
    BadData for what is nested deeper than `DEEPEST`.
    """
    try:
        # orjson is out of the question here: it reads numbers as float
        document = json.loads(
            content, parse_float=_fraction, parse_int=_whole, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError is a ValueError
        raise _not_json(content, exc) from exc
    return _shallow(document, content)


def decode_floats(content: bytes | str) -> object:
    """Decode JSON with its fractions as finite floats, for documents that are stored again.

    Raises BadData as `decode` does, and for numbers beyond the bounds.
    """
    try:
        document = json.loads(
            content, parse_float=_finite, parse_int=_short, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as exc:
        raise _not_json(content, exc) from exc
    return _shallow(document, content)


def _not_json(content: bytes | str, exc: Exception) -> BadData:
    if isinstance(exc, RecursionError):
        return _too_deep(content)
    return NotJson("the answer is not JSON", size=len(content), begins=beginning(content))


def _too_deep(content: bytes | str) -> BadData:
    return BadData("the answer is nested too deeply", size=len(content))


def _shallow(document: object, content: bytes | str) -> object:
    """The document. Raises BadData for one that only the next `repr` would find too deep."""
    level = [document]
    for _ in range(DEEPEST):
        level = [each for outer in level for each in _inside(outer)]
        if not level:
            return document
    raise _too_deep(content)


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return [each for each in value.values() if isinstance(each, dict | list)]
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict | list)]
    return []


def _fraction(text: str) -> Decimal:
    if len(text) > LONGEST_NUMBER:
        return UNUSABLE
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return UNUSABLE
    return number if _is_bounded(number) else UNUSABLE


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) <= MOST_MAGNITUDE + 1 else UNUSABLE


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text[: LONGEST_NUMBER + 1])
    if len(text) > LONGEST_NUMBER or number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond all bounds")
    return number


def _short(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError("a number beyond all bounds")
    return int(text)
