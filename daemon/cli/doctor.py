"""`upbitd doctor`: what is wrong with configuration, machine and services, and how to mend it."""

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from daemon.cli.database_report import show_database
from daemon.cli.options import ConfigOption, JsonOption, load_for_command, read_config
from daemon.cli.tables import console, show
from daemon.config.load import ConfigError, locate
from daemon.config.sections import LogConfig
from daemon.doctor.checks import configuration_file, diagnose
from daemon.doctor.results import Finding, fault
from daemon.telemetry.logs import configure
from jobs.core.untrusted import clean

MARKS = {
    "ok": ("✓", "green"),
    "note": ("·", "dim"),
    "warning": ("!", "yellow"),
    "fault": ("✗", "bold red"),
}


def doctor(
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
    of_database: Annotated[
        bool,
        typer.Option("--database", help="Look into the database: slow, large, unused, held open."),
    ] = False,
) -> None:
    """Check everything that the daemon needs and name each fault with its mend. Exit 1 on a fault.

    Nothing is changed anywhere; the order that it tries goes to Upbit's test endpoint.

    Example: upbitd doctor --config /etc/upbitd/config.toml
    """
    if of_database:
        is_good = show_database(read_config(config, keys=False), as_json=as_json)
        raise typer.Exit(int(not is_good))
    try:
        settings = load_for_command(config)
    except ConfigError as error:
        found = [fault("configuration", str(error), "correct it and run `upbitd doctor` again")]
    else:
        quiet = LogConfig(level="CRITICAL", format="text")
        logs = configure(quiet, settings.sensitive(), stream=sys.stderr)
        try:
            found = [configuration_file(locate(config, os.environ))]
            found += asyncio.run(diagnose(settings, logs.mask))
        finally:
            logs.close()
    if as_json:
        show(found, {}, as_json=True, empty="")
    else:
        console().print(_table(found))
    raise typer.Exit(int(any(each.level == "fault" for each in found)))


def _table(found: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for each in found:
        mark, style = MARKS[each.level]
        table.add_row(Text(mark, style=style), Text(each.subject), Text(clean(each.said)))
        if each.mend:
            table.add_row("", "", Text(f"→ {clean(each.mend)}", style="bold"))
    return table


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(doctor)
