"""What Alembic runs for every command: our metadata against the connection it is handed."""

from collections.abc import MutableMapping
from typing import Any

from alembic import context
from sqlalchemy import Connection

from jobs.store.tables import metadata


def include_name(name: str | None, kind: str, parents: MutableMapping[Any, str | None]) -> bool:
    """Leave out the partitions of candles: upkeep makes and retires them, not a revision."""
    table = name if kind == "table" else parents.get("table_name")
    return not (table or "").startswith("candles_")


def run(connection: Connection) -> None:
    """Run the revisions that the command asks for, each in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
