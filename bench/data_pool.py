"""Twenty tasks on the daemon's pool beside the same on raw psycopg connections.

Each task does the same small transactions; the reference has a connection of its own for each
task, which nobody lends or checks. Thirty tasks on twenty connections show what waiting costs.

    python -m bench.data_pool [--transactions 200]
"""

import argparse
import asyncio
import statistics
import sys
import time

import psycopg
from loguru import logger
from sqlalchemy import text

from bench._scratch import fresh_database, scratch_server
from daemon.postgres.pool import PoolOptions, open_database
from jobs.store.db import Database

ROUNDS = 5
WORK = "SELECT count(*) FROM settings"


async def raw(url: str, tasks: int, transactions: int) -> float:
    """Transactions a second, each task with a connection of its own."""
    connections = [
        await psycopg.AsyncConnection.connect(url, autocommit=True) for _ in range(tasks)
    ]

    async def work(connection: psycopg.AsyncConnection) -> None:
        for _ in range(transactions):
            async with connection.transaction():
                await connection.execute(WORK)

    began = time.perf_counter()
    await asyncio.gather(*(work(each) for each in connections))
    rate = tasks * transactions / (time.perf_counter() - began)
    for each in connections:
        await each.close()
    return rate


async def pooled(db: Database, tasks: int, transactions: int, *, core: bool) -> float:
    """Transactions a second through the pool: psycopg's connections, or SQLAlchemy's."""

    async def by_core() -> None:
        for _ in range(transactions):
            async with db.begin() as tx:
                await tx.execute(text(WORK))

    async def by_psycopg() -> None:
        for _ in range(transactions):
            async with db.connection() as connection, connection.transaction():
                await connection.execute(WORK)

    work = by_core if core else by_psycopg
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return tasks * transactions / (time.perf_counter() - began)


async def measure(url: str, transactions: int) -> None:
    """Alternate, and print the medians."""
    rates: dict[str, list[float]] = {}
    async with open_database(url, PoolOptions()) as db:
        for _ in range(ROUNDS):
            for name, tasks, core in (
                ("pool, psycopg, 20 tasks", 20, False),
                ("pool, SQLAlchemy, 20 tasks", 20, True),
                ("pool, psycopg, 30 tasks", 30, False),
            ):
                rate = await pooled(db, tasks, transactions, core=core)
                rates.setdefault(name, []).append(rate)
            rates.setdefault("raw psycopg, 20 connections", []).append(
                await raw(url, 20, transactions)
            )
        stats = db.pool_stats()
    reference = statistics.median(rates["raw psycopg, 20 connections"])
    for name, each in rates.items():
        rate = statistics.median(each)
        print(f"{name:<30}{rate:>9,.0f} transactions/s   x {rate / reference:.2f}")
    print(f"failures 0, exhausted {stats.exhausted}, connections {stats.size} of {stats.max}")


def main() -> int:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=100)
    transactions = parser.parse_args().transactions
    logger.remove()
    with scratch_server() as server, fresh_database(server) as url:
        asyncio.run(measure(url, transactions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
