"""The example of docs/signals.md: installed as its page says, and judged by the real command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "breakout"
PAGE = (ROOT / "docs" / "signals.md").read_text("utf-8")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed by pip, without any index."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("pyproject.toml", "breakout.py"):
        (source / name).write_text((EXAMPLE / name).read_text("utf-8"), "utf-8")
    options = [
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--target",
        str(target),
    ]
    command = [sys.executable, "-m", "pip", "install", *options, str(source)]
    subprocess.run(command, check=True, timeout=100, env={**os.environ, "PIP_NO_INPUT": "1"})
    return target


def replayed(installed: Path, folder: Path, *more: str) -> Any:
    """What the command says as JSON."""
    command = [sys.executable, "-m", "daemon", "replay", "--json", "--source", "breakout"]
    command += ["--data", str(ROOT / "sandbox" / "data"), "--shuffles", "0", *more]
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    environ.pop("UPBITD_CONFIG", None)
    done = subprocess.run(
        command, check=True, timeout=100, env=environ, cwd=folder, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def test_the_example_is_installed_found_and_trades(installed: Path, tmp_path: Path) -> None:
    report = replayed(
        installed,
        tmp_path,
        *("--from", "2025-09-12T00:00+00:00", "--to", "2025-09-13T00:00+00:00"),
        *("--markets", "KRW-BTC,KRW-SOL"),
    )
    assert report["models"] == ["breakout"]
    assert report["signals"]["sell"] > 0
    assert report["signals"]["buy"] > 0
    assert {trade["side"] for trade in report["trades"]} == {"bid", "ask"}
    assert report["failures"] == {}


def test_the_page_shows_the_very_files_of_the_example() -> None:
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert dict(blocks) == {
        name: (EXAMPLE / name).read_text("utf-8") for name in ("breakout.py", "pyproject.toml")
    }
