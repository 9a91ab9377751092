"""The last boundary of every command: trouble that can be foreseen is one line, bugs are too.

A traceback helps nobody at a terminal and may show what it should not; that of a bug is kept in a
file that its owner alone can read.
"""

import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from errno import errorcode

import psycopg
import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from daemon.cli.options import BAD_CONFIGURATION, error_line
from daemon.config.load import ConfigError
from daemon.postgres.backup import BackupError
from daemon.postgres.schema import CommandError
from daemon.postgres.server_paths import EmbeddedError
from daemon.redaction import Masker
from jobs.core.errors import JobError
from jobs.core.http_clients import BadEnvironment
from jobs.store.db import as_job_error

NO_DATABASE = 3
FAILED = 1
RIGHTS = psycopg.errors.InsufficientPrivilege
IN_THE_WAY = (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject)
FOREIGN = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, *IN_THE_WAY)


def end_in_one_line(exc: Exception) -> int:
    """Say in one line on standard error why the command ends; return its exit code."""
    mask = Masker()
    if isinstance(exc, BrokenPipeError):
        _lead_nowhere()
        return FAILED
    line, code = explain(exc, mask)
    typer.echo(error_line(mask(line)), err=True)
    return code


def explain(exc: Exception, mask: Masker) -> tuple[str, int]:
    """The line and the exit code for a failure that no command made a line of itself."""
    match exc:
        case BadEnvironment() | ConfigError():
            return str(exc), BAD_CONFIGURATION
        case JobError() | EmbeddedError():
            return str(exc), NO_DATABASE
        case SQLAlchemyError() | psycopg.Error() | CommandError():
            return _of_database(exc), NO_DATABASE
        case BackupError():
            return str(exc), FAILED
        case OSError():
            return _of_system(exc), FAILED
    return f"{_first_line(exc)}; this is a bug: {_keep_traceback(exc, mask)}", FAILED


def _of_database(exc: Exception) -> str:
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    known = as_job_error(exc)
    if known is not None:
        return str(known)
    said = _first_line(cause)
    if isinstance(cause, RIGHTS):
        return (
            f"{said}: the role of database.url may not do that; GRANT it, or use the owner's role"
        )
    if isinstance(cause, FOREIGN):
        return (
            f"{said}: the tables there are not this program's; name a database of its own in "
            "database.url, or see `upbitd migrate status`"
        )
    return f"the database refused it: {said}"


def _of_system(exc: OSError) -> str:
    place = f"{exc.filename}: " if exc.filename else ""
    mends = {
        "ENOSPC": "make room on the disk",
        "EDQUOT": "make room in the quota",
        "EROFS": "choose a place that can be written",
        "EACCES": "use the account that may, for example `sudo -u upbitd upbitd ...`",
        "EPERM": "use the account that may, for example `sudo -u upbitd upbitd ...`",
        "ENOENT": "check the path",
    }
    mend = mends.get(errorcode.get(exc.errno or 0, ""))
    return f"{place}{exc.strerror or exc}{f'; {mend}' if mend else ''}"


def _first_line(exc: BaseException | None) -> str:
    return (str(exc).strip() or type(exc).__name__).partition("\n")[0]


def _keep_traceback(exc: BaseException, mask: Masker) -> str:
    """Write the traceback to a file of the user's own; return where, for the line."""
    text = mask("".join(traceback.format_exception(exc)))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        number, name = tempfile.mkstemp(prefix=f"upbitd-{stamp}-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{' '.join(sys.argv[:3])}\n{text}")
    except OSError:
        return f"{type(exc).__name__}, and the traceback could not be kept"
    return f"{type(exc).__name__}, traceback in {name}"


def _lead_nowhere() -> None:
    """Whoever read our output is gone (`| head`): end without a word, as other programs do."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
