"""Whatever hangs elsewhere, orders have connections of their own."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar
from uuid import uuid4

import httpx
import pytest
from fixtures.postgres import SMALL_POOL
from fixtures.venue import Venue
from sqlalchemy import text

from daemon.postgres.pool import open_database
from jobs.core.cooldowns import Gates
from jobs.core.job import Lane, current_lane
from jobs.store.db import Database, PoolExhausted
from jobs.upbit.client import open_client
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.wire import OrderRequest

T = TypeVar("T")
BUY = OrderRequest(
    market="KRW-BTC", side="bid", ord_type="price", identifier=uuid4().hex, price=Decimal(10_000)
)
OPTIONS = replace(SMALL_POOL, pool_min=1, pool_max=5, kept_for_orders=2, acquire_timeout_s=0.3)


def now() -> datetime:
    return datetime.now(UTC)


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


async def arrived(venue: Venue, path: str, count: int) -> None:
    """Wait until so many requests have arrived."""
    async with httpx.AsyncClient(base_url=venue.base_url) as http:
        while True:
            seen = await http.get("/sandbox/requests", params={"path": path})
            if len(seen.json()) >= count:
                return
            await asyncio.sleep(0.01)


async def in_lane(lane: Lane, call: Awaitable[T]) -> T:
    current_lane.set(lane)
    return await call


@pytest.mark.timeout(60)
async def test_hung_calls_of_a_collector_take_no_connection_from_orders(venue: Venue) -> None:
    venue.http.delete("/sandbox/requests")
    venue.fault(path="/v1/candles/*", action="hang", count=0)
    opened = open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, venue.secret_key),
        gates=Gates(now),
        limiter=Limiter(),
        clock=now,
        timeout_s=30,
        max_connections=3,
    )
    async with opened as client:
        hung = [asyncio.create_task(client.candles("KRW-BTC", 1)) for _ in range(8)]
        await arrived(venue, "/v1/candles/minutes/1", 3)
        work = asyncio.create_task(in_lane("work", client.accounts()))  # finds none free
        for _ in range(5):
            await asyncio.create_task(in_lane("orders", client.open_orders()))
            await asyncio.create_task(in_lane("orders", client.tickers(["KRW-BTC"])))
        placed = await asyncio.create_task(in_lane("orders", client.place(BUY)))
        assert placed.identifier == BUY.identifier
        assert not work.done()
        for task in (work, *hung):
            task.cancel()
        await asyncio.gather(work, *hung, return_exceptions=True)
