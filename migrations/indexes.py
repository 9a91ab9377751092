"""Indexes made and dropped without stopping a writer, whatever ended an earlier attempt.

A build that was cut off leaves an invalid index behind, which costs every write and helps no read;
the next attempt drops it and starts over. Everything here runs outside a transaction: revisions
call it before they change anything else, and calling it again changes nothing.
"""

from alembic import op
from sqlalchemy import text

_INVALID = """
SELECT EXISTS (
    SELECT FROM pg_index
    WHERE indexrelid = to_regclass(:name) AND NOT (indisvalid AND indisready)
)
"""


def create_index(name: str, on: str, *, where: str | None = None) -> None:
    """Build the index `name` on `on` (table and columns); one that stands and is whole stays."""
    condition = "" if where is None else f" WHERE {where}"
    with op.get_context().autocommit_block():
        if op.get_bind().execute(text(_INVALID), {"name": name}).scalar_one():
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}{condition}")


def drop_index(name: str) -> None:
    """Drop the index `name` if it stands."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
