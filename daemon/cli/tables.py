"""Rows shown to a person as a table, or to a program as one JSON array."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli import zone
from jobs.core.untrusted import clean

WIDE = 250
"""Columns where the output is no terminal, so that no cell is cut or wrapped."""
LAST_CELL = 24
"""Of the last column, a text that may be cut, so much is shown at least."""
KRW_COLUMNS = frozenset(
    ["executed_funds", "paid_fee", "unrealized_krw", "realized_krw", "value_krw", "total_krw"]
)
"""Amounts of won: nobody reads their decimals in a table; --wide and --json have them."""

WideOption = Annotated[
    bool,
    typer.Option("--wide", help="Every column and every decimal, however wide the terminal is."),
]
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


def show(
    rows: Sequence[Any],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    empty: str,
    wide: bool | None = None,
) -> None:
    """Print dataclass rows: all fields as JSON, or `columns` (field to heading) as a table.

    On a terminal those columns are shown that fit, one line a row: from the last one on they are
    left out, `wide` shows all (None: every column always, folded). `empty` is said, on standard
    error, where there is no row and a person is looking.
    """
    if as_json:
        typer.echo(to_json([_fields(row) for row in rows]))
    elif not rows:
        typer.echo(empty, err=True)
    else:
        out = console(wide=bool(wide))
        is_fitted = wide is False and sys.stdout.isatty()
        shown = _fitting(rows, columns, out.width) if is_fitted else columns
        out.print(_table(rows, shown, wide=wide, is_fitted=is_fitted))
        if left_out := [columns[name] for name in columns if name not in shown]:
            typer.echo(f"not shown here: {', '.join(left_out)} (--wide shows all)", err=True)


def to_json(value: Any) -> str:
    """The value as indented JSON; money as text, so that no digit is lost."""
    return clean(orjson.dumps(value, default=_spell, option=orjson.OPT_INDENT_2).decode())


def console(*, wide: bool = False) -> Console:
    """Standard output; as wide as it takes where it is no terminal, or is said to be `wide`."""
    width = None if sys.stdout.isatty() and not wide else WIDE
    return Console(file=sys.stdout, width=width, highlight=False)


def _fitting(rows: Sequence[Any], columns: Mapping[str, str], width: int) -> Mapping[str, str]:
    """The first columns that fit into the width, one line a row; a last text may be cut."""
    shown: dict[str, str] = {}
    left = width
    for name, heading in columns.items():
        cells = [plain_in(name, getattr(row, name)) for row in rows]
        needs = max(cell_len(each) for each in (heading, *cells)) + 2
        if needs > left and name == list(columns)[-1] and left >= LAST_CELL:
            needs = left  # the reason or the message: its beginning says something
        if needs > left + 2:
            continue
        shown[name], left = heading, left - needs
    return shown


def _fields(row: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(row)]
    return {name: getattr(row, name) for name in names}


def _table(
    rows: Sequence[Any], columns: Mapping[str, str], *, wide: bool | None, is_fitted: bool
) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, heading in columns.items():
        values = [getattr(row, name) for row in rows]
        right = any(isinstance(each, int | float | Decimal) for each in values)
        if any(isinstance(each, datetime) for each in values):
            heading = f"{heading} ({zone.label()})"  # noqa: PLW2901 - the same, as it is shown
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    if is_fitted:
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
    for row in rows:
        table.add_row(*(_cell(name, getattr(row, name), wide=bool(wide)) for name in columns))
    return table


def _cell(name: str, value: Any, *, wide: bool) -> Text:
    text = plain(value) if wide else plain_in(name, value)
    return Text(text, style=COLOURS.get(text, ""))


def plain_in(name: str, value: Any) -> str:
    """A value of this column as a person reads it: won without decimals."""
    is_krw = name in KRW_COLUMNS and isinstance(value, Decimal)
    return f"{value:,.0f}" if is_krw else plain(value)


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
