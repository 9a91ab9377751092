"""Who holds a lock that somebody waits for: process, program, since when, and what it does.

A wait without a name is a riddle for whoever is on call; with it the mend is one statement.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from jobs.core.errors import JobError
from jobs.store.connecting import connect_blocking

LOOK_EVERY_S = 0.2
WHO = """
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS application,
    coalesce(usename, '') AS role, coalesce(state, '') AS state,
    extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start))::int AS age_s,
    to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS query_start
FROM pg_stat_activity
"""
BLOCKING = f"""
{WHO} WHERE pid IN (
    SELECT unnest(pg_blocking_pids(waiting.pid)) FROM pg_stat_activity AS waiting
    WHERE waiting.application_name = %s AND waiting.datname = current_database()
) ORDER BY xact_start LIMIT 3
"""  # noqa: S608 - no values of anybody's
ADVISORY_HOLDER = f"""
{WHO} WHERE pid = (
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = %(high)s AND objid = %(low)s LIMIT 1
)
"""  # noqa: S608


def advisory(key: int) -> dict[str, int]:
    """How pg_locks spells the number of an advisory lock."""
    return {"high": key >> 32, "low": key & 0xFFFF_FFFF}


def describe(row: Any) -> str:
    """The holder in a row of `WHO`, and how to end it."""
    if row is None:
        return "it was given back just now, or this role may not see who holds it"
    return (
        f"process {row[0]} ({row[1]}, role {row[2]}, {row[3] or 'state unknown'}, "
        f"transaction open for {row[4]} s, last statement began {row[5] or 'unknown'} UTC); "
        f"end it, or `SELECT pg_terminate_backend({row[0]})`"
    )


class Blockers:
    """Remembers who blocked the sessions of a program, for the moment when they give up."""

    def __init__(self, url: str, application_name: str) -> None:
        self._url = url
        self._application_name = application_name
        self._seen: list[str] = []

    def __str__(self) -> str:
        """Everybody who was seen last."""
        return "; ".join(self._seen) or "nobody was seen in time, try again"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look again and again inside the block, on a connection of its own."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), name="blockers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        try:
            with connect_blocking(self._url, autocommit=True) as connection:
                while not over.wait(LOOK_EVERY_S):
                    rows = connection.execute(BLOCKING.encode(), [self._application_name])
                    if seen := [describe(row) for row in rows.fetchall()]:
                        self._seen = seen
        except (psycopg.Error, JobError):
            return  # whoever migrates meets the same trouble, and says it
