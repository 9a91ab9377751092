"""A throw-away Postgres for measurements, and fresh migrated databases in it."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from daemon.postgres import schema
from daemon.postgres.server import EmbeddedPostgres

# as the daemon runs it, and big enough that a checkpoint is not what is measured
SETTINGS = {"max_wal_size": "4GB", "autovacuum": "off"}

_numbers = itertools.count(1)


@contextmanager
def scratch_server() -> Iterator[str]:
    """The URL of a server that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="upbitd bench ") as directory:
        Path(directory).chmod(0o755)
        with EmbeddedPostgres(Path(directory) / "pg", settings=SETTINGS) as server:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE migrated")
            schema.upgrade(server.url.replace("/postgres?", "/migrated?"))
            yield server.url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of a fresh migrated database, dropped afterwards."""
    name = f"bench{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        create = SQL("CREATE DATABASE {} TEMPLATE migrated").format(Identifier(name))
        connection.execute(create)
        try:
            yield server_url.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
