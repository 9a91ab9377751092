"""The database for one command: a database that cannot be used ends the command with one line."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from daemon.cli.options import fail
from daemon.config.load import Config
from daemon.postgres.session import NoDatabase, in_database
from jobs.store.db import Database

T = TypeVar("T")

UNREACHABLE = 3


def with_database(config: Config, work: Callable[[Database], Awaitable[T]]) -> T:
    """Return what `work` returns; ends the command with exit code 3 when there is no database.

    Whatever is logged meanwhile goes to standard error, masked.
    """
    try:
        return in_database(config, work)
    except NoDatabase as exc:
        fail(str(exc), UNREACHABLE)
