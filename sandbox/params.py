"""A request's parameters, and the string that its token must have hashed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from sandbox.refusals import bad

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters in the order received. `hashed` is what a token's query_hash is made from."""

    pairs: Pairs = ()
    hashed: str = ""

    def get(self, name: str) -> str | None:
        """The last value of `name`; None when it is absent or empty."""
        return next((value for key, value in reversed(self.pairs) if key == name and value), None)

    def all(self, name: str) -> list[str]:
        """Every value of `name`, and of `name[]`."""
        return [value for key, value in self.pairs if key in (name, f"{name}[]") and value]

    def listed(self, name: str) -> list[str]:
        """The values of a comma list; the parameter may also be repeated."""
        return [part for value in self.all(name) for part in value.split(",") if part]


def from_query(raw: str) -> Params:
    """Read a query string as it came over the wire, or a form body."""
    if not raw:
        return Params()
    parts = (part.partition("=") for part in raw.split("&") if part)
    pairs = tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in parts)
    return Params(pairs, unquote(raw))


def from_json(body: bytes) -> Params:
    """Read a JSON object; numbers keep the spelling they came in, null counts as absent.

    Raises VenueError when the body is something else.
    """
    if not body:
        return Params()
    try:
        raw = json.loads(body, parse_float=str, parse_int=str, object_pairs_hook=_Object)
    except ValueError as exc:
        raise bad("요청 본문이 JSON 형식이 아닙니다.") from exc
    if not isinstance(raw, _Object):
        raise bad("요청 본문이 JSON 객체가 아닙니다.")
    pairs = tuple(_spelt(raw))
    return Params(pairs, "&".join(f"{name}={value}" for name, value in pairs))


class _Object(list[tuple[str, object]]):
    """A JSON object as its pairs, in order."""


def _spelt(raw: _Object) -> Iterable[tuple[str, str]]:
    for name, value in raw:
        if isinstance(value, _Object):
            raise bad(f"{name} does not have a valid value")
        if isinstance(value, list):
            yield from ((f"{name}[]", str(each)) for each in value)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        elif value is not None:
            yield name, str(value)
