"""Jobs are held back, let go on and run once more from the command line, beside a real daemon."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from fixtures.process import Daemon, Start

PERIOD_S = 2
"""Of the market job, as tests/fixtures/process.py configures it."""
COMMAND_WITHIN_S = 60.0

Row = tuple[datetime, str | None, str | None]


@pytest.fixture
def ledger(dsn: str) -> Iterator[psycopg.Connection[Row]]:
    """A connection for looking into the slot ledger."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def jobs(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `upbitd jobs …` with the daemon's configuration."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", "jobs", *arguments, "--config", _config(daemon)],
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
    )


def _config(daemon: Daemon) -> str:
    return str(daemon.process.args[-1])  # type: ignore[index]  # a list, as started


def market_since(ledger: psycopg.Connection[Row], line: dict[str, Any]) -> list[Row]:
    """The market's slots from the one of a metric line on: when due, outcome and reason."""
    return ledger.execute(
        "SELECT scheduled_at, outcome, reason FROM job_runs"
        " WHERE job = 'market' AND scheduled_at >= %s ORDER BY scheduled_at",
        [line["scheduled_at"]],
    ).fetchall()


def is_extra(row: Row) -> bool:
    """Whether no schedule names the slot."""
    return row[0].microsecond != 0 or row[0].second % PERIOD_S != 0


def two_more(daemon: Daemon, **fields: Any) -> dict[str, Any]:
    """Wait for two slots of the market that ended so; the rows before the second are written."""
    first = daemon.until("job.metric", job="market", **fields)
    daemon.until("job.metric", job="market", **fields)
    return first


def test_a_pause_holds_one_job_across_restarts_until_it_is_resumed(
    start_daemon: Start, ledger: psycopg.Connection[Row]
) -> None:
    first = start_daemon()
    first.ready()
    first.until("job.metric", job="market", outcome="ok")
    assert jobs(first, "pause", "market").stdout == "market: paused\n"
    paused = two_more(first, outcome="skipped", reason="paused")
    assert "market" in first.of("job.control")[0]["about"]
    first.until("job.metric", job="orders", outcome="ok")  # the others go on
    assert "market" in first.get("/health").json()["components"]["scheduler"]["cause"]
    first.kill()

    second = start_daemon()
    second.ready()
    two_more(second, outcome="skipped", reason="paused")
    held = market_since(ledger, paused)
    assert {(outcome, reason) for _, outcome, reason in held} <= {
        ("skipped", "paused"),
        ("skipped", "not running then"),
    }
    assert not any(map(is_extra, held))
    assert jobs(second, "resume", "market").stdout == "market: running\n"
    resumed = two_more(second, outcome="ok")
    assert "paused" not in {reason for _, _, reason in market_since(ledger, resumed)}
    listed = json.loads(jobs(second, "list", "--json").stdout)  # what the next start will read
    assert not any(each["paused"] for each in listed)
    assert second.stop() == 0


def test_a_run_that_is_asked_for_comes_once_even_when_the_daemon_was_away(
    start_daemon: Start, ledger: psycopg.Connection[Row]
) -> None:
    first = start_daemon()
    first.ready()
    assert jobs(first, "pause", "market").returncode == 0
    paused = two_more(first, outcome="skipped", reason="paused")
    assert jobs(first, "run", "market").returncode == 0  # a pause does not hold it
    asked = first.until("job.metric", job="market", outcome="ok")
    two_more(first, outcome="skipped", reason="paused")
    assert first.stop() == 0
    (ran,) = filter(is_extra, market_since(ledger, paused))
    assert ran[:2] == (datetime.fromisoformat(asked["scheduled_at"]).astimezone(UTC), "ok")

    for _ in range(2):  # nobody is there to obey: one run for all askings
        assert jobs(first, "run", "market").returncode == 0
    for _ in range(2):
        again = start_daemon()
        again.ready()
        two_more(again, outcome="skipped", reason="paused")
        assert again.stop() == 0
    runs = [row for row in market_since(ledger, paused) if row[1] != "skipped"]
    assert [outcome for _, outcome, _ in runs] == ["ok", "ok"]
    assert all(map(is_extra, runs))


def test_a_job_that_does_not_exist_is_one_clear_line_and_exit_two(start_daemon: Start) -> None:
    daemon = start_daemon()
    daemon.kill()  # its configuration is what is wanted
    for command in ("pause", "resume", "run"):
        refused = jobs(daemon, command, "markets")
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert refused.stderr == (
            "upbitd: no job is called markets: market, signals, orders, upkeep\n"
        )
    listed = json.loads(jobs(daemon, "list", "--json").stdout)
    assert not any(each["paused"] for each in listed)
