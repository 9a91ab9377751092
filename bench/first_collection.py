"""The first collection on an empty database: time used beside what the candle quota itself takes.

A real daemon against the sandbox, whose quotas refuse what is over them. The quota's own time is
that of all candle requests that were needed: the history, and the newest candle of every market in
every minute meanwhile. Goal: at most 1.2 times that, no run that fails, no market without candles
after the first run.

    python -m bench.first_collection --markets 200 --share 0.9 --hours 24
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench._daemon import CONFIG, ready_daemon, sandbox
from bench._scratch import fresh_database, scratch_server
from jobs.upbit.limits import QUOTATION

MORE = """
[trading]
markets = "KRW-*"
[jobs.signals]
enabled = false
[jobs.market]
history = "{hours}h"
"""
GIVE_UP_S = 3600.0
FAILED = "SELECT count(*) FROM job_runs WHERE job = 'market' AND outcome IN ('failed', 'timeout')"
COLLECTED = "SELECT count(DISTINCT market), count(*) FROM candles WHERE unit = 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it; `first_s` is when every market had candles."""

    first_s: float
    took_s: float
    requests: int
    rows: int
    failed_runs: int


def main() -> None:
    """Measure and print."""
    wanted = _parser().parse_args()
    with (
        sandbox("--markets", str(wanted.markets)) as exchange,
        scratch_server() as server,
        fresh_database(server) as database,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder, "config.toml")
        text = CONFIG.format(state=Path(folder, "var"), database=database, exchange=exchange)
        share = f"[upbit]\nrate_share = {wanted.share}\n"
        path.write_text(text.replace("[upbit]\n", share) + MORE.format(hours=wanted.hours))
        with ready_daemon(path) as (_, health):
            outcome = _measure(exchange, health, database, wanted.markets)
    rate = QUOTATION["candle"].requests * wanted.share
    quota_s = outcome.requests / rate
    print(f"markets    {wanted.markets}, {wanted.hours} h, {rate:g} requests a second")
    print(f"candles    of every market after {outcome.first_s:.0f} s")
    print(f"requests   {outcome.requests}, rows {outcome.rows}, failed runs {outcome.failed_runs}")
    print(f"took       {outcome.took_s:.0f} s; the quota alone {quota_s:.0f} s")
    print(f"ratio      {outcome.took_s / quota_s:.3f} (goal 1.2)")


def _measure(exchange: str, health: str, database: str, markets: int) -> Outcome:
    begin, first_s = time.monotonic(), 0.0
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            time.sleep(0.5)
            took_s = time.monotonic() - begin
            have, rows = connection.execute(COLLECTED).fetchone() or (0, 0)
            first_s = first_s or (took_s if have >= markets else 0.0)
            if (first_s and _is_complete(health)) or took_s > GIVE_UP_S:
                (failed,) = connection.execute(FAILED).fetchone() or (0,)
                break
    counts: dict[str, Any] = httpx.get(f"{exchange}/sandbox/ledger").json()["requests"]
    requests = sum(counts.get("GET /v1/candles/minutes/1", {}).values())
    return Outcome(first_s=first_s, took_s=took_s, requests=requests, rows=rows, failed_runs=failed)


def _is_complete(health: str) -> bool:
    detail = httpx.get(f"{health}/health", timeout=10).json()["components"]["scheduler"]["detail"]
    market = detail["jobs"]["market"]
    return market["progress"] is None and market["last_outcome"] is not None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The first collection beside the quota's time.")
    parser.add_argument("--markets", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.9)
    parser.add_argument("--hours", type=int, default=24)
    return parser


if __name__ == "__main__":
    main()
