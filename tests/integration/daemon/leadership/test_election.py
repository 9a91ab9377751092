"""One leader an account; the lock is free as soon as its holder's session ends."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import psycopg
import pytest

from daemon.leadership import election
from daemon.leadership.election import Claim, NotLeader, application_name, leading
from jobs.core.errors import Unavailable
from jobs.store.db import Database
from jobs.store.fence import StaleEpoch


def claim(dsn: str, holder: str = "one", account: str = "live:abc") -> Claim:
    return Claim(dsn=dsn, account=account, holder=holder)


async def test_a_second_instance_is_refused_or_waits(dsn: str) -> None:
    async with leading(claim(dsn), wait=False) as first:
        with pytest.raises(NotLeader):
            async with leading(claim(dsn, "two"), wait=False):
                raise AssertionError("two leaders")
        async with leading(claim(dsn, "other", "paper:default"), wait=False) as other:
            assert other.epoch == 1
        standby = asyncio.create_task(_epoch(claim(dsn, "two")))
        done, _ = await asyncio.wait([standby], timeout=0.05)
        assert not done
    assert await standby > first.epoch


async def _epoch(wanted: Claim) -> int:
    async with leading(wanted, wait=True) as leadership:
        return leadership.epoch


async def test_a_leader_whose_session_ends_is_told(dsn: str) -> None:
    leading_claim = claim(dsn)
    async with leading(leading_claim, wait=False) as leadership:
        lost = asyncio.create_task(leadership.lost())
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s AND datname = current_database()",
                (application_name(leading_claim.session),),
            )
        await lost
        async with leading(claim(dsn, "two"), wait=False) as next_one:
            assert next_one.epoch == leadership.epoch + 1


async def test_no_database_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        async with leading(claim("postgresql://nobody@127.0.0.1:1/none"), wait=True):
            raise AssertionError("no database is there")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is believed after a fraction of a second."""
    monkeypatch.setattr(election, "TAKE_OVER_AFTER_S", 0.3)
    monkeypatch.setattr(election, "TRY_EVERY_S", 0.02)


async def test_a_leader_that_renews_nothing_is_replaced_and_cannot_write(
    dsn: str, database: Database, quick: None
) -> None:
    frozen = claim(dsn, "frozen")
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(leading(frozen, wait=False))
        # a transaction of its pool, in the middle of which it froze
        stuck = await psycopg.AsyncConnection.connect(
            dsn, application_name=application_name(frozen.session)
        )
        stack.push_async_callback(stuck.close)
        await stuck.execute("SELECT * FROM leadership FOR SHARE")
        new = await stack.enter_async_context(leading(claim(dsn, "new"), wait=True))
        assert new.epoch == old.epoch + 1
        with pytest.raises(psycopg.OperationalError):
            await stuck.execute("SELECT 1")
        with pytest.raises(StaleEpoch):
            async with replace(database, fence=old.fence).begin():
                raise AssertionError("a late write was accepted")
        async with replace(database, fence=new.fence).begin():
            pass
        assert old.holds()  # it has not looked yet
        await old.lost()
        assert not old.holds()
        assert new.holds()


async def test_a_leader_that_renews_is_not_replaced(
    dsn: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "RENEW_EVERY_S", 0.05)
    async with leading(claim(dsn), wait=False) as leadership:
        lost = asyncio.create_task(leadership.lost())
        standby = asyncio.create_task(_epoch(claim(dsn, "two")))
        done, _ = await asyncio.wait([lost, standby], timeout=1.0)
        assert not done
        assert leadership.holds()
        lost.cancel()
    assert await standby == leadership.epoch + 1


async def test_an_epoch_that_somebody_raised_ends_the_leadership(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "RENEW_EVERY_S", 0.01)
    async with leading(claim(dsn), wait=False) as leadership:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
            await admin.execute("UPDATE leases SET epoch = epoch + 1")
        await leadership.lost()
        assert not leadership.holds()


async def test_a_transaction_of_a_killed_predecessor_does_not_hold_the_epoch(
    dsn: str, quick: None
) -> None:
    killed = claim(dsn, "killed")
    async with leading(killed, wait=False):
        pass
    async with await psycopg.AsyncConnection.connect(
        dsn, application_name=application_name(killed.session)
    ) as stuck:
        await stuck.execute("SELECT * FROM leadership FOR SHARE")
        async with leading(claim(dsn, "new"), wait=False) as new:
            assert new.epoch == 2
        await stuck.close()


async def test_a_foreign_transaction_that_holds_the_epoch_is_told_as_unavailable(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "EPOCH_LOCK_TIMEOUT", "20ms")
    async with leading(claim(dsn), wait=False):
        pass
    async with await psycopg.AsyncConnection.connect(dsn) as foreign:
        await foreign.execute("SELECT * FROM leadership FOR SHARE")
        with pytest.raises(Unavailable, match="does not end"):
            async with leading(claim(dsn, "new"), wait=False):
                raise AssertionError("led without an epoch")
        await foreign.rollback()


def test_the_lease_is_over_before_anybody_may_take_it() -> None:
    assert election.LEASE_S < election.TAKE_OVER_AFTER_S
    assert election.TAKE_OVER_AFTER_S + election.TRY_EVERY_S < 5
