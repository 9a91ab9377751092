"""The command line: `upbitd …`, also `python -m daemon …`."""

from importlib.metadata import version
from typing import Annotated

import typer

from daemon.commands import (
    backfill,
    backup,
    doctor,
    explain,
    flatten,
    health,
    jobs_control,
    lists,
    migrate,
    replay,
    replay_decision,
    run,
    settings,
    stats,
)

app = typer.Typer(
    name="upbitd",
    help="A daemon that trades on Upbit: never doubles an order, never hides a fault.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, keys among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"upbitd {version('upbitd')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """A daemon that trades on Upbit: never doubles an order, never hides a fault."""
    del show_version


for family in (
    run,
    doctor,
    migrate,
    backfill,
    backup,
    health,
    stats,
    settings,
    flatten,
    lists,
    explain,
    jobs_control,
    replay,
    replay_decision,
):
    family.register(app)


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()
