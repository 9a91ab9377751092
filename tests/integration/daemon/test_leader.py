"""One leader an account; the lock is free as soon as its holder's session ends."""

import asyncio

import psycopg
import pytest

from daemon.leader import Claim, NotLeader, application_name, leading
from jobs.errors import Unavailable


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
