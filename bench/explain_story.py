"""One order's whole story among 1,000,000 orders with their events, fills and signals.

Goal: under one second. Prints the time of each name an order has, and that no table is read whole.

    python -m bench.explain_story --orders 100000
"""

import argparse
import asyncio
import time

import psycopg

from bench._scratch import fresh_database, scratch_server
from daemon.postgres.pool import PoolOptions, open_database
from jobs.store.story import story

GOAL_S = 1.0
TIMES = 20
FILL = """
SET session_replication_role = replica;
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
SELECT 'KRW-M' || n % 50, now() - n * interval '1 second', 1, 1, 1, 0
FROM generate_series(1, {orders}) AS n;
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts)
SELECT n, 'KRW-M' || n % 50, 'buy', 0.9, 'r', 'rules', 'rules', now() - n * interval '1 minute'
FROM generate_series(1, {orders}) AS n;
INSERT INTO orders (mode, identifier, uuid, signal_id, purpose, market, side, ord_type, volume,
                    state)
SELECT 'live', 'upd-' || n, 'uuid-' || n, n, 'entry', 'KRW-M' || n % 50, 'bid', 'market', 1, 'done'
FROM generate_series(1, {orders}) AS n;
INSERT INTO order_events (order_id, kind, detail)
SELECT n, kind, '{{}}' FROM generate_series(1, {orders}) AS n,
       unnest(ARRAY['intent', 'post', 'accepted', 'final']) AS kind;
INSERT INTO fills (order_id, uuid, price, volume, funds, fee, ts)
SELECT n, 'f', 1, 1, 1, 0, now() FROM generate_series(1, {orders}) AS n;
ANALYZE;
"""


async def measure(url: str, orders: int) -> dict[str, float]:
    """The slowest of several stories, in seconds, by the name they were asked by."""
    slowest: dict[str, float] = {}
    async with open_database(url, PoolOptions(pool_min=1)) as db:
        for kind, prefix in (("id", ""), ("identifier", "upd-"), ("uuid", "uuid-")):
            for number in range(1, TIMES + 1):
                began = time.perf_counter()
                told = await story(db, f"{prefix}{number * orders // TIMES}")
                took_s = time.perf_counter() - began
                assert told is not None
                assert len(told.events) == 4
                slowest[kind] = max(slowest.get(kind, 0.0), took_s)
    return slowest


def main() -> None:
    """Fill a database and print what asking it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    orders = parser.parse_args().orders
    with scratch_server() as server, fresh_database(server) as url:
        began = time.perf_counter()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL.format(orders=orders).encode())
        print(f"{orders:,} orders filled in {time.perf_counter() - began:.0f} s")
        for kind, took_s in asyncio.run(measure(url, orders)).items():
            print(f"story by {kind:<10}  slowest of {TIMES}: {took_s * 1000:8.1f} ms")
            assert took_s < GOAL_S


if __name__ == "__main__":
    main()
