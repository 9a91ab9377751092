"""A full disk: health says so, and the kill switch works all the same (fault I8)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fixtures.process import Daemon, Start

SIZE = "160m"
WITHIN_S = 30.0


def call(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


@pytest.fixture
def small_disk(state_dir: Path) -> Iterator[Path]:
    """The state directory on a disk of its own that a test can fill."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    state_dir.mkdir(mode=0o755)
    made = call("mount", "-t", "tmpfs", "-o", f"mode=755,size={SIZE}", "tmpfs", str(state_dir))
    if made.returncode != 0:
        pytest.skip(f"no mounts here: {made.stderr.strip()}")
    yield state_dir
    call("umount", "--lazy", str(state_dir))


def upbitd(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    config = str(daemon.process.args[-1])  # type: ignore[index]  # a list, as started
    return call(sys.executable, "-m", "daemon", *arguments, "--config", config)


def until(daemon: Daemon, is_so: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
    """The answer of /health, as soon as it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not is_so(found := daemon.get("/health").json()):
        assert time.monotonic() < deadline, found
    return dict(found)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            return ballast


@pytest.mark.timeout(300)
def test_a_full_disk_is_unhealthy_and_does_not_keep_anybody_from_halting(
    start_daemon: Start, small_disk: Path
) -> None:
    daemon = start_daemon(
        database="embedded", mode="paper", environ={"UPBITD_SIGNALS__SOURCE": "rules"}
    )
    daemon.ready()
    until(daemon, lambda body: body["components"]["database"]["status"] != "unhealthy")
    ballast = fill(small_disk)
    full = until(daemon, lambda body: body["components"]["database"]["status"] == "unhealthy")
    assert full["status"] == "unhealthy"
    assert "No space left on device" in full["components"]["database"]["cause"]

    halted = upbitd(daemon, "halt", "--reason", "the disk is full")
    assert halted.returncode == 0, halted.stderr
    assert "stop-losses of all open positions are off" in halted.stdout
    assert until(daemon, lambda body: body["halted"]["level"] == "all")

    ballast.unlink()
    until(daemon, lambda body: body["components"]["database"]["status"] != "unhealthy")
    resumed = upbitd(daemon, "resume")
    if resumed.returncode:  # the full disk took the file, and not a word of what is in it
        assert f"remove the file {small_disk / 'HALT'}" in resumed.stderr
        (small_disk / "HALT").unlink()
    until(daemon, lambda body: body["halted"]["level"] == "none")
    assert daemon.stop() == 0
