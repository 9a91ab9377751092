"""A throw-away Postgres, and a migrated database for each worker."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from daemon import schema
from daemon.embedded import EmbeddedPostgres

# what a SIGKILL of a client can lose is not on disk: the server itself never dies here
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def databases(count: int) -> Iterator[list[str]]:
    """The addresses of `count` fresh databases."""
    root = Path(tempfile.mkdtemp(prefix="upbitd-proof-"))
    root.chmod(0o755)
    try:
        with EmbeddedPostgres(root / "pg", settings=QUICK) as server:
            first = _made(server.url, "proof0", "template1")
            schema.upgrade(make_conninfo(server.url, dbname="proof0"))
            copies = [_made(server.url, f"proof{n}", "proof0") for n in range(1, count)]
            yield [first, *copies]
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _made(url: str, name: str, template: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        create = SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(Identifier(name), Identifier(template)))
    return url.replace("/postgres?", f"/{name}?")
