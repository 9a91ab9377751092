"""The demo as a new user runs it: recorded candles, real Postgres, real HTTP, and its own check."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.demo.verify import Book, Summary

DEMO = (sys.executable, "-m", "daemon", "demo")


def test_the_demo_trades_and_says_so(state_dir: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--duration", "25", "--port", "0", "--keep", str(state_dir)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("demo: ")]
    assert said[0].startswith("demo: the page: http://127.0.0.1:")
    assert "demo: tables against the exchange's ledger: 0 differences" in said
    assert said[-1] == "demo: the demo is over"
    assert (state_dir / "upbitd.log").stat().st_size > 0
    assert done.stderr == ""


EMPTY = Summary(
    candles={},
    signals={},
    model_calls=0,
    cost_usd=0,  # type: ignore[arg-type]  # nothing was spent
    orders={},
    filled_orders=0,
    fills=0,
    components={},
    differences=["order x: tables None, exchange done"],
)


def test_a_demo_that_did_nothing_has_every_fault() -> None:
    assert len(EMPTY.faults()) == 6


@pytest.mark.parametrize(
    ("tables", "ledger", "count"),
    [
        (Book(orders={}, holdings={}), Book(orders={}, holdings={}), 0),
        (Book(orders={}, holdings={"KRW-BTC": 1}), Book(orders={}, holdings={}), 1),  # type: ignore[dict-item]
        (
            Book(orders={"a": ("done", 1, 1, 0, 1)}, holdings={}),  # type: ignore[dict-item]
            Book(orders={"b": ("done", 1, 1, 0, 1)}, holdings={}),  # type: ignore[dict-item]
            2,
        ),
    ],
)
def test_books_differ_where_they_differ(tables: Book, ledger: Book, count: int) -> None:
    assert len(tables.differences(ledger)) == count
