"""Our own Postgres as commands share it: the first one starts it, the last one stops it.

Every command holds a shared lock on `commands.lock` while it works. A server that no daemon runs is
kept by a process of its own (`python -m daemon.postgres.shared_server ROOT`), so that it outlives
the command that started it; that process also stops it when the last command was killed.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psycopg

from daemon.postgres.server import (
    BY_COMMANDS,
    LOCK_NAME,
    EmbeddedPostgres,
    address_at,
    drop_libpq_variables,
    prove_ours,
)
from daemon.postgres.server_access import ROLE, hand_over
from daemon.postgres.server_paths import (
    Account,
    DirectoryLocked,
    EmbeddedError,
    choose_account,
    open_own,
    socket_directory,
)
from jobs.store.connecting import connect_blocking

SHARE_NAME = "commands.lock"
WITHIN_S = 60.0
POLL_S = 0.05
READY = "ready"


@contextmanager
def shared_server(root: Path) -> Iterator[str]:
    """Yield the address of the server below `root`, a daemon's or one that commands share.

    Raises EmbeddedError when there is none and none can be started.
    """
    drop_libpq_variables()
    account = choose_account(None, root / "data")
    share = open_own(root / SHARE_NAME, os.O_RDWR, account)
    try:
        _until(lambda: _lock(share, fcntl.LOCK_SH), f"{root} is being closed by another command")
        yield _reached(root, account)
    finally:
        _leave(share, root, account)


def _reached(root: Path, account: Account | None) -> str:
    sockets = socket_directory(root, account)
    url = address_at(sockets)
    if not _answers(url, root):
        _start(url, root)
    return address_at(sockets, ROLE)


def _answers(url: str, root: Path) -> bool:
    try:
        with connect_blocking(url, connect_timeout=3) as connection:
            prove_ours(connection, root / "data")
            hand_over(connection)
    except psycopg.OperationalError:
        return False
    return True


def _start(url: str, root: Path) -> None:
    """Have a server kept for commands, unless somebody else is about to start one."""
    command = [sys.executable, "-m", "daemon.postgres.shared_server", str(root)]
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with subprocess.Popen(  # noqa: S603 (ourselves, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the command alone
            text=True,
        ) as keeper:
            assert keeper.stdout is not None  # noqa: S101 (a pipe was asked for)
            said = keeper.stdout.readline().strip()
            if said == READY:
                keeper.returncode = 0  # it lives on: leaving the block must not wait for it
                return
        if said:
            raise EmbeddedError(said)
        if _answers(url, root):
            return
    raise EmbeddedError(f"the server below {root} does not answer; see {root / 'postgres.log'}")


def _leave(share: int, root: Path, account: Account | None) -> None:
    """Give the server up; whoever is the last stops one that is kept for commands."""
    try:
        if _lock(share, fcntl.LOCK_EX) and (keeper := _keeper(root, account)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGTERM)
            with contextlib.suppress(EmbeddedError):
                _until(lambda: _keeper(root, account) is None, "it does not stop")
    finally:
        os.close(share)


def _keeper(root: Path, account: Account | None) -> int | None:
    """The process that keeps a server for commands, None when there is none."""
    lock = open_own(root / LOCK_NAME, os.O_RDWR, account)
    try:
        if _lock(lock, fcntl.LOCK_EX):  # nobody runs one
            return None
        pid, _, note = os.pread(lock, 100, 0).decode("ascii", "replace").partition(" ")
    finally:
        os.close(lock)
    return int(pid) if note.strip() == BY_COMMANDS and pid.isdecimal() else None


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(is_so: Callable[[], bool], why_not: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        if time.monotonic() > deadline:
            raise EmbeddedError(why_not)
        time.sleep(POLL_S)


class _Stop:
    """Set by a signal."""

    is_asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True


def keep(root: Path) -> int:
    """Run the server until the last command has left, or says so."""
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        with EmbeddedPostgres(root, note=BY_COMMANDS):
            print(READY, flush=True)  # noqa: T201 - the word that the command waits for
            share = open_own(root / SHARE_NAME, os.O_RDWR, choose_account(None, root / "data"))
            while not stop.is_asked and not _lock(share, fcntl.LOCK_EX):
                time.sleep(POLL_S)
    except DirectoryLocked:
        return 0
    except EmbeddedError as exc:
        print(exc, flush=True)  # noqa: T201 - as above
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
