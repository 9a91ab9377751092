"""Statements over a limit as log lines: what was asked, never with which values."""

import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from loguru import logger
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor, Error
from psycopg.abc import Params
from psycopg.copy import AsyncWriter
from psycopg.rows import TupleRow
from psycopg.sql import Composable

SHOWN_CHARACTERS = 500

COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
DOLLAR_QUOTED = re.compile(r"(\$\w*\$).*?\1", re.DOTALL)
QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
PLACEHOLDERS = re.compile(r"%\(\w+\)[sbt]|%[sbt]|\$\d+")
NUMBERS = re.compile(r"\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b")
LISTS = re.compile(r"\(\s*\?(?:::[\w\[\] ]+)?(?:\s*,\s*\?(?:::[\w\[\] ]+)?)*\s*\)")
ROWS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")


def normalized(statement: str) -> str:
    """The statement on one line, every literal, placeholder and list of them as `?`."""
    for pattern in (COMMENTS, DOLLAR_QUOTED, QUOTED, PLACEHOLDERS, NUMBERS):
        statement = pattern.sub(" " if pattern is COMMENTS else "?", statement)
    statement = ROWS.sub("(?)", LISTS.sub("(?)", statement))
    return " ".join(statement.split())


def fingerprint(statement: str) -> str:
    """A short name that all executions of one statement share, whatever their values."""
    return hashlib.sha256(normalized(statement).encode()).hexdigest()[:12]


OnError = Callable[[AsyncConnection[Any], Error], None]


def timed_cursor(
    limit_s: float, on_error: OnError = lambda _connection, _error: None
) -> type[AsyncCursor[TupleRow]]:
    """A psycopg cursor that logs `db.slow_query` for what takes `limit_s` seconds or longer.

    `on_error` is told of every error of a statement, with its connection.
    """

    class TimedCursor(AsyncCursor[TupleRow]):
        """A cursor that knows how long its statements took."""

        async def execute(
            self,
            query: Any,
            params: Params | None = None,
            *,
            prepare: bool | None = None,
            binary: bool | None = None,
        ) -> Self:
            """Execute; see psycopg."""
            with self._watched(query):
                return await super().execute(query, params, prepare=prepare, binary=binary)

        async def executemany(
            self, query: Any, params_seq: Iterable[Params], *, returning: bool = False
        ) -> None:
            """Execute for each parameters; see psycopg."""
            with self._watched(query):
                await super().executemany(query, params_seq, returning=returning)

        @asynccontextmanager
        async def copy(
            self,
            statement: Any,
            params: Params | None = None,
            *,
            writer: AsyncWriter | None = None,
        ) -> AsyncIterator[AsyncCopy]:
            """COPY; see psycopg."""
            with self._watched(statement):
                async with super().copy(statement, params, writer=writer) as copy:
                    yield copy

        @contextmanager
        def _watched(self, query: Any) -> Iterator[None]:
            began = time.monotonic()
            try:
                yield
            except Error as exc:
                on_error(self.connection, exc)
                raise
            finally:
                took_s = time.monotonic() - began
                if took_s >= limit_s:
                    _log(_as_text(query, self.connection), took_s, self.rowcount)

    return TimedCursor


def _log(statement: str, took_s: float, rows: int) -> None:
    logger.bind(
        event="db.slow_query",
        fingerprint=fingerprint(statement),
        statement=normalized(statement)[:SHOWN_CHARACTERS],
        duration_ms=round(took_s * 1000, 1),
        rows=max(rows, 0),
    ).warning("slow statement")


def _as_text(query: object, connection: AsyncConnection[Any]) -> str:
    if isinstance(query, Composable):
        return query.as_string(connection)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
