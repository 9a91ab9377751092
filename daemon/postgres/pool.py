"""The pool of connections under SQLAlchemy, open and warm before anybody gets it.

psycopg owns the pooling; SQLAlchemy takes and returns its connections there, and so do hot paths
that need a psycopg connection. The only importer of psycopg_pool.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from loguru import logger
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from daemon.postgres.connection_leaks import Checkout, CheckoutTracker
from daemon.postgres.slow_queries import timed_cursor
from jobs.core.errors import Permanent, Unavailable
from jobs.core.job import current_lane
from jobs.store.connecting import (
    CONNECT_TIMEOUT_S,
    READ_ONLY,
    arguments,
    connect,
    is_spent,
    prepare,
)
from jobs.store.db import Database, PoolExhausted, PoolStats, translated
from jobs.store.poolers import refuse_shared_sessions

RETRY_S = 0.1
RECONNECT_S = 3.0
CLOSE_TIMEOUT_S = 5.0
MAX_LIFETIME_S = 3600.0
RESTED_S = 1.0
RENEW_EVERY_S = 1.0
NEVER = float("-inf")
# A peer that vanished without a word must not hang a statement for hours.
KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the pool behaves; the section `[database]` and its defaults."""

    pool_min: int = 10
    pool_max: int = 20
    acquire_timeout_s: float = 5.0
    max_waiting: int = 200
    statement_timeout_s: float = 30.0
    slow_query_s: float = 0.1
    isolation: str = "read committed"
    start_timeout_s: float = 10.0
    application_name: str = "upbitd"
    kept_for_orders: int = 0
    hold_limit_s: float = 60.0


@asynccontextmanager
async def open_database(url: str, options: PoolOptions | None = None) -> AsyncIterator[Database]:
    """Yield the database with `pool_min` connections open; close them all at the end.

    Raises Permanent for an address that cannot be read, Unavailable when there is no usable
    server within `start_timeout_s`. No message ever holds the password.
    """
    options = options or PoolOptions()
    where = without_password(url)
    await _await_server(url, where, options.start_timeout_s)
    pool = _make_pool(url, options)
    try:
        await _warm(pool, where, options)
        engine = _make_engine(pool, options)
        with translated():
            async with engine.connect() as connection:  # SQLAlchemy's own first questions
                await connection.execute(text("SELECT 1"))
        watch = asyncio.create_task(pool.checkouts.watch())
        try:
            yield Database(engine=engine, checkout=_lender(pool), pool_stats=pool.stats)
        finally:
            watch.cancel()
        await engine.dispose()
    finally:
        await pool.close(timeout=CLOSE_TIMEOUT_S)


def without_password(url: str) -> str:
    """The address for people and logs: user, host, port and database. Raises Permanent."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message repeats the address
        raise Permanent("database.url is not an address of a Postgres server") from None
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return f"postgresql://{user}{host}{port}/{parts.get('dbname', '')}"


async def _await_server(url: str, where: str, timeout_s: float) -> None:
    """Return once a connection succeeds, so that a failure can be told with its cause."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        left_s = deadline - loop.time()
        try:
            # libpq counts whole seconds, and reads 0 as no limit
            within_s = max(1, min(CONNECT_TIMEOUT_S, round(left_s)))
            connection = await connect(url, connect_timeout=within_s)
        except psycopg.OperationalError as exc:
            if loop.time() + RETRY_S > deadline:
                cause = str(exc).strip().partition("\n")[0]
                raise Unavailable(f"no database at {where}", cause=cause) from None
            await asyncio.sleep(RETRY_S)
        else:
            try:
                await refuse_shared_sessions(connection, url)
            finally:
                await connection.close()
            return


class _Connection(psycopg.AsyncConnection[Any]):
    lender: "_Pool | None" = None
    checkout: Checkout | None = None
    returned_at = NEVER
    is_shared = False
    is_spent = False

    async def close(self) -> None:
        # psycopg gives an open connection back to its pool but forgets a broken one, and with it
        # the place in the pool for good
        if self.closed and self.lender is not None:
            await self.lender.putconn(self)
        else:
            await super().close()

    def add_notice_handler(self, callback: Callable[[psycopg.errors.Diagnostic], None]) -> None:
        # SQLAlchemy adds its handler at every checkout: without this they pile up
        with contextlib.suppress(ValueError):
            self.remove_notice_handler(callback)
        super().add_notice_handler(callback)


class _Pool(AsyncConnectionPool[_Connection]):
    """A pool that counts what is out, to tell a pool in full use from a database that is away.

    The last `kept` connections go to the orders lane alone: all other callers together take
    `shared`, whatever hangs among them.
    """

    busy = 0
    exhausted = 0
    kept = 0
    checkouts: CheckoutTracker
    _sharers = 0
    _renewed_s = NEVER
    _renewing: asyncio.Future[None] | None = None

    @cached_property
    def shared(self) -> asyncio.Semaphore:
        """What callers outside of the orders lane may still take."""
        return asyncio.Semaphore(self._limit)

    async def getconn(self, timeout: float | None = None) -> _Connection:  # noqa: ASYNC109 (theirs)
        """Lend a connection. Raises PoolExhausted or Unavailable."""
        is_shared = current_lane.get() != "orders"
        if is_shared:
            await self._share()
        try:
            connection = await super().getconn(timeout)
        except BaseException as exc:
            if is_shared:
                self.shared.release()
            if isinstance(exc, PoolTimeout | TooManyRequests):
                raise self._refusal(str(exc), self.max_size) from exc
            raise
        self.busy += 1
        connection.checkout = self.checkouts.begin(connection.info.backend_pid)
        connection.lender, connection.is_shared = self, is_shared
        return connection

    async def putconn(self, conn: _Connection) -> None:
        """Take a connection back; once only."""
        if conn.lender is not None:
            conn.lender = None
            self.busy -= 1
            self.checkouts.end(conn.checkout)
            conn.returned_at = time.monotonic()
            if conn.is_shared:
                self.shared.release()
            if conn.is_spent:
                conn.pgconn.finish()  # closed; the pool replaces it
            await super().putconn(conn)

    def distrust(self, conn: _Connection, exc: psycopg.Error) -> None:
        """Give up a session after an error that says that it, or its server, has had its time.

        After a failover every session from before answers read-only, so all of them go.
        """
        if not is_spent(exc):
            return
        conn.is_spent = True
        now_s = time.monotonic()
        if exc.sqlstate == READ_ONLY and now_s - self._renewed_s >= RENEW_EVERY_S:
            self._renewed_s = now_s
            logger.bind(event="db.read_only", cause=str(exc)).warning(
                "The database takes no writes; all its connections are opened anew"
            )
            self._renewing = asyncio.ensure_future(self.drain())

    @property
    def _limit(self) -> int:
        return max(1, self.max_size - self.kept)

    async def _share(self) -> None:
        limit = self._limit
        if self.shared.locked() and self._sharers >= self.max_waiting > 0:
            raise self._refusal(f"{self._sharers} callers are waiting already", limit)
        self._sharers += 1
        try:
            async with asyncio.timeout(self.timeout):
                await self.shared.acquire()
        except TimeoutError:
            raise self._refusal(f"none came free in {self.timeout:g} s", limit) from None
        finally:
            self._sharers -= 1

    def _refusal(self, cause: str, limit: int) -> Unavailable:
        """Say whether connections are in use, or whether the database gives none."""
        if self.busy < limit:
            return Unavailable("the database does not answer", cause=cause)
        self.exhausted += 1
        return PoolExhausted(f"all {limit} database connections are in use", cause=cause)

    def stats(self) -> PoolStats:
        """Say how the pool is now."""
        now = self.get_stats()
        return PoolStats(
            size=now["pool_size"],
            available=now["pool_available"],
            waiting=now["requests_waiting"] + self._sharers,
            max=now["pool_max"],
            shared=self._limit,
            busy=self.busy,
            exhausted=self.exhausted,
            held_too_long=self.checkouts.too_long,
        )


def _make_pool(url: str, options: PoolOptions) -> _Pool:
    async def keep_trying(pool: AsyncConnectionPool[Any]) -> None:
        # psycopg's own pause between attempts doubles up to minutes; after RECONNECT_S it gives
        # up, and starting over here finds a database that is back within two seconds
        if not pool.closed:
            await pool.check()

    timeout_ms = round(options.statement_timeout_s * 1000)
    limits = f"SET statement_timeout = {timeout_ms}"

    async def configure(connection: _Connection) -> None:
        await prepare(connection, url)
        await connection.execute(limits.encode())

    pool = _Pool(
        url,
        connection_class=_Connection,
        kwargs={
            **arguments(url),
            "autocommit": True,
            "application_name": options.application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "cursor_factory": timed_cursor(options.slow_query_s, _distrust),
            **KEEPALIVE,
        },
        min_size=options.pool_min,
        max_size=options.pool_max,
        timeout=options.acquire_timeout_s,
        max_waiting=options.max_waiting,
        max_lifetime=MAX_LIFETIME_S,
        reconnect_timeout=RECONNECT_S,
        reconnect_failed=keep_trying,
        configure=configure,
        check=_look_at_one_that_rested,
        close_returns=True,  # without it every connection that SQLAlchemy closes is lost
        open=False,
    )
    pool.checkouts = CheckoutTracker(options.hold_limit_s)
    pool.kept = min(options.kept_for_orders, options.pool_max - 1)
    return pool


def _distrust(connection: psycopg.AsyncConnection[Any], exc: psycopg.Error) -> None:
    if isinstance(connection, _Connection) and connection.lender is not None:
        connection.lender.distrust(connection, exc)


async def _look_at_one_that_rested(connection: _Connection) -> None:
    """Try a connection that may have been lost unseen; one in steady use tells by itself."""
    if connection.closed or time.monotonic() - connection.returned_at > RESTED_S:
        await AsyncConnectionPool.check_connection(connection)


async def _warm(pool: _Pool, where: str, options: PoolOptions) -> None:
    try:
        await pool.open(wait=True, timeout=options.start_timeout_s)
    except PoolTimeout:
        raise Unavailable(
            f"{where} does not give {options.pool_min} connections: lower database.pool_min, or "
            "raise max_connections of the server"
        ) from None


def _make_engine(pool: _Pool, options: PoolOptions) -> AsyncEngine:
    return create_async_engine(
        "postgresql+psycopg://",
        poolclass=NullPool,
        async_creator=pool.getconn,
        isolation_level=options.isolation.upper(),
    )


def _lender(pool: _Pool) -> Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection]]:
    @asynccontextmanager
    async def lend() -> AsyncIterator[psycopg.AsyncConnection]:
        async with pool.connection() as connection:
            await connection.set_autocommit(True)  # SQLAlchemy leaves it off
            yield connection

    return lend
