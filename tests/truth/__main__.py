# ruff: noqa: T201 - a command that prints
"""The health truth table: every scenario against a real daemon, printed with its totals.

make truth        or, for a part:  PYTHONPATH=tests .venv/bin/python -m truth --only exchange
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from truth.runner import Outcome, await_start_up, prepare, run, until_well
from truth.scenarios import SCENARIOS, WORLDS, Scenario
from truth.world import World

from health.report import COMPONENTS

RED_LIMIT = 0.01
SHORT = {"healthy": "H", "degraded": "D", "unhealthy": "U", "?": "?"}


def chosen(only: str, *, brief: bool) -> list[Scenario]:
    """The scenarios whose names hold `only`; the brief ones alone if wanted."""
    return [each for each in SCENARIOS if only in each.name and (each.brief or not brief)]


def run_world(name: str, scenarios: Sequence[Scenario]) -> list[Outcome]:
    """Run scenarios one after another in one world."""
    done = []
    with tempfile.TemporaryDirectory(prefix="upbitd-truth-") as folder:
        Path(folder).chmod(0o755)
        with World(Path(folder), WORLDS[name]) as world:
            if name != "live":
                prepare(world)
            world.until_ready()
            if name != "live":
                await_start_up(world)
                prepare(world)
            if name != "poor" and not until_well(world, 120):
                raise RuntimeError(f"never well: {world.daemon.sample().components}")
            for scenario in scenarios:
                outcome = run(world, scenario)
                done.append(outcome)
                print(json.dumps(as_row(outcome)), flush=True)
    return done


def as_row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON, from a child to its parent."""
    return {
        "name": outcome.scenario.name,
        "expect": outcome.scenario.expect.split(),
        "said": [SHORT[cell.said] for cell in outcome.cells],
        "greens": len(outcome.false_greens),
        "reds": [outcome.reds, outcome.judged],
        "red_cells": len(outcome.false_reds),
        "named_s": outcome.named_s,
        "detected_s": outcome.detected_s,
        "recovered_s": outcome.recovered_s,
        "named": {cell.component: cell.named_s for cell in outcome.cells},
        "took_ms": outcome.took_ms,
        "faults": outcome.faults,
        "causes": {cell.component: cell.cause for cell in outcome.cells if cell.cause},
    }


def share(scenarios: Sequence[Scenario], workers: int) -> list[tuple[str, list[Scenario]]]:
    """Divide scenarios among processes; each process has one world."""
    parts = []
    for world in WORLDS:
        own = [each for each in scenarios if each.world == world]
        count = min(workers if world in ("quiet", "live") else 1, len(own) // 3 + 1)
        parts += [(world, own[n::count]) for n in range(count) if own[n::count]]
    return parts


def run_all(scenarios: Sequence[Scenario], workers: int, *, tell: bool) -> list[dict[str, Any]]:
    """Run the parts, `workers` at a time, each in a process of its own; return the rows."""
    waiting = share(scenarios, max(1, workers // 2))
    running: list[subprocess.Popen[str]] = []
    rows: list[dict[str, Any]] = []
    while waiting or running:
        while waiting and len(running) < workers:
            world, part = waiting.pop(0)
            names = json.dumps([each.name for each in part])
            command = [sys.executable, "-m", "truth", "--world", world, "--names", names]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        child = running.pop(0)
        assert child.stdout is not None
        for line in child.stdout:
            row = json.loads(line)
            rows.append(row)
            if tell:
                print_row(row)
        child.stdout.close()
        if child.wait() != 0:
            rows.append({"name": f"a world ended with {child.returncode}", "faults": ["broken"]})
    return rows


def print_row(row: dict[str, Any]) -> None:
    """One line of the table, and a line for each fault."""
    pairs = [f"{e}/{s}" for e, s in zip(row["expect"], row["said"], strict=True)]
    named, detected = (
        "" if row[key] is None else f"{row[key]:.1f}" for key in ("named_s", "detected_s")
    )
    recovered = "never" if row["recovered_s"] is None else f"{row['recovered_s']:.1f}"
    p99 = percentile(row["took_ms"], 0.99)
    cells = "".join(f"{pair:>6}" for pair in pairs)
    print(f"{row['name']:<38}{cells}{named:>9}{detected:>9}{recovered:>9}{p99:>8.1f}", flush=True)
    for fault in row["faults"]:
        cause = next((c for n, c in row["causes"].items() if fault.startswith(n)), None)
        print(f"    !! {fault}" + (f" -- {cause}" if cause else ""), flush=True)


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of `values` do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def totals(rows: Sequence[dict[str, Any]]) -> int:
    """Print the totals; return how many of them miss their limit."""
    broken = [row for row in rows if "expect" not in row]
    done = [row for row in rows if "expect" in row]
    judged = sum(letter != "." for row in done for letter in row["expect"])
    troubles = sum(letter in "DU!" for row in done for letter in row["expect"])
    greens = sum(row["greens"] for row in done)
    reds, samples = (sum(row["reds"][n] for row in done) for n in (0, 1))
    red_cells = sum(row["red_cells"] for row in done)
    named = [row["named_s"] for row in done if row["named_s"] is not None]
    detected = [row["detected_s"] for row in done if row["detected_s"] is not None]
    took = [each for row in done for each in row["took_ms"]]
    print(
        f"\n{len(done)} scenarios x {len(COMPONENTS)} components = "
        f"{len(done) * len(COMPONENTS)} cells, {judged} of them judged"
    )
    print(f"false green  {greens} of {troubles} cells that must not be healthy   (limit 0)")
    print(
        f"false red    {reds} of {samples} samples that must be healthy "
        f"({reds / max(1, samples):.2%}, limit {RED_LIMIT:.0%}), in {red_cells} cells"
    )
    print(
        f"named after  p50 {percentile(named, 0.5):.1f} s, max {max(named, default=0.0):.1f} s; "
        f"at its level p50 {percentile(detected, 0.5):.1f} s, max "
        f"{max(detected, default=0.0):.1f} s"
    )
    print(
        f"/health      p50 {percentile(took, 0.5):.1f} ms, p99 {percentile(took, 0.99):.1f} ms, "
        f"max {max(took, default=0.0):.1f} ms of {len(took)} requests while it held"
    )
    other = [row["name"] for row in done if row["faults"]]
    print(f"not as the table wants it: {len(other)}{': ' + '; '.join(other) if other else ''}")
    return int(greens > 0) + int(reds > RED_LIMIT * samples) + len(broken)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="scenarios whose names hold this")
    parser.add_argument("--brief", action="store_true", help="the reduced table")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--world", help=argparse.SUPPRESS)
    parser.add_argument("--names", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.world:
        names = json.loads(options.names)
        run_world(options.world, [each for each in SCENARIOS if each.name in names])
        return 0
    heads = ("database", "upbit", "gemini", "sched.", "signal", "order")
    print(
        f"{'expected/said':<38}{''.join(f'{each[:5]:>6}' for each in heads)}"
        f"{'named s':>9}{'level s':>9}{'well s':>9}{'p99 ms':>8}"
    )
    rows = run_all(chosen(options.only, brief=options.brief), options.workers, tell=True)
    if options.json:
        with suppress(OSError):
            Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 1 if totals(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
