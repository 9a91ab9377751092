"""Our own Postgres, with real processes: started, stopped, killed, and only ever once."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest

from daemon.postgres.server import LOG_LIMIT_BYTES, EmbeddedPostgres, end_with_parent
from daemon.postgres.server_paths import DataDirectoryBusy, EmbeddedError

QUICK = {"fsync": "off", "shared_buffers": "16MB"}
OWNER = """
import sys
from pathlib import Path
from daemon.postgres.server import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), die_with_parent=sys.argv[2] == "dies")
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def root(open_directory: Path) -> Path:
    return open_directory / "pg"


def query(server: EmbeddedPostgres, statement: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def await_end(pid: int, *, within_s: float = 30.0) -> None:
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([watched], [], [], within_s)
        finally:
            os.close(watched)
        assert ended, f"process {pid} lives on"


@contextmanager
def owner(root: Path, fate: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that owns a server; yields it and the postmaster's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root), fate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_what_is_stored_is_there_after_a_restart(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK) as server:
        query(server, "CREATE TABLE kept AS SELECT 7 AS x")
        first = server.pid
    assert first is not None
    assert server.pid is None
    await_end(first)
    with EmbeddedPostgres(root, settings=QUICK) as server:
        assert query(server, "SELECT x FROM kept") == 7
        assert query(server, "SHOW timezone") == "UTC"
        assert query(server, "SHOW listen_addresses") == ""


@pytest.mark.parametrize(
    "name", ["a b", "한글", "comma,here", "quote\"and's", "percent%20", "x" * 120]
)
def test_any_directory_name_will_do(root: Path, name: str) -> None:
    with EmbeddedPostgres(root.parent / name, settings=QUICK) as server:
        assert query(server, "SELECT 1") == 1


def test_a_short_directory_for_the_socket_is_gone_afterwards(root: Path) -> None:
    with EmbeddedPostgres(root.parent / ("x" * 120), settings=QUICK) as server:
        sockets = Path(unquote(server.url.split("host=")[1].split("&")[0]))
        assert list(sockets.iterdir())
    assert not sockets.exists()


def test_a_locale_that_is_not_installed_does_not_matter(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.setenv(variable, "ko_KR.UTF-8")
    with EmbeddedPostgres(root, settings=QUICK) as server:
        assert query(server, "SELECT upper('ä') || length('한글')") == "Ä2"


def test_a_normal_user_runs_it_as_himself(
    root: Path, run_without_root: Callable[[Callable[[], None]], None]
) -> None:
    root.parent.chmod(0o777)

    def work() -> None:
        with EmbeddedPostgres(root, settings=QUICK) as server:
            assert query(server, "SELECT 1") == 1
            assert (root / "data").stat().st_uid == os.geteuid()

    run_without_root(work)


def test_root_runs_it_as_another_account(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can")
    with EmbeddedPostgres(root, account="nobody", settings=QUICK) as server:
        assert Path("/proc", str(server.pid)).stat().st_uid == (root / "data").stat().st_uid != 0


def test_others_cannot_reach_the_socket(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK):
        assert root.stat().st_mode & 0o077 == 0
        assert (root / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_a_second_owner_is_refused_and_told_who_has_it(root: Path) -> None:
    with (
        EmbeddedPostgres(root, settings=QUICK) as server,
        pytest.raises(DataDirectoryBusy, match=f"in use by process {os.getpid()}.*state_dir"),
    ):
        EmbeddedPostgres(root, settings=QUICK).start()
    with EmbeddedPostgres(root, settings=QUICK) as server:
        assert query(server, "SELECT 1") == 1


def test_the_server_ends_with_its_killed_owner_and_the_next_one_takes_over(root: Path) -> None:
    with owner(root, "dies") as (process, postmaster):
        process.kill()
        with EmbeddedPostgres(root, settings=QUICK) as server:  # at once, while the old one goes
            assert server.pid != postmaster
            assert query(server, "SELECT 1") == 1
        await_end(postmaster)


def test_a_server_left_behind_is_named_and_never_joined(root: Path) -> None:
    with owner(root, "lives") as (process, postmaster):
        process.kill()
        process.wait()
        with pytest.raises(DataDirectoryBusy, match=r"still runs on .*kill -INT"):
            EmbeddedPostgres(root, settings=QUICK).start(timeout_s=0.1)
        os.kill(postmaster, signal.SIGINT)
        with EmbeddedPostgres(root, settings=QUICK) as server:
            assert query(server, "SELECT 1") == 1


def test_an_owner_told_to_end_stops_its_server(root: Path) -> None:
    with owner(root, "dies") as (process, postmaster):
        process.communicate("")
        assert process.returncode == 0
        await_end(postmaster, within_s=0.0)


def test_lock_files_that_name_a_stranger_do_not_stop_a_start(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK):
        left = (root / "data" / "postmaster.pid").read_text().splitlines()
        account = (root / "data").stat().st_uid
    # after a reboot the number may belong to any other process of the same account
    stranger = subprocess.Popen(["/bin/sleep", "600"], cwd="/", user=account)
    try:
        for lock in (root / "data" / "postmaster.pid", root / ".s.PGSQL.5432.lock"):
            lock.write_text("\n".join([str(stranger.pid), *left[1:]]) + "\n")
            lock.chmod(0o600)
        with EmbeddedPostgres(root, settings=QUICK) as server:
            assert query(server, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_garbage_in_a_lock_file_is_told_with_the_log(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK):
        pass
    (root / "data" / "postmaster.pid").write_text("garbage")
    with pytest.raises(EmbeddedError, match=r"postgres\.log ends with: FATAL.*postmaster\.pid"):
        EmbeddedPostgres(root, settings=QUICK).start()


def test_an_interrupted_creation_is_done_again(root: Path) -> None:
    partial = root / "partial-data"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
    with EmbeddedPostgres(root, account="nobody", settings=QUICK) as server:
        assert query(server, "SELECT 1") == 1
    assert not partial.exists()


def test_a_creation_that_fails_says_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_root: Path, _account: object) -> Path:
        root.chmod(0o755)
        (root / "initdb").write_text("#!/bin/sh\necho disk full >&2; exit 1\n")
        (root / "initdb").chmod(0o755)
        return root

    monkeypatch.setattr("daemon.postgres.server.find_binaries", broken)
    with pytest.raises(EmbeddedError, match=r"initdb failed in .*: disk full"):
        EmbeddedPostgres(root, settings=QUICK).start()
    monkeypatch.undo()
    with EmbeddedPostgres(root, settings=QUICK) as server:  # the lock was given back
        assert query(server, "SELECT 1") == 1


def test_a_setting_the_server_refuses_is_told_with_the_log(root: Path) -> None:
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        EmbeddedPostgres(root, settings={**QUICK, "no_such_setting": "1"}).start()


def test_a_server_that_never_answers_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("no answer")

    server = EmbeddedPostgres(root, settings=QUICK)
    with monkeypatch.context() as patched:
        patched.setattr("daemon.postgres.server.psycopg.connect", silent)
        with pytest.raises(EmbeddedError, match="does not answer"):
            server.start(timeout_s=0.0)
    assert server.pid is None
    # asked once, in the middle of its start, it went on for 30 s until it was told to drop all
    assert "immediate shutdown" not in (root / "postgres.log").read_text()


def test_only_the_main_thread_may_start_one() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            end_with_parent()
        except EmbeddedError as exc:
            failures.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in str(failures[0])


def test_one_that_does_not_react_is_killed_in_the_end(root: Path) -> None:
    server = EmbeddedPostgres(root, settings=QUICK)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop(timeout_s=0.05)
    await_end(pid)
    with EmbeddedPostgres(root, settings=QUICK) as again:
        assert query(again, "SELECT 1") == 1


def test_a_long_log_makes_room(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK):
        pass
    os.truncate(root / "postgres.log", LOG_LIMIT_BYTES + 1)
    with EmbeddedPostgres(root, settings=QUICK):
        pass
    assert (root / "postgres.log.1").stat().st_size > LOG_LIMIT_BYTES
    assert (root / "postgres.log").stat().st_size < LOG_LIMIT_BYTES


async def test_a_killed_server_is_started_again_with_all_that_was_committed(root: Path) -> None:
    with EmbeddedPostgres(root, settings=QUICK) as server:
        query(server, "CREATE TABLE kept AS SELECT 7 AS x")
        killed = server.pid
        assert killed is not None
        watching = asyncio.ensure_future(server.watch(sleep=asyncio.sleep))
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await _first_answer(server, "SELECT x FROM kept") == 7
        assert server.pid not in (None, killed)
        watching.cancel()


async def test_a_restart_that_fails_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(root, settings=QUICK) as server:
        launch, failures = server._launch, iter([OSError("no memory"), EmbeddedError("no")])

        def moody() -> None:
            for failure in failures:
                raise failure
            launch()

        monkeypatch.setattr(server, "_launch", moody)
        waits: list[float] = []

        async def sleep(wait_s: float) -> None:
            waits.append(wait_s)
            await asyncio.sleep(0.01)

        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        watching = asyncio.ensure_future(server.watch(sleep=sleep))
        async with asyncio.timeout(60):
            assert await _first_answer(server, "SELECT 1") == 1
        watching.cancel()
        assert max(waits) > min(waits)


async def _first_answer(server: EmbeddedPostgres, statement: str) -> object:
    while True:
        with suppress(psycopg.OperationalError):
            return query(server, statement)
        await asyncio.sleep(0.02)
