"""The daemon's memory and environment are closed to its own account."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
from daemon.process.hidden_memory import hide_process
libc = ctypes.CDLL(None)
print(libc.prctl(3, 0, 0, 0, 0), hide_process(), libc.prctl(3, 0, 0, 0, 0))
import subprocess, sys
child = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
subprocess.run([sys.executable, "-c", child])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_the_process_is_hidden_and_its_children_are_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == ["0", "1", "1", "True"]
