"""The database for one command: the running daemon's, or one started for as long as it takes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError, ProgrammingError

from daemon.config.load import Config
from daemon.config.sections import LogConfig
from daemon.postgres.encryption import refuse_clear
from daemon.postgres.pool import PoolOptions, open_database
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import EmbeddedError
from daemon.postgres.shared_server import shared_server
from daemon.telemetry.logs import configure
from jobs.core.errors import JobError
from jobs.store.db import Database

T = TypeVar("T")

EMBEDDED = "embedded"
SMALL = PoolOptions(pool_min=1, pool_max=4, start_timeout_s=5.0, application_name="upbitd-command")


class NoDatabase(Exception):
    """The database cannot be used; the message says why, masked."""


def in_database(config: Config, work: Callable[[Database], Awaitable[T]]) -> T:
    """Return what `work` returns. Raises NoDatabase when the database cannot be used."""
    logs = configure(
        LogConfig(level="WARNING", format="text"), config.sensitive(), stream=sys.stderr
    )
    try:
        return asyncio.run(_work(config, work))
    except ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            raise NoDatabase(
                "the database's schema is not this program's: see `upbitd migrate status`"
            ) from error
        raise
    except DBAPIError as error:
        raise NoDatabase(logs.mask(f"the database refuses: {error.orig}".strip())) from error
    except (EmbeddedError, JobError) as error:
        raise NoDatabase(logs.mask(str(error))) from error
    finally:
        logs.close()


async def _work(config: Config, work: Callable[[Database], Awaitable[T]]) -> T:
    async with open_for_command(config) as database:
        return await work(database)


@asynccontextmanager
async def open_for_command(config: Config) -> AsyncIterator[Database]:
    """Yield the daemon's database with a small pool.

    An embedded one that no daemon runs is started and stopped again. Raises EmbeddedError when
    there is none yet, Unavailable when a server does not answer.
    """
    with ExitStack() as stack:
        async with open_database(address_for_command(config, stack), SMALL) as database:
            yield database


def address_for_command(config: Config, stack: ExitStack, *, create: bool = False) -> str:
    """Return the daemon's database's address; `stack` stops what had to be started.

    With `create` an embedded one that does not exist yet is made. Raises EmbeddedError.
    """
    if config.database.url != EMBEDDED:
        refuse_clear(config)
        return config.database.url
    root = config.daemon.state_dir / "postgres"
    if create and not (root / "data" / "PG_VERSION").exists():
        return stack.enter_context(EmbeddedPostgres(root)).daemon_url
    return _embedded_url(root, stack)


def _embedded_url(root: Path, stack: ExitStack) -> str:
    """The address of our own Postgres, which is started when nobody runs it."""
    try:
        if not (root / "data" / "PG_VERSION").exists():
            raise EmbeddedError(
                f"there is no database below {root} yet: start the daemon with `upbitd run`"
            )
        return stack.enter_context(shared_server(root))
    except PermissionError as error:
        raise EmbeddedError(
            f"{error.filename} is closed to this user: use the daemon's own account, "
            "for example `sudo -u upbitd upbitd ...`"
        ) from None
