"""How the database is doing: what is slow, large, bloated, unused, missing or held open too long.

Reads the server's own statistics and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from jobs.store.db import Database
from jobs.store.tables import metadata

ROWS = 10
LONG_S = 60.0
SMALL_BYTES = 1_000_000
"""Indexes below this are not worth a word, however little they are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A kind of statement by what it takes in all; values are left out by the server."""

    calls: int
    total_s: float
    mean_ms: float
    rows: int
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """A table with its indexes and all its partitions."""

    name: str
    rows: int
    bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFact:
    """An index, and what is the matter with it."""

    name: str
    table: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bloat:
    """A table with many dead rows."""

    name: str
    live: int
    dead: int
    share: float
    vacuumed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A large table that is read from end to end more often than by an index."""

    name: str
    rows: int
    scans: int
    rows_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTransaction:
    """A transaction that is open for a while: it holds up vacuum, and maybe others."""

    pid: int
    application: str
    state: str
    age_s: float
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseReport:
    """All of it. `statements` is None where pg_stat_statements is not at hand."""

    statements: list[Statement] | None
    sizes: list[TableSize]
    invalid: list[IndexFact]
    missing: list[str]
    unused: list[IndexFact]
    scanned: list[Scanned]
    bloated: list[Bloat]
    transactions: list[LongTransaction]
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing has to be mended."""
        return not (self.invalid or self.missing or self.transactions)


STATEMENTS = """
SELECT calls, total_exec_time / 1000 AS total_s, mean_exec_time AS mean_ms, rows,
    regexp_replace(query, '\\s+', ' ', 'g') AS statement
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND query !~* '^\\s*(begin|commit|rollback|set|show|listen|select 1$)'
ORDER BY total_exec_time DESC LIMIT %(rows)s
"""
SIZES = """
SELECT root.relname AS name, sum(greatest(leaf.reltuples, 0))::bigint AS rows,
    sum(pg_total_relation_size(leaf.oid))::bigint AS bytes,
    sum(pg_indexes_size(leaf.oid))::bigint AS index_bytes
FROM pg_class AS root
LEFT JOIN pg_inherits ON inhparent = root.oid
JOIN pg_class AS leaf ON leaf.oid = coalesce(inhrelid, root.oid)
WHERE root.relnamespace = 'public'::regnamespace AND root.relkind IN ('r', 'p')
    AND NOT root.relispartition
GROUP BY root.relname ORDER BY bytes DESC LIMIT %(rows)s
"""
INVALID = """
SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS table,
    pg_relation_size(indexrelid) AS bytes, 'left half built' AS why
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT (indisvalid AND indisready) AND relnamespace = 'public'::regnamespace
ORDER BY 1
"""
UNUSED = """
SELECT indexrelname AS name, relname AS table, pg_relation_size(indexrelid) AS bytes,
    'never used since the statistics began' AS why
FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
WHERE idx_scan = 0 AND NOT indisunique AND pg_relation_size(indexrelid) >= %(small)s
ORDER BY bytes DESC LIMIT %(rows)s
"""
SCANNED = """
SELECT relname AS name, n_live_tup AS rows, seq_scan AS scans, seq_tup_read AS rows_read
FROM pg_stat_user_tables
WHERE n_live_tup > 10000 AND seq_scan > coalesce(idx_scan, 0) AND seq_scan > 10
ORDER BY seq_tup_read DESC LIMIT %(rows)s
"""
BLOATED = """
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead,
    n_dead_tup::float8 / (n_live_tup + n_dead_tup) AS share,
    greatest(last_vacuum, last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables
WHERE n_dead_tup > 10000 AND n_dead_tup > 0.2 * (n_live_tup + n_dead_tup)
ORDER BY n_dead_tup DESC LIMIT %(rows)s
"""
TRANSACTIONS = """
SELECT pid, application_name AS application, coalesce(state, '') AS state,
    extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_s,
    left(regexp_replace(query, '\\s+', ' ', 'g'), 100) AS statement
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - %(long_s)s * interval '1 second'
ORDER BY xact_start LIMIT %(rows)s
"""
NAMES = """
SELECT indexname FROM pg_indexes WHERE schemaname = 'public'
"""
INSTALLED = "SELECT FROM pg_extension WHERE extname = 'pg_stat_statements'"
MEND = (
    "slowest statements are not known: load pg_stat_statements (shared_preload_libraries), "
    "then CREATE EXTENSION pg_stat_statements"
)


async def report(db: Database, *, long_s: float = LONG_S) -> DatabaseReport:
    """Read the server's statistics. Raises Unavailable."""
    values = {"rows": ROWS, "small": SMALL_BYTES, "long_s": long_s}
    async with db.connection() as connection:

        async def rows(row: type[Any], statement: str) -> list[Any]:
            async with connection.cursor(row_factory=class_row(row)) as cursor:
                await cursor.execute(statement.encode(), values)
                return await cursor.fetchall()

        notes: list[str] = []
        return DatabaseReport(
            statements=await _statements(connection, values, notes),
            sizes=await rows(TableSize, SIZES),
            invalid=await rows(IndexFact, INVALID),
            missing=await _missing(connection),
            unused=await rows(IndexFact, UNUSED),
            scanned=await rows(Scanned, SCANNED),
            bloated=await rows(Bloat, BLOATED),
            transactions=await rows(LongTransaction, TRANSACTIONS),
            notes=notes,
        )


async def _statements(
    connection: psycopg.AsyncConnection[Any], values: Mapping[str, object], notes: list[str]
) -> list[Statement] | None:
    if await (await connection.execute(INSTALLED)).fetchone() is None:
        notes.append(MEND)
        return None
    async with connection.cursor(row_factory=class_row(Statement)) as cursor:
        try:
            await cursor.execute(STATEMENTS.encode(), values)
            return await cursor.fetchall()
        except psycopg.errors.InsufficientPrivilege:
            notes.append("slowest statements are not shown to this role: GRANT pg_read_all_stats")
        except psycopg.errors.ObjectNotInPrerequisiteState:  # installed, and not loaded
            notes.append(MEND)
    return None


async def _missing(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Indexes of ours that the database lacks."""
    present = {row[0] for row in await (await connection.execute(NAMES)).fetchall()}
    ours = {str(index.name) for table in metadata.tables.values() for index in table.indexes}
    return sorted(ours - present)


def as_dict(found: DatabaseReport) -> dict[str, Any]:
    """The report as plain values, for JSON."""
    return {each.name: getattr(found, each.name) for each in fields(found)}
