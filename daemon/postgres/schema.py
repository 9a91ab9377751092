"""The schema's revisions, by Alembic: where a database stands, and moving it up or down.

Everything here blocks; call it through `asyncio.to_thread`.
"""

import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.pool import NullPool

from daemon.postgres.blockers import ADVISORY_HOLDER, Blockers, advisory, describe
from jobs.core.errors import Permanent, Transient, Unavailable
from jobs.store.connecting import connect_blocking
from jobs.store.db import translated

__all__ = [
    "CommandError",
    "NewerSchema",
    "Status",
    "Step",
    "Watch",
    "downgrade",
    "head",
    "known",
    "status",
    "upgrade",
]

MIGRATION_LOCK = 0x7570_6269_7464  # "upbitd": one migrator at a time in a database
APPLICATION_NAME = "upbitd-migrate"
TRY_LOCK_S = 0.05
SHOWN_CHARACTERS = 100
LOCK_TIMEOUT_S = 1.0
"""Whoever wants a table while we wait for ACCESS EXCLUSIVE waits behind us, orders too."""
PATIENCE_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a database stands: its revision, ours, and what lies between, oldest first."""

    current: str | None
    head: str
    pending: tuple[str, ...]

    @property
    def at_head(self) -> bool:
        """Whether the database is exactly what this program was written for."""
        return self.current == self.head

    @property
    def is_newer(self) -> bool:
        """Whether a newer program has moved the database beyond what this one knows."""
        is_known = bool(self.pending) or self.at_head
        return self.current is not None and not is_known and self.current > self.head

    @property
    def mend(self) -> str:
        """What a person does about a database that is not at head."""
        if self.is_newer:
            return "install the newer program again, or `upbitd restore` a back-up of before"
        return "run `upbitd migrate up`"

    def __str__(self) -> str:
        """Where it stands beside this program, in a few words."""
        how = ", which is newer than this program" if self.is_newer else ""
        return f"the database is at revision {self.current or 'none'}{how} (head {self.head})"


class NewerSchema(Permanent):
    """A newer program has moved the database: this one must not touch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A statement that a migration is about to run, as one line; `number` counts from 1."""

    number: int
    statement: str


Watch = Callable[[Step], None]
"""Called before each statement of a migration."""


def upgrade(url: str, watch: Watch | None = None, *, patience_s: float = PATIENCE_S) -> None:
    """Bring the database to head; a second migrator waits for the first. Raises Unavailable.

    May be killed at any statement: the next call goes on from there. A table that others hold is
    waited for in short tries; after `patience_s` seconds Unavailable names who holds it.
    """
    _refuse_newer(url)
    _patiently(url, watch, patience_s, lambda config: command.upgrade(config, "head"))


def downgrade(
    url: str, revision: str, watch: Watch | None = None, *, patience_s: float = PATIENCE_S
) -> None:
    """Take the database back to `revision` (`base`: nothing is left). Raises Unavailable."""
    _refuse_newer(url)
    _patiently(url, watch, patience_s, lambda config: command.downgrade(config, revision))


def _refuse_newer(url: str) -> None:
    """Raise NewerSchema where Alembic would only say that it cannot locate a revision."""
    if (now := status(url)).is_newer:
        raise NewerSchema(f"{now}: {now.mend}")


def _patiently(
    url: str, watch: Watch | None, patience_s: float, move: Callable[[Config], None]
) -> None:
    """Move the schema, and again from where it stopped while others hold what it needs."""
    deadline_s, wait_s = time.monotonic() + patience_s, FIRST_WAIT_S
    blockers = Blockers(url, APPLICATION_NAME)
    while True:
        try:
            with blockers.watching(), _migrating(url, watch, deadline_s) as config:
                move(config)
        except Transient as exc:
            if exc.context.get("sqlstate") != LOCK_NOT_AVAILABLE:
                raise
            if time.monotonic() + wait_s > deadline_s:
                raise Unavailable(
                    f"a migration waits for a table that others hold: {blockers}"
                ) from exc
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        else:
            return


def head() -> str:
    """The revision that this program was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package migrations holds no revision")
    return revision


def known() -> set[str]:
    """Every revision that this program knows."""
    return {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}


def status(url: str) -> Status:
    """Where the database stands now. Raises Unavailable."""
    script = ScriptDirectory.from_config(_config())
    newest = head()
    with _connected(url) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known():  # written by a newer program
        return Status(current=current, head=newest, pending=())
    revisions = script.iterate_revisions(newest, current or "base")
    pending = tuple(reversed([each.revision for each in revisions]))
    return Status(current=current, head=newest, pending=pending)


@contextmanager
def _migrating(url: str, watch: Watch | None, deadline_s: float) -> Iterator[Config]:
    with _connected(url) as connection:
        _lock(connection, deadline_s)
        connection.execute(text(f"SET lock_timeout = '{round(LOCK_TIMEOUT_S * 1000)}ms'"))
        connection.commit()
        if watch is not None:
            _report(connection, watch)
        config = _config()
        config.attributes["connection"] = connection
        yield config


def _report(connection: Connection, watch: Watch) -> None:
    numbers = itertools.count(1)

    def before(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        watch(Step(number=next(numbers), statement=" ".join(statement.split())[:SHOWN_CHARACTERS]))

    event.listen(connection, "before_cursor_execute", before)


def _lock(connection: Connection, deadline_s: float) -> None:
    """Wait for the lock by trying: a statement that waits holds a snapshot, and an index that is
    built concurrently waits for all snapshots, its own migrator's rivals included.

    Raises Unavailable with the name of who holds it.
    """
    attempt = text("SELECT pg_try_advisory_lock(:key)")
    while not connection.execute(attempt, {"key": MIGRATION_LOCK}).scalar_one():
        if time.monotonic() > deadline_s:
            row = connection.exec_driver_sql(ADVISORY_HOLDER, advisory(MIGRATION_LOCK)).first()
            raise Unavailable(f"another migration holds the lock: {describe(row)}")
        connection.rollback()
        time.sleep(TRY_LOCK_S)
    connection.commit()  # the lock is the session's and outlives every transaction


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    def connect() -> psycopg.Connection:
        return connect_blocking(url, application_name=APPLICATION_NAME)

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with translated(), engine.connect() as connection:
        try:
            yield connection
        except PendingRollbackError as exc:  # how a statement outside a transaction loses it
            raise Unavailable("the database does not answer") from exc


def _config() -> Config:
    spec = importlib.util.find_spec("migrations")  # found, not imported: the arrow stays one way
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package migrations is not installed")
    config = Config()
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
