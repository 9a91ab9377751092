"""Poolers between us and Postgres: those that share one session among clients are refused.

In transaction mode (PgBouncer and others) prepared statements of several clients mix, LISTEN hears
nothing, and the leader's advisory lock stays behind in a session that nobody owns.
"""

from typing import Any

import psycopg

from jobs.core.errors import Permanent
from jobs.store.connecting import connect

ROUNDS = 3
MEND = (
    "the database is reached through a pooler in transaction mode, which locks, LISTEN and prepared"
    " statements do not survive: point database.url at Postgres itself, or set pool_mode = session"
)


async def refuse_shared_sessions(connection: psycopg.AsyncConnection[Any], url: str) -> None:
    """Raise Permanent when statements of one connection may run in sessions of others.

    A server behind a pooler has another process id than the one that the pooler named; without a
    pooler this costs one question.
    """
    if await _server_pid(connection) == connection.info.backend_pid:
        return
    async with await connect(url) as other:
        for _ in range(ROUNDS):
            try:
                is_shared = await _is_shared(connection, other)
            except psycopg.errors.ProtocolViolation as exc:  # statement mode knows no transaction
                raise Permanent(MEND) from exc
            if is_shared:
                raise Permanent(MEND)


async def _is_shared(
    connection: psycopg.AsyncConnection[Any], other: psycopg.AsyncConnection[Any]
) -> bool:
    first = await _server_pid(connection)
    async with other.transaction():  # holds a session: the one just used, if it is shared
        return await _server_pid(other) == first or await _server_pid(connection) != first


async def _server_pid(connection: psycopg.AsyncConnection[Any]) -> int:
    asked = await connection.execute("SELECT pg_backend_pid()", prepare=False)
    row = await asked.fetchone()
    return int(row[0]) if row is not None else 0
