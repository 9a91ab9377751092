"""The recorded September 2025 of five markets, traded by the rules: twice, bit for bit the same.

Prints the result, how fast it was, and whether table, JSON and page of both runs are identical.

    python -m bench.replay [--days 23] [--shuffles 20] [--html build/replay.html]
"""

import argparse
import asyncio
import hashlib
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loguru import logger

from daemon.backtest import page, table
from daemon.backtest.play import Pace, Wanted, Watch, make_report
from daemon.cli.tables import console, to_json
from daemon.config.load import from_mapping
from jobs.backtest.report import Report

DATA = Path(__file__).parents[1] / "sandbox" / "data"
MARKETS = ("KRW-BTC", "KRW-ETH", "KRW-XRP", "KRW-SOL", "KRW-DOGE")
BEGIN = datetime(2025, 9, 1, tzinfo=UTC)
GOAL = 1000
"""Times real time, at least."""


def main() -> int:
    """Replay twice and compare; 1 when they differ or it was slow."""
    wanted = _parser().parse_args()
    logger.remove()
    first, pace = replay(wanted.days, wanted.shuffles)
    again, pace_2 = replay(wanted.days, wanted.shuffles)
    table.show(first, console())
    print()
    span_s = (first.until - first.since).total_seconds()
    for name, each in (("first run", pace), ("second run", pace_2)):
        print(
            f"{name:<11} {each.took_s:6.2f} s  {first.candles / each.took_s:>9,.0f} candles/s  "
            f"{span_s / each.took_s:>9,.0f} times real time"
        )
    same = {
        "digest": first.digest == again.digest,
        "JSON": to_json(first.as_dict()) == to_json(again.as_dict()),
        "page": page.render(first) == page.render(again),
    }
    for name, is_same in same.items():
        print(f"{name:<11} {'identical' if is_same else 'DIFFERENT'}")
    print(f"{'page':<11} sha256 {hashlib.sha256(page.render(first).encode()).hexdigest()[:16]}")
    if wanted.html is not None:
        wanted.html.parent.mkdir(parents=True, exist_ok=True)
        wanted.html.write_text(page.render(first), "utf-8")
        print(f"{'written':<11} {wanted.html}")
    is_fast = span_s / pace.took_s >= GOAL
    print(f"{'goal':<11} {GOAL:,} times real time: {'met' if is_fast else 'MISSED'}")
    return int(not (is_fast and all(same.values())))


def replay(days: int, shuffles: int) -> tuple[Report, Pace]:
    """One replay from files, and how long the trading took."""
    pace = Pace()
    asked = Wanted(
        source="rules",
        since=BEGIN,
        until=BEGIN + timedelta(days=days),
        markets=MARKETS,
        data=DATA,
        shuffles=shuffles,
    )
    began = time.perf_counter()
    config = from_mapping({}, {}, keys=False)
    report = asyncio.run(make_report(config, asked, None, watch=Watch(), pace=pace))
    print(f"whole run, reading and {shuffles} shuffles: {time.perf_counter() - began:.1f} s")
    return report, pace


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--days", type=int, default=23)
    parser.add_argument("--shuffles", type=int, default=20)
    parser.add_argument("--html", type=Path, default=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
