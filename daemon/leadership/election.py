"""One daemon per account: an advisory lock, a lease that is renewed each second, and an epoch.

The lock dies with its session, so a killed leader frees it at once. A frozen leader keeps its
session but renews nothing: a standby that sees the same count of renewals for TAKE_OVER_AFTER_S
of its own time ends the old sessions and takes the lock. Neither side compares clocks. Every
leader takes the next epoch, and whatever writes money holds on to it (jobs/store/fence.py), so a
leader that was replaced without noticing cannot write; it also stops by itself LEASE_S after its
last renewal, before anybody may take over.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from secrets import token_hex

import psycopg
from loguru import logger
from psycopg import sql

from daemon.postgres.blockers import ADVISORY_HOLDER, advisory, describe
from jobs.core.errors import JobError, Unavailable
from jobs.core.job import boottime_s
from jobs.store.connecting import connect
from jobs.store.fence import Fence

TRY_EVERY_S = 0.25
RENEW_EVERY_S = 1.0
LEASE_S = 3.0
TAKE_OVER_AFTER_S = 3.5
RENEW_TIMEOUT_S = 3.0
GIVE_UP_S = 1.0
EPOCH_LOCK_TIMEOUT = "500ms"
EPOCH_TRIES = 5


class NotLeader(JobError):
    """Another instance holds the lock of this account."""


def new_session() -> str:
    """Return a name for the sessions of this process, so that a successor can end them."""
    return token_hex(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who wants to lead which account. `dsn` is a psycopg connection string.

    `session` is part of the application name of every connection that writes for the leader.
    """

    dsn: str
    account: str
    holder: str
    session: str = field(default_factory=new_session)

    @property
    def key(self) -> int:
        """The advisory lock's number: 63 bits of the account's hash."""
        digest = hashlib.sha256(f"upbitd:{self.account}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


def application_name(session: str) -> str:
    """Return the application name of connections that end with the leadership of `session`."""
    return f"upbitd {session}"


class Leadership:
    """A held lock and its lease. `epoch` is higher than that of every leader before."""

    def __init__(
        self,
        session: psycopg.AsyncConnection,
        claim: Claim,
        epoch: int,
        *,
        elapsed: Callable[[], float] = boottime_s,
    ) -> None:
        self._session = session
        self._claim = claim
        self._elapsed = elapsed
        self._renewed_s = elapsed()
        self.epoch = epoch

    @property
    def fence(self) -> Fence:
        """What the writes of this leadership stand behind."""
        return Fence(account=self._claim.account, epoch=self.epoch)

    def holds(self) -> bool:
        """Whether the lease is in force: nobody can have taken over yet."""
        return self._elapsed() - self._renewed_s < LEASE_S

    async def lost(self) -> None:
        """Renew the lease; return as soon as it is another's or its session is gone."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                async with asyncio.timeout(RENEW_TIMEOUT_S):
                    mine = await self._renew()
            except (psycopg.Error, TimeoutError, OSError) as error:
                logger.bind(event="leader.lost", epoch=self.epoch, error=str(error)).warning(
                    "Lost the session that holds the leader's lock"
                )
                break
            if not mine:
                logger.bind(event="leader.deposed", epoch=self.epoch).warning(
                    "Another instance took over"
                )
                break
        self._renewed_s = float("-inf")

    async def give_up(self) -> None:
        """Say that nobody leads any more, so that commands need not wait for the lease to end."""
        with suppress(psycopg.Error, TimeoutError, OSError):
            async with asyncio.timeout(GIVE_UP_S):
                await self._session.execute(
                    "UPDATE leases SET renewed_at = 'epoch' WHERE account = %s AND epoch = %s",
                    (self._claim.account, self.epoch),
                )

    async def _renew(self) -> bool:
        began_s = self._elapsed()  # before the question: the server cannot have counted earlier
        renewed = await self._session.execute(
            "UPDATE leases SET beats = beats + 1, renewed_at = clock_timestamp()"
            " WHERE account = %s AND epoch = %s",
            (self._claim.account, self.epoch),
        )
        if renewed.rowcount != 1:
            return False
        self._renewed_s = began_s
        return True


@asynccontextmanager
async def leading(claim: Claim, *, wait: bool) -> AsyncIterator[Leadership]:
    """Hold the account's lock inside the block.

    With `wait` the call returns when the lock is free or its holder is silent, however long that
    takes. Raises NotLeader when another holds it and `wait` is false, Unavailable when the
    database is away.
    """
    try:
        session = await connect(claim.dsn, application_name=application_name(claim.session))
    except psycopg.OperationalError as error:
        raise Unavailable("database away", error=str(error)) from error
    try:
        await _lock(session, claim, wait=wait)
        leadership = Leadership(session, claim, await _next_epoch(session, claim))
        yield leadership
        await leadership.give_up()
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise Unavailable("database away", error=str(error)) from error
    finally:
        await session.close()


async def _lock(session: psycopg.AsyncConnection, claim: Claim, *, wait: bool) -> None:
    attempt = sql.SQL("SELECT pg_try_advisory_lock({})").format(claim.key)
    seen = _Seen()
    said = False
    while True:
        row = await (await session.execute(attempt)).fetchone()
        if row is not None and row[0]:
            return
        if not wait:
            holder = await _describe_holder(session, claim)
            raise NotLeader(f"another instance holds the lock of this account: {holder}")
        if not said:
            who = await _describe_holder(session, claim)
            logger.bind(event="leader.standby", holder=who).info(
                "Another instance leads; standing by"
            )
            said = True
        lease = await _lease(session, claim)
        if lease is not None and seen.silent_s(lease) >= TAKE_OVER_AFTER_S:
            who = await _describe_holder(session, claim)
            logger.bind(event="leader.silent", epoch=lease.epoch, holder=who).warning(
                "The leader renews nothing; taking over"
            )
            await _end_sessions(session, lease.session)
            await _end_holder(session, claim)
            seen = _Seen()
        else:
            await asyncio.sleep(TRY_EVERY_S)


@dataclass(frozen=True, slots=True)
class _Lease:
    epoch: int
    beats: int
    session: str


class _Seen:
    """Since when a lease has not moved, by our own clock."""

    def __init__(self) -> None:
        self._lease: _Lease | None = None
        self._since_s = 0.0

    def silent_s(self, lease: _Lease) -> float:
        # a clock that stands still while the machine sleeps: both sides slept then
        now_s = time.monotonic()
        if lease != self._lease:
            self._lease, self._since_s = lease, now_s
        return now_s - self._since_s


async def _lease(session: psycopg.AsyncConnection, claim: Claim) -> _Lease | None:
    row = await (
        await session.execute(
            "SELECT epoch, beats, session FROM leases WHERE account = %s", (claim.account,)
        )
    ).fetchone()
    return None if row is None else _Lease(*row)


async def _end_sessions(session: psycopg.AsyncConnection, name: str) -> None:
    """End every connection of the process that `name` belongs to; its transactions roll back."""
    await session.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        " AND datname = current_database() AND pid <> pg_backend_pid()",
        (application_name(name),),
    )


async def _holder(session: psycopg.AsyncConnection, claim: Claim) -> psycopg.rows.TupleRow | None:
    asked = await session.execute(ADVISORY_HOLDER.encode(), advisory(claim.key))
    return await asked.fetchone()


async def _describe_holder(session: psycopg.AsyncConnection, claim: Claim) -> str:
    return describe(await _holder(session, claim))


async def _end_holder(session: psycopg.AsyncConnection, claim: Claim) -> None:
    """End the session that holds the lock of a leader who renews nothing, under whatever name.

    A pooler keeps sessions alive whose client is gone, and their locks with them.
    """
    if (row := await _holder(session, claim)) is not None:
        await session.execute("SELECT pg_terminate_backend(%s)", (row[0],))


async def _next_epoch(session: psycopg.AsyncConnection, claim: Claim) -> int:
    """Raise the epoch once the last transactions under the old one are over."""
    for _ in range(EPOCH_TRIES):
        before = await _lease(session, claim)
        try:
            epoch = await _raise_epoch(session, claim)
        except psycopg.errors.LockNotAvailable:
            # a predecessor that froze, or was cut off, in the middle of a transaction
            if before is not None and before.session != claim.session:
                await _end_sessions(session, before.session)
            continue
        logger.bind(event="leader.elected", epoch=epoch, holder=claim.holder).info("Leading")
        return epoch
    raise Unavailable("the epoch is held by a transaction that does not end")


async def _raise_epoch(session: psycopg.AsyncConnection, claim: Claim) -> int:
    async with session.transaction():
        await session.execute(f"SET LOCAL lock_timeout = '{EPOCH_LOCK_TIMEOUT}'".encode())
        raised = await session.execute(
            "INSERT INTO leadership (account, epoch, holder) VALUES (%s, 1, %s)"
            " ON CONFLICT (account) DO UPDATE SET epoch = leadership.epoch + 1,"
            " holder = excluded.holder, since = now() RETURNING epoch",
            (claim.account, claim.holder),
        )
        row = await raised.fetchone()
        if row is None:
            raise Unavailable("the leadership row was not written")
        epoch: int = row[0]
        await session.execute(
            "INSERT INTO leases (account, epoch, session) VALUES (%s, %s, %s)"
            " ON CONFLICT (account) DO UPDATE SET epoch = excluded.epoch,"
            " session = excluded.session, beats = leases.beats + 1,"
            " renewed_at = clock_timestamp()",
            (claim.account, epoch, claim.session),
        )
    return epoch
