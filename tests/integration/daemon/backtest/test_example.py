"""The example of docs/signals.md: installed as its page says, and judged by the real command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
EXAMPLES = ("breakout", "volatility_breakout")
EXAMPLE = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "signals.md").read_text("utf-8")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples installed by pip, without any index."""
    target = tmp_path_factory.mktemp("target")
    sources = []
    for example in EXAMPLES:
        sources.append(str(source := tmp_path_factory.mktemp(example)))
        for name in ("pyproject.toml", f"{example}.py"):
            (source / name).write_text((EXAMPLE / example / name).read_text("utf-8"), "utf-8")
    options = [
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--target",
        str(target),
    ]
    command = [sys.executable, "-m", "pip", "install", *options, *sources]
    subprocess.run(command, check=True, timeout=100, env={**os.environ, "PIP_NO_INPUT": "1"})
    return target


def replayed(installed: Path, folder: Path, source: str, *more: str) -> Any:
    """What the command says as JSON."""
    command = [sys.executable, "-m", "daemon", "replay", "--json", "--source", source]
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
        "breakout",
        *("--from", "2025-09-12T00:00+00:00", "--to", "2025-09-13T00:00+00:00"),
        *("--markets", "KRW-BTC,KRW-SOL"),
    )
    assert report["models"] == ["breakout"]
    assert report["signals"]["sell"] > 0
    assert report["signals"]["buy"] > 0
    assert {trade["side"] for trade in report["trades"]} == {"bid", "ask"}
    assert report["failures"] == {}


def test_volatility_breakout_buys_over_the_target_and_sells_when_the_day_turns(
    installed: Path, tmp_path: Path
) -> None:
    report = replayed(
        installed,
        tmp_path,
        "volatility_breakout",
        *("--from", "2025-09-10T00:00+00:00", "--to", "2025-09-14T00:00+00:00"),
        *("--markets", "KRW-XRP,KRW-DOGE", "--set", "stop_loss_pct=0"),
    )
    assert report["models"] == ["volatility_breakout"]
    assert report["failures"] == {}
    sold = [each for each in report["trades"] if each["side"] == "ask"]
    assert sold
    # 09:00 in Korea is midnight UTC; the first candle of the new day has ended a minute later
    assert {each["at"][11:15] for each in sold} <= {"00:0", "00:1"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_shows_the_very_files_of_the_examples(example: str) -> None:
    blocks = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
    name = f"{example}.py"
    assert blocks[name] == (EXAMPLE / example / name).read_text("utf-8")
    if example == "breakout":
        name = "pyproject.toml"
        assert blocks[name] == (EXAMPLE / example / name).read_text("utf-8")
