"""`upbitd run` and `upbitd sandbox`: the long-running commands."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.options import ConfigOption, fail, read_config

DemoConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings to try; addresses, keys and intervals are the demo's own."
    ),
]


def run(config: ConfigOption = None) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    Exit codes: 0 clean stop, 2 bad configuration, 3 database unreachable or not at head, 4 another
    instance holds the lock and daemon.standby is false.

    Example: upbitd run --config /etc/upbitd/config.toml
    """
    from daemon.app import main  # the other commands start faster without it

    raise typer.Exit(main(read_config(config), os.environ))


def sandbox(
    port: Annotated[int, typer.Option(help="The port; 0 takes any free one.")] = 8788,
    data: Annotated[
        Path | None, typer.Option(help="A folder of recordings to replay instead of ours.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Taken as by every command; nothing in it is used here."),
    ] = None,
) -> None:
    """Run the local exchange and Gemini alone, for your own tests.

    Example: upbitd sandbox --port 8788
    """
    del config
    arguments = ["-m", "sandbox", "--port", str(port)]
    if data is not None:
        arguments += ["--data", str(data)]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 -- ourselves, no shell


def demo(
    duration: Annotated[
        float | None,
        typer.Option(help="Stop after so many seconds, print a summary and check what was done."),
    ] = None,
    port: Annotated[int, typer.Option(help="The health port; 0 takes any free one.")] = 8787,
    data: Annotated[
        Path | None, typer.Option(help="A folder of recordings to replay instead of ours.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep database, log and configuration in this folder.")
    ] = None,
    config: DemoConfigOption = None,
) -> None:
    """Show the daemon trading against the local exchange: no keys, no account, no money.

    Example: upbitd demo --duration 60 --keep ./demo
    """
    from daemon.demo import DemoFailed, Options, play

    if config is not None:
        read_config(config, keys=False)
    options = Options(duration_s=duration, port=port, data=data, keep=keep, config=config)
    try:
        asyncio.run(play(options))
    except DemoFailed as error:
        fail(str(error))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(run)
    app.command()(demo)
    app.command()(sandbox)
