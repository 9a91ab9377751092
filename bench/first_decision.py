"""From ready to the first candles and the first decision, with the exchange 30 ms away.

A daemon with the default schedules begins on an empty database beside the local exchange, whose
answers are held back. The first candles are timed by looking into the table, the first signal by
its log line.

    python -m bench.first_decision [--repeats 3] [--away-ms 30]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench._daemon import CONFIG, sandbox
from bench._scratch import fresh_database, scratch_server

CANDLES_GOAL_S, DECISION_GOAL_S = 5.0, 15.0


def hold_back(exchange: str, away_ms: int) -> None:
    """Let every answer of the exchange take so much longer."""
    fault = {"path": "/v1/*", "count": 0, "action": "pass", "delay_ms": away_ms}
    asked = urllib.request.Request(  # noqa: S310 - the local exchange
        f"{exchange}/sandbox/faults",
        json.dumps(fault).encode(),
        {"Content-Type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(asked, timeout=5).close()  # noqa: S310


def first_candles(url: str, found: list[datetime]) -> None:
    """Note when the table has candles, at most a minute from now."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(3000):
            if connection.execute("SELECT EXISTS (SELECT FROM candles)").fetchone() == (True,):
                found.append(datetime.now(UTC))
                return
            time.sleep(0.02)


def one_start(path: Path, url: str) -> dict[str, float]:
    """Seconds from ready to the first candles in the table and to the first signal."""
    found: list[datetime] = []
    looking = threading.Thread(target=first_candles, args=(url, found))
    looking.start()
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "run", "--config", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "UPBITD_LOG__FORMAT": "json"},
    ) as process:
        assert process.stdout is not None
        at: dict[str, datetime] = {}
        for text in process.stdout:
            line = json.loads(text)
            at.setdefault(line["event"], datetime.fromisoformat(line["ts"]))
            if "signal.created" in at:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    looking.join()
    ready = at["daemon.ready"]
    return {
        "candles": (found[0] - ready).total_seconds(),
        "decision": (at["signal.created"] - ready).total_seconds(),
    }


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--away-ms", type=int, default=30)
    given = parser.parse_args()
    took: list[dict[str, float]] = []
    with sandbox() as exchange, scratch_server() as server:
        hold_back(exchange, given.away_ms)
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory() as directory, fresh_database(server) as url:
                path = Path(directory) / "config.toml"
                path.write_text(CONFIG.format(state=directory, database=url, exchange=exchange))
                took.append(one_start(path, url))
    goals = {"candles": CANDLES_GOAL_S, "decision": DECISION_GOAL_S}
    worst = {name: max(each[name] for each in took) for name in goals}
    for name, goal in goals.items():
        median = statistics.median(each[name] for each in took)
        said = f"{median:>7.2f} s after ready, at most {worst[name]:.2f} s, goal {goal:g} s"
        print(f"first {name:<9}{said}")
    return int(any(worst[name] > goal for name, goal in goals.items()))


if __name__ == "__main__":
    sys.exit(main())
