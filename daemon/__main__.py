"""The command line: `upbitd …`, also `python -m daemon …`."""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Final

import typer

from daemon.process.standard_streams import open_missing, replace_what_cannot_be_shown

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("run", "demo", "sandbox"),
    "doctor": ("doctor",),
    "migrate": ("migrate",),
    "backfill": ("backfill",),
    "backup": ("backup", "restore"),
    "health": ("health",),
    "stats": ("stats",),
    "settings": ("settings",),
    "halt": ("halt", "resume"),
    "flatten": ("flatten", "cancel"),
    "lists": ("orders", "signals", "slots", "alerts"),
    "positions": ("positions",),
    "drawdown": ("drawdown",),
    "explain": ("explain",),
    "jobs_control": ("jobs",),
    "cooldowns": ("cooldowns",),
    "replay": ("replay",),
    "replay_decision": ("replay-decision",),
}
"""The modules of `daemon.cli`, in the order of `--help`, and the commands of each."""


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"upbitd {version('upbitd')}")
        raise typer.Exit


def options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """A daemon that trades on Upbit: never doubles an order, never hides a fault."""
    del show_version


def make_app(families: Iterable[str] = FAMILIES) -> typer.Typer:
    """Return the command line with these families of commands, all unless told."""
    app = typer.Typer(
        name="upbitd",
        help="A daemon that trades on Upbit: never doubles an order, never hides a fault.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its tracebacks show local variables, keys among them
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for family in families:
        import_module(f"daemon.cli.{family}").register(app)
    return app


def wanted(arguments: list[str]) -> list[str]:
    """Return the family of the command that the arguments name, all families if they name none.

    To import what only others need takes longer than most commands do.
    """
    name = arguments[0] if arguments else ""
    return [family for family, names in FAMILIES.items() if name in names] or list(FAMILIES)


def main() -> None:
    """Run the command that the arguments name."""
    open_missing()
    replace_what_cannot_be_shown()
    app = make_app(wanted(sys.argv[1:]))
    try:
        app()
    except Exception as exc:  # noqa: BLE001 - the last boundary, which tells them apart
        from daemon.cli.boundary import end_in_one_line  # only now: most commands need less

        sys.exit(end_in_one_line(exc))


if __name__ == "__main__":
    main()
