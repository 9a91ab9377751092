"""Orders by state in a large table, with and without the index.

python -m bench.data_queries [--rows 1000000]
"""

import argparse
import asyncio
import statistics
import sys
import time

import psycopg
from loguru import logger

from bench._scratch import fresh_database, scratch_server
from daemon.postgres.pool import PoolOptions, open_database
from jobs.store import orders
from jobs.store.db import Database

GOAL = 100
REPEATS = 20
INSERT = """
INSERT INTO orders (mode, identifier, purpose, market, side, ord_type, volume, state, created_at)
SELECT 'live', 'i' || n, 'entry', 'KRW-M' || n % 200, 'bid', 'market', 1,
       CASE WHEN n % 50000 = 0 THEN 'wait' ELSE 'done' END, now() - n * interval '10 seconds'
FROM generate_series({rows}, 1, -1) AS n
"""


async def open_orders_ms(db: Database, repeats: int) -> tuple[float, int]:
    """The median time of the orders job's own question, in milliseconds, and the rows it got."""
    took, found = [], 0
    for _ in range(repeats):
        async with db.begin() as tx:
            began = time.perf_counter()
            found = len(await orders.unfinished(tx, "live"))
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), found


async def measure(url: str, rows: int) -> int:
    """Fill, measure with the indexes, drop them, measure again; tell whether the goal is missed."""
    async with open_database(url, PoolOptions(pool_min=1, pool_max=2)) as db:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(INSERT.format(rows=rows).encode())
            connection.execute("VACUUM ANALYZE orders")
            await open_orders_ms(db, 3)
            with_index, found = await open_orders_ms(db, REPEATS)
            connection.execute("DROP INDEX orders_open, orders_state_created_at")
            without, same = await open_orders_ms(db, 5)
    assert found == same == rows // 50_000
    ratio = without / with_index
    print(f"open orders of {rows:,}: {found} rows")
    print(f"by index    {with_index:>9.2f} ms")
    print(f"no index    {without:>9.2f} ms   (the reference)")
    verdict = "met" if ratio >= GOAL else "MISSED"
    print(f"ratio       {ratio:>9.0f}      goal {GOAL} at 1,000,000 rows: {verdict}")
    return 0 if ratio >= GOAL else 1


def main() -> int:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    logger.remove()
    with scratch_server() as server, fresh_database(server) as url:
        return asyncio.run(measure(url, rows))


if __name__ == "__main__":
    sys.exit(main())
