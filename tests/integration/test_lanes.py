"""Whatever hangs elsewhere, orders have connections of their own."""

import asyncio
from dataclasses import replace

import pytest
from fixtures.postgres import SMALL_POOL
from sqlalchemy import text

from daemon.database import open_database
from jobs.spec import Lane, current_lane
from jobs.store.db import Database, PoolExhausted

OPTIONS = replace(SMALL_POOL, pool_min=1, pool_max=5, kept_for_orders=2, acquire_timeout_s=0.3)


async def query(db: Database, lane: Lane, statement: str = "SELECT 1") -> None:
    current_lane.set(lane)
    async with db.begin() as tx:
        await tx.execute(text(statement))


async def busy(db: Database, count: int) -> None:
    while db.pool_stats().busy < count:  # noqa: ASYNC110 (the pool has no event)
        await asyncio.sleep(0.01)


async def test_hung_queries_of_other_lanes_leave_two_connections_to_orders(dsn: str) -> None:
    async with open_database(dsn, OPTIONS) as db:
        hung = [asyncio.create_task(query(db, "work", "SELECT pg_sleep(30)")) for _ in range(3)]
        await busy(db, 3)
        with pytest.raises(PoolExhausted, match="all 3 database connections"):
            await asyncio.create_task(query(db, "work"))
        await asyncio.gather(
            *(asyncio.create_task(query(db, "orders", "SELECT pg_sleep(0.05)")) for _ in range(2))
        )
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
        await asyncio.create_task(query(db, "work"))  # what was shared came back
        assert db.pool_stats().busy == 0


async def test_orders_may_take_every_connection(dsn: str) -> None:
    async with open_database(dsn, OPTIONS) as db:
        all_of_them = [
            asyncio.create_task(query(db, "orders", "SELECT pg_sleep(0.3)")) for _ in range(5)
        ]
        await busy(db, 5)
        await asyncio.gather(*all_of_them)


async def test_a_caller_that_gives_up_waiting_takes_nothing_with_it(dsn: str) -> None:
    async with open_database(dsn, replace(OPTIONS, acquire_timeout_s=30)) as db:
        hung = [asyncio.create_task(query(db, "work", "SELECT pg_sleep(0.5)")) for _ in range(3)]
        await busy(db, 3)
        waiting = [asyncio.create_task(query(db, "work")) for _ in range(4)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*hung)
        await asyncio.gather(*(asyncio.create_task(query(db, "work")) for _ in range(6)))
        assert db.pool_stats().busy == 0
