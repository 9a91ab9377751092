"""Texts on their way to Postgres: what it cannot hold becomes U+FFFD there, whoever wrote it.

A NUL or a lone surrogate in one error text ended the writer of slots, and the daemon with it.
`jobs.core.untrusted` cleans foreign texts where they enter; this is the last place where one can be
met.
"""

import json
import math
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown

from jobs.core.untrusted import clean


class _CleanText(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        try:
            return super().dump(obj)
        except (psycopg.DataError, UnicodeEncodeError):
            return super().dump(clean(obj))


def adapt(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
    """Let `connection` write every str and every JSON value."""
    connection.adapters.register_dumper(str, _CleanText)
    set_json_dumps(dumps, connection)


def dumps(value: object) -> str:
    """JSON that jsonb takes: it refuses NUL, lone surrogates and NaN, escaped ones too."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_storable(value))
    if "\\u0000" in text or "\\ud" in text:  # or a whole pair, which stays as it is
        return json.dumps(_storable(value))
    return text


def _storable(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
