"""Rows shown to a person as a table, or to a program as one JSON array."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.commands import zone
from jobs.untrusted import clean

WIDE = 250
"""Columns where the output is no terminal, so that no cell is cut or wrapped."""
COLOURS = {
    "ok": "green",
    "done": "green",
    "executed": "green",
    "buy": "green",
    "bid": "green",
    "sell": "red",
    "ask": "red",
    "failed": "red",
    "timeout": "red",
    "critical": "bold red",
    "unknown": "bold red",
    "warning": "yellow",
    "deferred": "yellow",
    "refused": "yellow",
    "skipped": "dim",
    "expired": "dim",
}


def show(rows: Sequence[Any], columns: Mapping[str, str], *, as_json: bool, empty: str) -> None:
    """Print dataclass rows: all fields as JSON, or `columns` (field to heading) as a table.

    `empty` is said, on standard error, where there is no row and a person is looking.
    """
    if as_json:
        typer.echo(to_json([_fields(row) for row in rows]))
    elif not rows:
        typer.echo(empty, err=True)
    else:
        console().print(_table(rows, columns))


def to_json(value: Any) -> str:
    """The value as indented JSON; money as text, so that no digit is lost."""
    return clean(orjson.dumps(value, default=_spell, option=orjson.OPT_INDENT_2).decode())


def console() -> Console:
    """Standard output; as wide as it takes where it is no terminal."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE, highlight=False)


def _fields(row: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(row)]
    return {name: getattr(row, name) for name in names}


def _table(rows: Sequence[Any], columns: Mapping[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, heading in columns.items():
        values = [getattr(row, name) for row in rows]
        right = any(isinstance(each, int | float | Decimal) for each in values)
        if any(isinstance(each, datetime) for each in values):
            heading = f"{heading} ({zone.label()})"  # noqa: PLW2901 - the same, as it is shown
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(getattr(row, name)) for name in columns))
    return table


def _cell(value: Any) -> Text:
    text = plain(value)
    return Text(text, style=COLOURS.get(text, ""))


def plain(value: Any) -> str:
    """A value as a person reads it: times in daemon.timezone, numbers without noise."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "true", False: "false"}[value]
    if isinstance(value, datetime):
        return zone.stamp(value)
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    # a text may be anybody's: it must not steer the terminal
    return f"{value:.3f}" if isinstance(value, float) else clean(str(value))


def number(value: Decimal) -> str:
    """The exact number with thousands separated and without trailing zeros."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _spell(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
