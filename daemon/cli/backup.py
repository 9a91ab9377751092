"""`upbitd backup FILE` and `upbitd restore FILE`: the whole database in one file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, fail, read_config
from daemon.cli.progress import progress
from daemon.cli.session import UNREACHABLE
from daemon.config.load import Config
from daemon.postgres import backup as dump
from daemon.postgres import schema
from daemon.postgres.server_paths import EmbeddedError
from daemon.postgres.session import address_for_command
from jobs.core.errors import JobError


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    config: ConfigOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Write the whole database to FILE, in one consistent state; the daemon may run.

    Example: upbitd backup /var/backups/upbitd-2026-11-20.dump
    """
    if file.exists() and not force:
        fail(f"{file} is there already: choose another name, or --force")
    with _reached(read_config(config, keys=False)) as url, _telling(dump.dumped(url)) as told:
        size = dump.back_up(url, file, told)
    typer.echo(f"wrote {file}, {size:,} bytes")


def restore(
    file: Annotated[Path, typer.Argument(help="What `upbitd backup` wrote.")],
    config: ConfigOption = None,
) -> None:
    """Put a back-up into an empty database, whole or not at all; stop the daemon before.

    Example: upbitd restore /var/backups/upbitd-2026-11-20.dump
    """
    with _reached(read_config(config, keys=False), create=True) as url:
        with _telling(0) as told:
            dump.restore(url, file, told)
        now = schema.status(url)
        typer.echo(f"restored {file}: {dump.tables(url)} tables at revision {now.current}")
        if not now.at_head:
            typer.echo("next: upbitd migrate up")


@contextmanager
def _reached(config: Config, *, create: bool = False) -> Iterator[str]:
    try:
        with ExitStack() as stack:
            yield address_for_command(config, stack, create=create)
    except dump.BackupError as error:
        fail(str(error))
    except (EmbeddedError, JobError) as error:
        fail(str(error), UNREACHABLE)


@contextmanager
def _telling(total: int) -> Iterator[Callable[[str], None]]:
    with progress(total, unit="tables") as advance:
        done = 0

        def told(table: str) -> None:
            nonlocal done
            done += 1
            advance(table, done)

        yield told


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(backup)
    app.command()(restore)
