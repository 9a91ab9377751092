"""A part of the crash matrix (`make prove` plays all of it), and the proof that it can fail."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[3]


def played(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the counts of one run of the proof, in processes of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "proof", "--json", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        check=False,
    )
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, summary


@pytest.mark.timeout(600)
def test_killed_anywhere_venue_and_tables_agree_over_real_http() -> None:
    code, found = played("--reduced")
    assert not [each for each in found["faults"] if each["outcome"] != "missed"]
    assert code == 0, found
    assert found["cells"] >= 100
    assert found["killed"] >= 50


@pytest.mark.timeout(300)
def test_a_bot_that_repeats_an_unanswered_order_is_caught() -> None:
    code, found = played("--careless")
    assert code == 1
    assert found["outcomes"]["doubled"] >= 2
