"""The pool of connections as figures of /metrics."""

from collections.abc import Callable

from daemon.telemetry.metrics import Metrics, Reading
from jobs.store.db import PoolStats


def watch_pool(metrics: Metrics, stats: Callable[[], PoolStats]) -> None:
    """Add what the pool is doing, and what it could not do."""

    def connections() -> Reading:
        now = stats()
        states = (("idle", now.available), ("busy", now.busy))
        return [((state,), figure) for state, figure in states]

    metrics.watch(
        "upbitd_db_connections", "Database connections by state.", ("state",), connections
    )
    # not a third state: the sum over the states is the number of connections
    metrics.watch(
        "upbitd_db_connections_max",
        "The most connections that the pool opens.",
        (),
        lambda: [((), stats().max)],
    )
    metrics.watch(
        "upbitd_db_waiting",
        "Callers that wait for a connection.",
        (),
        lambda: [((), stats().waiting)],
    )
    metrics.watch(
        "upbitd_db_exhausted",
        "Requests that found no connection in time.",
        (),
        lambda: [((), stats().exhausted)],
        kind="counter",
    )
    metrics.watch(
        "upbitd_db_held_too_long",
        "Connections that were not given back in time.",
        (),
        lambda: [((), stats().held_too_long)],
        kind="counter",
    )
