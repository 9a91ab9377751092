# ruff: noqa: T201 - a command that prints
"""Alerts across kills and outages of their hook: each one that was taken is told at least once.

    make alerts

A real process raises incidents on a real Postgres and is killed at random moments, between storing
and telling, too; its hook fails or hangs at random. At the end a last process delivers the rest.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from daemon.postgres import schema
from daemon.postgres.server import EmbeddedPostgres

KILLS = 25
LONGEST_LIFE_S = 1.2
SETTLED_S = 300.0

HOOK = """\
import json, os, random, sys, time
calm = os.path.exists({calm!r})
body = json.load(sys.stdin)
fate = random.random()
if not calm:
    if fate < 0.1: sys.exit(1)
    if fate < 0.13: time.sleep(30)
with open({told!r}, "a") as out:
    out.write(body["title"] + "\\n")
if not calm and fate > 0.9: sys.exit(1)
"""
"""Fails before or after it took the alert, or hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of the alerts. `lost` were taken and never told."""

    taken: int
    told: int
    lost: int
    repeated: int
    kills: int


def prove(url: str, folder: Path, kills: int) -> Delivery:
    """Kill so many tellers, deliver the rest, and compare."""
    told = folder / "told"
    told.touch()
    hook, calm = folder / "hook.py", folder / "calm"
    hook.write_text(HOOK.format(calm=str(calm), told=str(told)), encoding="utf-8")
    taken: list[str] = []
    for n in range(kills):
        taken += live_and_die(url, n * 100_000, hook)
    calm.touch()
    with teller(url, -1, hook) as last:
        last.wait(SETTLED_S)
    heard = Counter(told.read_text(encoding="utf-8").split())
    return Delivery(
        taken=len(taken),
        told=len(heard),
        lost=sum(each not in heard for each in taken),
        repeated=sum(count - 1 for count in heard.values()),
        kills=kills,
    )


def live_and_die(url: str, first: int, hook: Path) -> list[str]:
    """Let a teller work for a moment and kill it; return what it had taken."""
    process = teller(url, first, hook)
    assert process.stdout is not None
    taken = [process.stdout.readline().strip()]
    time.sleep(random.uniform(0, LONGEST_LIFE_S))  # noqa: S311 - nothing secret
    process.kill()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    return [each for each in [*taken, *rest.split()] if each]


def teller(url: str, first: int, hook: Path) -> "subprocess.Popen[str]":
    """A new teller."""
    script = Path(__file__).with_name("teller.py")
    command = [sys.executable, str(script), url, str(first), sys.executable, str(hook)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def main() -> int:
    """Prove and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upbitd-alerts-") as text:
        folder = Path(text)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "pg") as server:
            schema.upgrade(server.url)
            done = prove(server.url, folder, options.kills)
    print(
        f"{done.kills} kills: {done.taken} alerts taken, {done.told} told, {done.lost} lost "
        f"(limit 0), {done.repeated} told once more than needed"
    )
    return 1 if done.lost else 0


if __name__ == "__main__":
    sys.exit(main())
