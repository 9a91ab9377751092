"""The options that every command shares, and how a command ends."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from daemon.cli import zone
from daemon.cli.operator import operator
from daemon.config.load import (
    CONFIG_VARIABLE,
    SYSTEM_PATH,
    Config,
    ConfigError,
    load,
    locate,
    with_credentials,
)
from daemon.telemetry.log_format import JOURNAL, is_journal, with_priority
from jobs.core.untrusted import clean

BAD_CONFIGURATION = 2

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help=f"The configuration file; ${CONFIG_VARIABLE}, ./config.toml, else {SYSTEM_PATH}.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def read_config(path: Path | None, *, keys: bool = True, as_daemon: bool = False) -> Config:
    """Return the configuration, or end the command with exit code 2 and one line.

    With `keys=False` missing API keys are no fault: the command needs none. The daemon gets its
    keys from its supervisor alone.
    """
    try:
        return load(path, os.environ, keys=keys) if as_daemon else load_for_command(path, keys=keys)
    except ConfigError as error:
        fail(str(error), BAD_CONFIGURATION)


def load_for_command(path: Path | None, *, keys: bool = False) -> Config:
    """Return the configuration as a command of a person sees it. Raises ConfigError."""
    operator()  # remembered while it is known who we are
    config = load(path, with_credentials(locate(path, os.environ), os.environ), keys=keys)
    zone.use(config.daemon.timezone)
    return config


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with `code` after one line on standard error."""
    typer.echo(error_line(message), err=True)
    raise typer.Exit(code)


def error_line(message: str) -> str:
    """The one line of a command that failed."""
    line = f"upbitd: {clean(message)}"
    if is_journal(sys.stderr, os.environ.get(JOURNAL)):  # a refused start shows in -p err, too
        line = with_priority("ERROR", line)
    return line
