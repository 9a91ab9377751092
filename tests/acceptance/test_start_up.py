"""A daemon works as soon as it is ready: one slot at once, not one more after a quick restart.

The schedules are an hour apart here, so whatever runs is due to the start.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from fixtures.process import Daemon, Start

FAR = f"{(datetime.now(UTC).minute + 30) % 60}m"
"""The minute of the hour at which schedules come due: half an hour from now."""

RARE = {
    "UPBITD_JOBS__MARKET__EVERY": "1h",
    "UPBITD_JOBS__MARKET__OFFSET": FAR,
    "UPBITD_JOBS__SIGNALS__EVERY": "1h",
    "UPBITD_JOBS__SIGNALS__OFFSET": FAR,
    "UPBITD_JOBS__ORDERS__EVERY": "1h",
    "UPBITD_JOBS__ORDERS__OFFSET": FAR,
}
WORKERS = ("market", "signals", "orders")

Row = tuple[Any, ...]


@pytest.fixture
def rows(dsn: str) -> Iterator[psycopg.Connection[Row]]:
    """A connection for looking into the tables."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def start_ups(rows: psycopg.Connection[Row]) -> dict[str, list[Row]]:
    """Of each job the slots of starts: when they began and how they ended."""
    found: dict[str, list[Row]] = {}
    for job, *rest in rows.execute(
        "SELECT job, started_at, finished_at, outcome FROM job_runs"
        " WHERE reason = 'start-up' ORDER BY scheduled_at"
    ):
        found.setdefault(job, []).append(tuple(rest))
    return found


def both_decided(daemon: Daemon) -> None:
    """Wait until every job has had its slot."""
    daemon.ready()
    left = set(WORKERS)
    while left:
        left.discard(daemon.until("job.metric")["job"])  # no other slot is due that soon


def of_workers(daemon: Daemon) -> list[tuple[str, str]]:
    """The slots that were told of, without upkeep's, which come when they are due."""
    told = [(line["job"], line["scheduled_at"]) for line in daemon.of("job.metric")]
    return [slot for slot in told if slot[0] != "upkeep"]


def test_the_first_decision_does_not_wait_for_the_schedule(
    start_daemon: Start, rows: psycopg.Connection[Row]
) -> None:
    daemon = start_daemon(environ=RARE)
    both_decided(daemon)
    assert daemon.stop() == 0
    found = start_ups(rows)
    assert {job: [row[2] for row in each] for job, each in found.items()} == {
        job: ["ok"] for job in WORKERS
    }
    market, signals = found["market"][0], found["signals"][0]
    assert signals[0] >= market[1], "signals wait for what market fetches"
    (candles,) = rows.execute("SELECT count(*) FROM candles").fetchone() or (0,)
    (decided,) = rows.execute("SELECT count(*) FROM signals").fetchone() or (0,)
    assert candles > 0
    assert decided > 0
    lines = of_workers(daemon)
    assert len(lines) == len(set(lines)) == len(WORKERS), "one line a slot"


def test_a_restart_within_the_period_runs_nothing_twice(
    start_daemon: Start, rows: psycopg.Connection[Row]
) -> None:
    first = start_daemon(environ=RARE)
    both_decided(first)
    assert first.stop() == 0
    second = start_daemon(environ=RARE)
    second.ready()
    assert second.stop() == 0
    assert {job: len(each) for job, each in start_ups(rows).items()} == dict.fromkeys(WORKERS, 1)
    assert of_workers(second) == []


def test_neither_a_paused_job_nor_one_with_a_crontab_line_begins_out_of_turn(
    start_daemon: Start, rows: psycopg.Connection[Row]
) -> None:
    rows.execute("INSERT INTO job_controls (job, paused) VALUES ('orders', true)")
    cron = {name: text for name, text in RARE.items() if "SIGNALS" not in name}
    daemon = start_daemon(environ={**cron, "UPBITD_JOBS__SIGNALS__CRON": "0 9 1 jan *"})
    daemon.ready()
    daemon.until("job.metric", job="market")
    assert daemon.stop() == 0
    assert set(start_ups(rows)) == {"market"}
    assert [job for job, _ in of_workers(daemon)] == ["market"]
