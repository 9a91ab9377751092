"""The database as jobs see it: transactions, and its failures as ours.

A connection that is lost, refused or not to be had becomes `Unavailable`; the server's request
to try again (deadlock, timeout of a statement or lock) becomes `Transient`. Everything else, a
violated constraint for example, passes as it is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jobs.core.errors import Transient, Unavailable
from jobs.store.fence import Fence

T = TypeVar("T")

SERIALIZABLE_ATTEMPTS = 10

# https://www.postgresql.org/docs/current/errcodes-appendix.html
CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
TRY_AGAIN = CONFLICTS | {"55P03", "57014"}  # lock not available, statement timeout
LOST_CLASSES = frozenset({"08", "28", "53"})  # connection, authorization, resources
LOST_CODES = frozenset({"3D000", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25006"})


class PoolExhausted(Unavailable):
    """Every connection of the pool is in use, and the wait for one was too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """The pool now: connections it has, those free, callers waiting, and its limit.

    `busy` are in use; `exhausted` counts the requests that found no connection since the start,
    and `held_too_long` the connections that were not given back in time. `shared` are those that
    others than the order path may have.
    """

    size: int
    available: int
    waiting: int
    max: int
    shared: int
    busy: int
    exhausted: int
    held_too_long: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The one way to the database.

    `checkout` lends a psycopg connection in autocommit straight from the pool. With a `fence`
    every transaction raises StaleEpoch once a later leader exists; `connection` is for reading
    then.
    """

    engine: AsyncEngine
    checkout: Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection]]
    pool_stats: Callable[[], PoolStats]
    fence: Fence | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Lend a psycopg connection in autocommit, for COPY and hot paths."""
        with translated():
            async with self.checkout() as connection:
                yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open one READ COMMITTED transaction: committed at the end, rolled back on an error."""
        with translated():
            async with self.engine.begin() as connection:
                if self.fence is not None:
                    await self.fence.stand(connection)
                yield connection

    async def serializable(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return what `work` returned in a SERIALIZABLE transaction that was committed.

        `work` runs again, in a new transaction, when the server found a conflict: it must have no
        effect outside the database. Raises Transient when the conflicts do not end.
        """
        attempt = 1
        while True:
            try:
                return await self._serializable_once(work)
            except (DBAPIError, psycopg.Error) as exc:
                if _sqlstate(exc) not in CONFLICTS or attempt == SERIALIZABLE_ATTEMPTS:
                    raise as_job_error(exc) or exc from exc
            attempt += 1

    async def _serializable_once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="SERIALIZABLE")
            async with connection.begin():
                if self.fence is not None:
                    await self.fence.stand(connection)
                return await work(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the failures of a database that is away or busy into `Unavailable` and `Transient`."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as exc:
        if (error := as_job_error(exc)) is None:
            raise
        raise error from exc


def as_job_error(exc: Exception) -> Transient | None:
    """Our name for a database error that may pass; None for every other one."""
    sqlstate = _sqlstate(exc)
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    if sqlstate in TRY_AGAIN:
        return Transient("the database asks to try again", sqlstate=sqlstate, cause=_line(cause))
    if sqlstate is None:
        away = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    else:
        away = sqlstate in LOST_CODES or sqlstate[:2] in LOST_CLASSES
    if not away:
        return None
    return Unavailable("the database does not answer", sqlstate=sqlstate, cause=_line(cause))


def _sqlstate(exc: Exception) -> str | None:
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    return getattr(cause, "sqlstate", None)


def _line(cause: object) -> str:
    return str(cause).strip().partition("\n")[0]
