"""A throw-away Postgres, and a migrated database for each worker."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from sqlalchemy.ext.asyncio import create_async_engine

from daemon.postgres import schema
from daemon.postgres.server import EmbeddedPostgres
from jobs.store.db import Database

# what a SIGKILL of a client can lose is not on disk: the server itself never dies here
POOL_SIZE = 3
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def connect(address: str) -> Database:
    """The database at `address`, over connections that a forked process can replace.

    The daemon's own pool belongs to the loop that opened it; statements and transactions are the
    same.
    """
    engine = create_async_engine(
        address.replace("postgresql://", "postgresql+psycopg://", 1),
        isolation_level="READ COMMITTED",
        pool_size=POOL_SIZE,
    )

    @asynccontextmanager
    async def checkout() -> AsyncIterator[psycopg.AsyncConnection]:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            raw = (await connection.get_raw_connection()).driver_connection
            if not isinstance(raw, psycopg.AsyncConnection):
                raise TypeError("no psycopg connection")
            yield raw

    def stats() -> NoReturn:
        raise NotImplementedError("the order path does not ask for them")

    return Database(engine=engine, checkout=checkout, pool_stats=stats)


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
