"""What the Makefile takes from the environment, and which interpreter it chooses."""

import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PROBE = f"include {TOP}/Makefile\nprobe:\n\t@env\n"


def make(*arguments: str, text: str = PROBE, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", "-f", "-", *arguments],  # noqa: S607
        input=text,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "name", ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_NO_BINARY", "PYTHONHOME"]
)
def test_variables_that_lead_pip_elsewhere_do_not_reach_it(name: str) -> None:
    seen = make("probe", **{name: "1", "PIP_INDEX_URL": "https://mirror.example"}).stdout
    assert f"\n{name}=" not in f"\n{seen}"
    assert "PIP_INDEX_URL=https://mirror.example" in seen, "a mirror is somebody's wish"


def test_an_interpreter_can_be_chosen(tmp_path: Path) -> None:
    script = make("-n", "-C", str(tmp_path), ".venv/bin/python", "PYTHON=python3.12").stdout
    assert "for each in python3.12; do" in script
    script = make("-n", "-C", str(tmp_path), ".venv/bin/python", PYTHON="python2").stdout
    assert "python2" not in script
    assert "for each in python3.14 python3.13" in script


def test_one_that_is_none_is_named(tmp_path: Path) -> None:
    done = make("-C", str(tmp_path), ".venv/bin/python", "PYTHON=/nowhere/python3.12")
    assert done.returncode != 0
    assert "/nowhere/python3.12 is no Python 3.11 or later" in done.stderr
