"""One daemon per account: a Postgres advisory lock held by a session of its own, and an epoch.

The lock dies with the session, so a killed leader frees it at once. Every leader takes the next
epoch; whatever writes money carries it, so that a leader that lost the lock without noticing can
be told from its successor.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from loguru import logger
from psycopg import sql

from jobs.errors import JobError, Unavailable

TRY_EVERY_S = 0.5
CHECK_EVERY_S = 1.0
CHECK_TIMEOUT_S = 3.0


class NotLeader(JobError):
    """Another instance holds the lock of this account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who wants to lead which account. `dsn` is a psycopg connection string."""

    dsn: str
    account: str
    holder: str

    @property
    def key(self) -> int:
        """The advisory lock's number: 63 bits of the account's hash."""
        digest = hashlib.sha256(f"upbitd:{self.account}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


class Leadership:
    """A held lock. `epoch` is higher than that of every leader before."""

    def __init__(self, session: psycopg.AsyncConnection, epoch: int) -> None:
        self._session = session
        self.epoch = epoch

    async def lost(self) -> None:
        """Return as soon as the session that holds the lock is gone; until then, wait."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    await self._session.execute("SELECT 1")
            except (psycopg.Error, TimeoutError, OSError) as error:
                logger.bind(event="leader.lost", epoch=self.epoch, error=str(error)).warning(
                    "Lost the session that holds the leader's lock"
                )
                return


@asynccontextmanager
async def leading(claim: Claim, *, wait: bool) -> AsyncIterator[Leadership]:
    """Hold the account's lock inside the block.

    With `wait` the call returns when the lock is free, however long that takes. Raises NotLeader
    when another holds it and `wait` is false, Unavailable when the database is away.
    """
    try:
        session = await psycopg.AsyncConnection.connect(
            claim.dsn, autocommit=True, application_name="upbitd leader", connect_timeout=5
        )
    except psycopg.OperationalError as error:
        raise Unavailable("database away", error=str(error)) from error
    try:
        await _lock(session, claim, wait=wait)
        yield Leadership(session, await _next_epoch(session, claim))
    except psycopg.OperationalError as error:
        raise Unavailable("database away", error=str(error)) from error
    finally:
        await session.close()


async def _lock(session: psycopg.AsyncConnection, claim: Claim, *, wait: bool) -> None:
    attempt = sql.SQL("SELECT pg_try_advisory_lock({})").format(claim.key)
    said = False
    while True:
        row = await (await session.execute(attempt)).fetchone()
        if row is not None and row[0]:
            return
        if not wait:
            raise NotLeader("another instance holds the lock of this account")
        if not said:
            logger.bind(event="leader.standby").info("Another instance leads; standing by")
            said = True
        await asyncio.sleep(TRY_EVERY_S)


async def _next_epoch(session: psycopg.AsyncConnection, claim: Claim) -> int:
    row = await (
        await session.execute(
            "INSERT INTO leadership (account, epoch, holder) VALUES (%s, 1, %s)"
            " ON CONFLICT (account) DO UPDATE SET epoch = leadership.epoch + 1,"
            " holder = excluded.holder, since = now() RETURNING epoch",
            (claim.account, claim.holder),
        )
    ).fetchone()
    if row is None:
        raise Unavailable("the leadership row was not written")
    epoch: int = row[0]
    logger.bind(event="leader.elected", epoch=epoch, holder=claim.holder).info("Leading")
    return epoch
