"""Prove that no order is doubled and none is lost, wherever the process dies.

    python -m proof                 every cell
    python -m proof --reduced       a part of it, in a minute or two
    python -m proof --careless      with a bot that repeats unanswered requests: has to fail

Prints a table and ends with 1 unless every cell agrees or is honestly blocked.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Thread

from proof.cells import Verdict
from proof.report import print_table
from proof.servers import databases
from proof.worker import Share

PROGRESS = 100
REDUCED = Share(
    every=9,
    only=(
        *("answered", "reset before", "reset after", "429", "malformed"),
        *("too large, twice", "form not taken", "under maintenance", "far ask"),
    ),
)
CARELESS = Share(every=4, only=("reset after", "502 after"), paths=("entry",), is_careless=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the matrix and print what became of it."""
    parser = argparse.ArgumentParser(prog="proof", description=__doc__)
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--lines", type=Path, help="write each verdict there as it comes")
    parser.add_argument("--json", action="store_true", help="one line with the counts")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers end with us
    share = CARELESS if options.careless else REDUCED if options.reduced else Share()
    started = time.monotonic()
    verdicts = list(play(share, options.workers, options.lines))
    took_s = time.monotonic() - started
    if options.json:
        print(json.dumps(summary(verdicts, took_s)))
    else:
        print_table(verdicts, took_s)
    return 0 if is_proven(verdicts) else 1


def is_proven(verdicts: Sequence[Verdict]) -> bool:
    """Whether each cell agrees, or is blocked where nobody can know, and every failpoint was met.

    A cell that missed its failpoint in all its tries says nothing about the books, so that a slow
    machine is no failure; a failpoint that nobody ever met is one: it is not where it was.
    """
    met = [each for each in verdicts if each.outcome != "missed"]
    unmet = {each.failpoint for each in verdicts} - {each.failpoint for each in met}
    return bool(met) and not unmet and all(each.outcome in {"agree", "blocked"} for each in met)


def summary(verdicts: Sequence[Verdict], took_s: float) -> dict[str, object]:
    """The counts, for programs."""
    return {
        "cells": sum(each.outcome != "missed" for each in verdicts),
        "killed": sum(each.failpoint is not None for each in verdicts),
        "outcomes": dict(Counter(each.outcome for each in verdicts)),
        "was_blocked": sum(each.was_blocked for each in verdicts),
        "took_s": round(took_s, 1),
        "faults": [asdict(v) for v in verdicts if v.outcome not in {"agree", "blocked"}][:20],
    }


def play(share: Share, workers: int, file: Path | None = None) -> Iterator[Verdict]:
    """Every verdict of the share; each is written to `file` when it comes."""
    with databases(workers) as addresses:
        started = [
            _start(address, share, shard, workers) for shard, address in enumerate(addresses)
        ]
        lines: list[str] = []
        readers = [Thread(target=_read, args=(each, lines, file)) for each in started]
        try:
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
        finally:
            for each in started:
                each.terminate()
    failed = [each.returncode for each in started if each.returncode]
    if failed:
        raise RuntimeError(f"workers ended with {failed}")
    for line in lines:
        yield Verdict(**json.loads(line))


def _start(address: str, share: Share, shard: int, workers: int) -> "subprocess.Popen[str]":
    told = {**asdict(share), "shard": shard, "of": workers}
    command = [sys.executable, "-m", "proof.worker", address, json.dumps(told)]
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": tests}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def _read(worker: "subprocess.Popen[str]", lines: list[str], file: Path | None) -> None:
    if worker.stdout is None:
        raise RuntimeError("the worker has no output")
    for line in worker.stdout:
        lines.append(line)
        if file is not None:
            with file.open("a", encoding="utf-8") as out:
                out.write(line)
        if len(lines) % PROGRESS == 0:
            print(f"{len(lines)} cells", file=sys.stderr, flush=True)
    worker.wait()


if __name__ == "__main__":
    sys.exit(main())
