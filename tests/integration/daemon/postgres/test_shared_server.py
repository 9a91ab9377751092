"""Commands share the server that the first one starts, and the last one stops it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.shared_server import shared_server
from jobs.store.connecting import connect_blocking

WITHIN_S = 100.0
HOLD = """
import sys
from pathlib import Path
from daemon.postgres.shared_server import shared_server
with shared_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(open_directory: Path) -> Path:
    """The directory of a server that nobody runs, with its cluster."""
    root = open_directory / "state" / "postgres"
    with EmbeddedPostgres(root):
        pass
    return root


@pytest.fixture
def config(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f"[daemon]\nstate_dir = '{root.parent}'\n")
    return path


def command(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments, "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )


def servers(root: Path) -> list[int]:
    """The processes that live in the data directory."""
    data = os.fsencode(root / "data")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if data in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def until_gone(root: Path) -> None:
    deadline = time.monotonic() + 20
    while left := servers(root):
        assert time.monotonic() < deadline, left


@pytest.fixture
def holder(root: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command that has the server and goes on using it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_five_commands_at_once_all_work(config: Path, root: Path) -> None:
    """Two of fifteen ended with 3: the directory was in use by another command (fault I3)."""
    assert command(config, "migrate", "up").returncode == 0
    with ThreadPoolExecutor(5) as pool:
        done = list(pool.map(lambda _: command(config, "settings", "list", "--json"), range(5)))
    # a busy machine may make a statement slow, which is a line of its own
    said = [line for each in done for line in each.stderr.splitlines() if "slow_query" not in line]
    assert ([each.returncode for each in done], said) == ([0] * 5, [])
    assert servers(root) == []


def test_doctor_finds_no_fault_of_the_database_while_the_daemon_is_stopped(
    config: Path, root: Path
) -> None:
    assert command(config, "migrate", "up").returncode == 0
    for _ in range(2):
        said = command(config, "doctor").stdout.splitlines()
        about = [line for line in said if "database" in line or "migrations" in line]
        assert about
        assert not [line for line in about if "✗" in line], about
    assert servers(root) == []


def test_the_server_outlives_the_command_that_started_it(
    root: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    assert holder.stdout.readline()
    (first,) = servers(root)
    with shared_server(root) as url:
        holder.communicate("")
        assert servers(root) == [first]
        with connect_blocking(url, connect_timeout=3) as connection:
            assert connection.execute("SELECT 7").fetchone() == (7,)
    assert servers(root) == []


def test_a_command_that_is_killed_leaves_no_server_behind(
    root: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    assert holder.stdout.readline()
    assert servers(root)
    holder.kill()
    holder.wait()
    until_gone(root)
    with shared_server(root):
        assert servers(root)
    assert servers(root) == []


def test_a_daemon_that_starts_waits_for_the_commands(
    root: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    assert holder.stdout.readline()
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(holder.communicate, "")
        with EmbeddedPostgres(root) as server:
            assert servers(root) == [server.pid]
            with shared_server(root) as url:  # what the daemon runs is used, and left alone
                assert url == server.daemon_url
            assert servers(root) == [server.pid]
        leaving.result()
    assert servers(root) == []


def test_a_server_that_cannot_start_is_said_in_one_line(config: Path, root: Path) -> None:
    (root / "data" / "postgresql.auto.conf").write_text("no_such_setting = 1\n")
    done = command(config, "orders")
    assert done.returncode == 3
    assert "contains errors" in done.stderr
    assert done.stderr.count("\n") == 1
