"""The README's installation to the letter, and what its commands do then, as root (fault I1)."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fixtures.venue import Venue

ROOT = Path(__file__).parents[2]
WITHIN_S = 400.0
UNSHARE = shutil.which("unshare")
HALT = ["upbitd halt --reason 'a test'", "upbitd health --json", "upbitd resume"]
BESIDE = {
    "paper": [*HALT, "upbitd doctor --json", "upbitd orders"],
    "live": [
        *HALT,
        "upbitd doctor --json",
        "upbitd positions --json",
        "upbitd cooldowns list",
        "upbitd settings get halted",
        "cd / && upbitd cancel nothing",
        "cd / && upbitd flatten --yes",
        "sudo -u upbitd upbitd halt --entries",
        "sudo -u upbitd upbitd resume",
    ],
}
WITHOUT = {
    "paper": ["upbitd halt", "upbitd resume", "upbitd doctor --json"],
    "live": ["upbitd resume", "cd / && upbitd flatten --yes"],
}


def can_mount() -> bool:
    """Whether this process may have mounts of its own."""
    if os.geteuid() != 0 or UNSHARE is None or shutil.which("setpriv") is None:
        return False
    tried = [UNSHARE, "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, check=False, capture_output=True).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def report(open_directory: Path, venue: Venue, tmp_path: Path) -> dict[str, Any]:
    """What was said by everything that the README lets a person type."""
    if not can_mount():
        pytest.skip("needs root, and mounts of its own (unshare --mount)")
    settings = {
        "upbit.base_url": f'"{venue.base_url}"',
        "signals.source": '"rules"',
        "health.port": str(free_port()),
    }
    plan = {
        "scratch": str(open_directory / "root"),
        "repository": str(ROOT),
        "modes": {"paper": settings, "live": {"trading.mode": '"live"'}},
        "credentials": {
            "live": {"upbit_access_key": venue.access_key, "upbit_secret_key": venue.secret_key}
        },
        "beside": BESIDE,
        "without": WITHOUT,
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    program = ROOT / "tests" / "fixtures" / "installation.py"
    done = subprocess.run(
        [UNSHARE or "", "--mount", sys.executable, str(program), str(tmp_path / "plan.json")],
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def faults(doctor: str) -> set[str]:
    return {each["subject"] for each in json.loads(doctor) if each["level"] == "fault"}


@pytest.mark.timeout(400)
def test_every_command_works_right_after_the_installation(report: dict[str, Any]) -> None:
    for mode in ("paper", "live"):
        everything = [*report[mode], *report[f"{mode} without"]]
        wrong = {
            each["command"]: each["err"] or each["out"]
            for each in everything
            if each["code"] != int(each["command"].endswith("cancel nothing"))
            and not each["command"].startswith(("upbitd health", "upbitd doctor"))
        }
        assert wrong == {}, mode
        assert report[f"{mode} stopped"] == 0
        said = {each["command"]: each for each in report[mode]}
        health = json.loads(said["upbitd health --json"]["out"])
        assert (health["mode"], health["role"]) == (mode, "leader")
        halted = health["halted"]
        assert (halted["level"], halted["by"], halted["reason"]) == ("all", "cli:root", "a test")
        doctors = [each["out"] for each in everything if "doctor" in each["command"]]
        assert not set().union(*map(faults, doctors)) & {"database", "migrations", "Upbit"}
    assert said["upbitd settings get halted"]["out"] == "none\n"
    assert "there is no order nothing" in said["cd / && upbitd cancel nothing"]["err"]
    assert "flat" in said["cd / && upbitd flatten --yes"]["out"]
    assert "cli:upbitd (sudo: alice)" in said["sudo -u upbitd upbitd halt --entries"]["err"]
