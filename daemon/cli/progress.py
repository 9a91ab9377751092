"""How far long work is: a bar on a terminal, a line a tenth elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Advance(Protocol):
    """Says what is worked on, and how many of the units are done."""

    def __call__(self, what: str, done: int, total: int | None = None) -> None:
        """Tell; `total` where that is known only now."""
        ...


LINES = 10
EVERY_S = 10.0


@contextmanager
def progress(total: int, *, unit: str) -> Iterator[Advance]:
    """Show on standard error how many of `total` units are done."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task("", total=total)

            def advance(what: str, done: int, total: int | None = None) -> None:
                bar.update(task, description=what, completed=done, total=total)

            yield advance
    else:
        yield _Lines(total, unit).advance


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Lines:
    def __init__(self, total: int, unit: str) -> None:
        self._total = max(1, total)
        self._unit = unit
        self._told = 0.0
        self._told_at = time.monotonic()

    def advance(self, what: str, done: int, total: int | None = None) -> None:
        """Say so, at most ten times and after every ten seconds without a word."""
        self._total = max(1, self._total if total is None else total)
        share = done / self._total
        now = time.monotonic()
        if share - self._told < 1 / LINES and now - self._told_at < EVERY_S and share < 1:
            return
        self._told, self._told_at = share, now
        typer.echo(f"{what}: {done} of {self._total} {self._unit}", err=True)
