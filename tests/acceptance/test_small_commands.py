"""What was a traceback, a wrong word or a wrong number of small commands (fault I12)."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.process import Daemon, Start

WITHIN_S = 90.0


def call(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        cwd=cwd,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("sandbox", "--port", "99999"),
        ("sandbox", "--port", "-1"),
        ("demo", "--port", "70000"),
        ("demo", "--duration", "-5"),
        ("demo", "--duration", "0"),
    ],
)
def test_an_impossible_number_is_refused_before_anything_starts(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert arguments[1] in done.stderr


def config_of(daemon: Daemon) -> str:
    return str(daemon.process.args[-1])  # type: ignore[index]  # a list, as started


def test_a_run_is_asked_for_and_a_back_up_counts_right(start_daemon: Start, tmp_path: Path) -> None:
    daemon = start_daemon()
    daemon.ready()
    asked = call("jobs", "run", "market", "--config", config_of(daemon))
    assert asked.stdout == "market: asked for a run; see `upbitd slots --job market`\n"
    saved = call("backup", str(tmp_path / "all.dump"), "--config", config_of(daemon))
    assert saved.returncode == 0, saved.stderr
    told = re.findall(r"(\d+) of (\d+) tables", saved.stderr)
    assert told
    assert all(int(done) <= int(total) for done, total in told), told  # 23 of 22 it was
    assert daemon.stop() == 0
    alone = call("jobs", "run", "market", "--config", config_of(daemon))
    assert "no daemon runs here; it will run once as soon as one does" in alone.stdout


def test_a_demo_beside_a_daemon_takes_a_free_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "daemon", "demo", "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        ) as demo:
            assert demo.stdout is not None
            first = demo.stdout.readline()
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=WITHIN_S)
    assert first.startswith(f"demo: port {port} is another program's; the page is on ")
