"""`upbitd run` and `upbitd sandbox`: the long-running commands."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import BAD_CONFIGURATION, ConfigOption, fail, read_config
from daemon.config.load import LIVE_CONFIRMED, Config
from daemon.leadership.live_start import (
    Stakes,
    is_confirmed,
    read_stakes,
    remember,
    says_yes,
    unknown_stakes,
)
from daemon.postgres.session import NoDatabase, in_database

MOST_PORT = 65535

DemoConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings to try; addresses, keys and intervals are the demo's own."
    ),
]


def run(
    config: ConfigOption = None,
    *,
    live_confirmed: Annotated[
        bool,
        typer.Option(
            "--live-confirmed", help="Yes, trade with real money; asked once a state directory."
        ),
    ] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    The first start in live mode on a state directory asks, or wants --live-confirmed or
    UPBITD_LIVE_CONFIRMED=1.

    Exit codes: 0 clean stop, 2 bad configuration, 3 database unreachable or not at head, 4 another
    instance holds the lock and daemon.standby is false.

    Example: upbitd run --config /etc/upbitd/config.toml
    """
    from daemon.app import main  # the other commands start faster without it

    settings = read_config(config, as_daemon=True)
    _confirm_live(settings, is_given=live_confirmed)
    raise typer.Exit(main(settings, os.environ))


def _confirm_live(config: Config, *, is_given: bool) -> None:
    """Go on when somebody said, now or before, that real money may be traded with."""
    if is_confirmed(config):
        return
    if not (is_given or says_yes(os.environ)):
        stakes = _stakes(config)
        where = f"live trading was never confirmed for {config.daemon.state_dir}"
        if not sys.stdin.isatty():
            fail(
                f"{where}: say --live-confirmed or {LIVE_CONFIRMED}=1; it would risk {stakes}",
                BAD_CONFIGURATION,
            )
        typer.echo(f"{where[0].upper()}{where[1:]}. It risks {stakes}.", err=True)
        if not typer.confirm("Trade with real money?", err=True):
            fail("not confirmed; nothing was started", BAD_CONFIGURATION)
    try:
        remember(config)
    except OSError as exc:
        typer.echo(f"upbitd: {exc.filename}: {exc.strerror}; to be confirmed again", err=True)


def _stakes(config: Config) -> Stakes:
    try:
        return in_database(config, lambda db: read_stakes(db, config))
    except NoDatabase:
        return unknown_stakes(config)


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=MOST_PORT, help="The port; 0 takes any free one.")
    ] = 8788,
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
        typer.Option(
            min=1.0, help="Stop after so many seconds, print a summary and check what was done."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=MOST_PORT, help="The health port; 0 takes any free one.")
    ] = 8787,
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
    from daemon.demo.run import DemoFailed, Options, play

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
