# ruff: noqa: T201 - a command that prints
"""The database is stopped under a daemon that works: what is lost, and how soon it works again.

    make outage            5 s, 60 s and, with --long, 10 minutes

The real Postgres is stopped and started under the real daemon. A good write is the first row of the
slot ledger that was stored after the server took connections again.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from truth.scenarios import LIVE
from truth.world import World

SHORT_S, MIDDLE_S, LONG_S = 5.0, 60.0, 600.0
GOAL_S = 5.0
SETTLE_S = 12.0
DEADLINE_S = 25.0
PERIODS_S = {"market": 2.0, "signals": 3.0, "orders": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What one outage did. `missing` are due slots without a row, `doubled` those with two lines.

    `first_write_s` and `first_ok_s` count from the moment the server took connections again.
    """

    away_s: float
    first_write_s: float | None
    first_ok_s: float | None
    due: int
    missing: int
    doubled: int
    unfinished: int
    lines: int
    is_same_process: bool


def measure(world: World, away_s: float) -> Outage:
    """Stop the server for so long and see."""
    pid, began = world.daemon.process.pid, datetime.now(UTC)
    time.sleep(3)
    world.server.stop()
    time.sleep(away_s)
    world.server.start()
    back = datetime.now(UTC)
    world.reconnect()
    first_ok_s = first_since(world, back, "outcome = 'ok' AND started_at > %s")
    first_write_s = min_known(first_ok_s, first_since(world, back, "started_at > %s"))
    time.sleep(SETTLE_S)
    return account_for(
        world,
        began,
        Outage(
            away_s=away_s,
            first_write_s=first_write_s,
            first_ok_s=first_ok_s,
            due=0,
            missing=0,
            doubled=0,
            unfinished=0,
            lines=0,
            is_same_process=world.daemon.process.poll() is None and world.daemon.process.pid == pid,
        ),
    )


def first_since(world: World, back: datetime, condition: str) -> float | None:
    """Seconds from `back` to the first run that began after it and meets the condition."""
    query = f"SELECT min(started_at) FROM job_runs WHERE {condition}"  # noqa: S608 - our own words
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        row = world.admin.execute(query.encode(), (back,)).fetchone()
        if row is not None and row[0] is not None:
            return float((row[0] - back).total_seconds())
        time.sleep(0.05)
    return None


def min_known(*times: float | None) -> float | None:
    """The least of the times that are known."""
    known = [each for each in times if each is not None]
    return min(known, default=None)


def account_for(world: World, began: datetime, outage: Outage) -> Outage:
    """Compare the slots that were due with the rows and the lines that there are."""
    until = datetime.now(UTC) - timedelta(seconds=SETTLE_S / 2)
    await_ends(world, until)
    rows: dict[tuple[str, datetime], Any] = {
        (job, at): outcome
        for job, at, outcome in world.admin.execute(
            "SELECT job, scheduled_at, outcome FROM job_runs WHERE scheduled_at BETWEEN %s AND %s",
            (began, until),
        )
    }
    due = [(job, at) for job, period_s in PERIODS_S.items() for at in grid(began, until, period_s)]
    told = [
        (line["job"], datetime.fromisoformat(line["scheduled_at"]))
        for line in list(world.daemon.lines)
        if line["event"] == "job.metric"
    ]
    inside = [each for each in told if began <= each[1] <= until]
    return Outage(
        away_s=outage.away_s,
        first_write_s=outage.first_write_s,
        first_ok_s=outage.first_ok_s,
        due=len(due),
        missing=sum(slot not in rows for slot in due),
        doubled=len(inside) - len(set(inside)),
        unfinished=sum(outcome is None for outcome in rows.values()),
        lines=len(inside),
        is_same_process=outage.is_same_process,
    )


def await_ends(world: World, until: datetime) -> None:
    """Wait for the runs that are under way; none of them may take longer than its deadline."""
    query = b"SELECT count(*) FROM job_runs WHERE outcome IS NULL AND scheduled_at <= %s"
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        row = world.admin.execute(query, (until,)).fetchone()
        if row is not None and row[0] == 0:
            return
        time.sleep(0.2)


def grid(began: datetime, until: datetime, period_s: float) -> list[datetime]:
    """The instants at which a job of this period was due."""
    first = int(began.timestamp() // period_s) + 1
    last = int(until.timestamp() // period_s)
    return [datetime.fromtimestamp(n * period_s, UTC) for n in range(first, last + 1)]


def show(outage: Outage) -> bool:
    """Print one line; return whether all is as it has to be."""
    write, good = (
        "never" if each is None else f"{each:.1f} s"
        for each in (outage.first_write_s, outage.first_ok_s)
    )
    is_good = (
        outage.first_write_s is not None
        and outage.first_write_s <= GOAL_S
        and not outage.missing + outage.doubled + outage.unfinished
        and outage.is_same_process
    )
    print(
        f"{outage.away_s:>6.0f} s{write:>13}{good:>10}{outage.due:>7}{outage.missing:>9}"
        f"{outage.doubled:>9}{outage.unfinished:>12}"
        f"{'no' if outage.is_same_process else 'YES':>9}   {'good' if is_good else 'MISSED'}",
        flush=True,
    )
    return is_good


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="ten minutes, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upbitd-outage-") as text:
        folder = Path(text)
        folder.chmod(0o755)
        with World(folder, LIVE) as world:
            world.until_ready()
            print(
                f"{'away':>8}{'first write':>13}{'first ok':>10}{'slots':>7}{'missing':>9}"
                f"{'doubled':>9}{'unfinished':>12}{'restart':>9}   first write within {GOAL_S:g} s"
            )
            lengths = [SHORT_S, MIDDLE_S, *([LONG_S] if options.long else [])]
            good = [show(measure(world, away_s)) for away_s in lengths]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
