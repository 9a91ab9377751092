"""`upbitd migrate up|down|status`: the schema of the database."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, fail, read_config
from daemon.cli.progress import progress
from daemon.cli.session import UNREACHABLE
from daemon.config.load import Config
from daemon.postgres import schema
from daemon.postgres.pool import without_password
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import EmbeddedError
from daemon.postgres.session import EMBEDDED, address_for_command
from jobs.core.errors import JobError

READING = frozenset({"SELECT", "SHOW", "SET"})

commands = typer.Typer(
    help="Move the database's schema.\n\nExample: upbitd migrate status", no_args_is_help=True
)


@commands.command()
def up(config: ConfigOption = None) -> None:
    """Bring the schema to this program's revision. May be stopped and run again at any time.

    Example: upbitd migrate up --config /etc/upbitd/config.toml
    """
    with _database(read_config(config, keys=False)) as url:
        pending = schema.status(url).pending
        with _telling(pending) as watch:
            schema.upgrade(url, watch)
        typer.echo(f"at {schema.status(url).current}")


@commands.command()
def down(
    revision: Annotated[
        str, typer.Argument(help="The revision to go back to, or `base` for an empty database.")
    ],
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: data may be lost.")] = False,
) -> None:
    """Take the schema back to REVISION. What later revisions added is lost.

    Example: upbitd migrate down 0001 --yes
    """
    with _database(read_config(config, keys=False)) as url:
        if not yes:
            typer.confirm(f"Take {without_password(url)} back to {revision}?", abort=True)
        schema.downgrade(url, revision)
        typer.echo(f"at {schema.status(url).current or 'base'}")


@commands.command()
def status(config: ConfigOption = None) -> None:
    """Say where the schema stands.

    Example: upbitd migrate status
    """
    with _database(read_config(config, keys=False), beside_daemon=True) as url:
        now = schema.status(url)
        typer.echo(f"database {without_password(url)}")
        typer.echo(f"current  {now.current or 'none'}")
        typer.echo(f"head     {now.head}")
        typer.echo(f"pending  {', '.join(now.pending) or 'none'}")
        if not now.at_head:
            typer.echo(f"mend     {now.mend}")
            raise typer.Exit(UNREACHABLE)


@contextmanager
def _telling(pending: Sequence[str]) -> Iterator[schema.Watch]:
    """Tell of each statement that changes something, and how many revisions are done."""
    with progress(len(pending), unit="revisions") as advance:
        done = 0

        def watch(step: schema.Step) -> None:
            nonlocal done
            verb = step.statement.partition(" ")[0].upper()
            if "alembic_version" in step.statement and verb in ("INSERT", "UPDATE"):
                done += 1
                advance(f"revision {pending[min(done, len(pending)) - 1]}", done)
            elif verb not in READING:
                if sys.stderr.isatty():
                    advance(step.statement, done)
                else:
                    typer.echo(f"  {step.statement}", err=True)

        yield watch


@contextmanager
def _database(config: Config, *, beside_daemon: bool = False) -> Iterator[str]:
    """Give the database's address; our own Postgres is started for as long as it takes.

    With `beside_daemon` one that a daemon runs is used as it is; else it ends the command.
    """
    try:
        with ExitStack() as stack:
            if beside_daemon or config.database.url != EMBEDDED:
                yield address_for_command(config, stack)
            else:
                root = config.daemon.state_dir / "postgres"
                yield stack.enter_context(EmbeddedPostgres(root)).daemon_url
    except (EmbeddedError, JobError) as error:
        fail(str(error), UNREACHABLE)


def register(app: typer.Typer) -> None:
    """Add the family to the command line."""
    app.add_typer(commands, name="migrate")
