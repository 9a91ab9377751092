"""No transaction of a replaced leader changes anything, and none spans a change of leaders."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.db import Database
from jobs.store.fence import Fence, StaleEpoch

ELECT = text(
    "INSERT INTO leadership (account, epoch, holder) VALUES ('a', 1, 'h')"
    " ON CONFLICT (account) DO UPDATE SET epoch = leadership.epoch + 1"
)
WRITE = text("INSERT INTO settings (key, value) VALUES ('halted', 'true') ON CONFLICT DO NOTHING")


async def elect(db: Database) -> None:
    async with db.begin() as tx:
        await tx.execute(ELECT)


async def settings(db: Database) -> int:
    async with db.begin() as tx:
        return int((await tx.execute(text("SELECT count(*) FROM settings"))).scalar_one())


async def write(conn: AsyncConnection) -> None:
    await conn.execute(WRITE)


async def test_the_present_leader_writes_and_a_replaced_one_is_refused(database: Database) -> None:
    await elect(database)
    fenced = replace(database, fence=Fence(account="a", epoch=1))
    async with fenced.begin() as tx:
        await tx.execute(text("SELECT 1"))
    await fenced.serializable(write)
    assert await settings(database) == 1
    await elect(database)
    with pytest.raises(StaleEpoch, match=r"epoch=1, newest=2"):
        async with fenced.begin() as tx:
            raise AssertionError("the block must not begin")
    with pytest.raises(StaleEpoch):
        await fenced.serializable(write)


async def test_without_any_election_nobody_writes(database: Database) -> None:
    with pytest.raises(StaleEpoch, match="newest=None"):
        async with replace(database, fence=Fence(account="a", epoch=1)).begin():
            raise AssertionError("the block must not begin")


async def test_an_election_waits_for_transactions_under_the_old_epoch(database: Database) -> None:
    await elect(database)
    fenced = replace(database, fence=Fence(account="a", epoch=1))
    async with fenced.begin() as tx:
        election = asyncio.create_task(elect(database))
        done, _ = await asyncio.wait([election], timeout=0.1)
        assert not done
        await tx.execute(WRITE)
    await election
    assert await settings(database) == 1


async def test_renewing_a_lease_does_not_wait_for_them(database: Database) -> None:
    await elect(database)
    fenced = replace(database, fence=Fence(account="a", epoch=1))
    async with fenced.begin(), database.begin() as tx:
        await tx.execute(text("INSERT INTO leases (account, epoch, session) VALUES ('a', 1, 's')"))
