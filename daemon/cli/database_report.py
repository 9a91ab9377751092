"""What `upbitd doctor --database` shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.text import Text

from daemon.cli.session import with_database
from daemon.cli.tables import console, show, to_json
from daemon.config.load import Config
from daemon.postgres.report import DatabaseReport, as_dict, report

MENDS = {
    "invalid": "REINDEX INDEX CONCURRENTLY <name>, or `upbitd migrate up` when it is of a revision",
    "missing": "`upbitd migrate status`; an index that was dropped by hand is made anew by hand",
    "transactions": "find out who it is: it holds up vacuum, and index builds",
    "bloated": "VACUUM (ANALYZE) <name>; then see why autovacuum does not",
}
SECTIONS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    (
        "transactions",
        "Open for more than a minute",
        {
            "pid": "PID",
            "application": "APPLICATION",
            "state": "STATE",
            "age_s": "SECONDS",
            "statement": "STATEMENT",
        },
    ),
    ("invalid", "Broken indexes", {"name": "INDEX", "table": "TABLE", "why": "WHY"}),
    (
        "statements",
        "Slowest statements",
        {
            "total_s": "TOTAL S",
            "calls": "CALLS",
            "mean_ms": "MEAN MS",
            "rows": "ROWS",
            "statement": "STATEMENT",
        },
    ),
    (
        "sizes",
        "Largest tables",
        {
            "name": "TABLE",
            "rows": "ROWS",
            "bytes": "BYTES",
            "index_bytes": "OF THAT INDEXES",
        },
    ),
    ("unused", "Unused indexes", {"name": "INDEX", "table": "TABLE", "bytes": "BYTES"}),
    (
        "scanned",
        "Large tables read from end to end",
        {
            "name": "TABLE",
            "rows": "ROWS",
            "scans": "SCANS",
            "rows_read": "ROWS READ",
        },
    ),
    (
        "bloated",
        "Many dead rows",
        {
            "name": "TABLE",
            "live": "LIVE",
            "dead": "DEAD",
            "share": "SHARE",
            "vacuumed_at": "VACUUMED",
        },
    ),
)


def show_database(config: Config, *, as_json: bool) -> bool:
    """Print how the database is doing; return whether nothing has to be mended."""
    found = with_database(config, report)
    if as_json:
        typer.echo(to_json(as_dict(found)))
    else:
        _print(found)
    return found.is_good


def _print(found: DatabaseReport) -> None:
    for name, heading, columns in SECTIONS:
        rows: list[Any] | None = getattr(found, name)
        if rows:
            console().print(Text(f"\n{heading}", style="bold"))
            show(rows, columns, as_json=False, empty="")
            _mend(name)
    if found.missing:
        console().print(Text(f"\nMissing indexes: {', '.join(found.missing)}", style="bold red"))
        _mend("missing")
    for note in found.notes:
        console().print(Text(f"\n· {note}", style="dim"))
    if found.is_good:
        console().print(Text("\n✓ nothing has to be mended", style="green"))


def _mend(name: str) -> None:
    if name in MENDS:
        console().print(Text(f"→ {MENDS[name]}"))
