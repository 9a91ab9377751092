"""Before live trading begins: what is shown, what is asked, what is remembered."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from daemon.config.load import Config, from_mapping
from daemon.leadership.live_start import (
    is_confirmed,
    live_incident,
    read_stakes,
    remember,
    says_yes,
    unknown_stakes,
)
from jobs.store import settings
from jobs.store.db import Database


def live(folder: Path, **limits: object) -> Config:
    data = {
        "daemon": {"state_dir": str(folder / "state")},
        "trading": {"mode": "live"},
        "limits": limits,
    }
    return from_mapping(data, {}, keys=False)


async def test_the_stakes_are_said_in_won(database: Database, tmp_path: Path) -> None:
    await settings.write(database, "max_position_krw", 10**12, "x")
    await settings.write(database, "max_drawdown_pct", 0, "x")
    async with database.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO positions (mode, market, volume, avg_price, realized_krw)"
                " VALUES ('paper', 'KRW-BTC', 0, 0, -12345.6), ('live', 'KRW-BTC', 0, 0, 99)"
            )
        )
    stakes = await read_stakes(database, live(tmp_path, max_position_krw=500_000))
    said = str(stakes)
    assert "at most 500,000 KRW a position and 5 positions (2,500,000 KRW)" in said
    assert "a day's loss of 100,000 KRW or a drawdown of any size (off)" in said
    assert "paper has not traded here yet" in said  # no fill of paper's is known
    assert live_incident(live(tmp_path), "h", stakes).kind == "live_started"


async def test_what_paper_earned_is_said(database: Database, tmp_path: Path) -> None:
    stakes = unknown_stakes(live(tmp_path))
    assert "paper has not traded here yet" in str(stakes)
    assert "paper realised -12,346 KRW here in 34 fills" in str(
        type(stakes)(settings=stakes.settings, paper_krw=-12345.6, paper_fills=34)  # type: ignore[arg-type]
    )


def test_the_word_is_remembered_by_state_directory(tmp_path: Path) -> None:
    config = live(tmp_path)
    assert not is_confirmed(config)
    remember(config)
    remember(config)
    assert is_confirmed(config)
    assert is_confirmed(from_mapping({}, {}, keys=False, base=tmp_path))  # paper needs none


@pytest.mark.parametrize("host", ["127.0.0.1:8788", "localhost", "[::1]:80"])
def test_an_exchange_on_this_machine_needs_no_word(tmp_path: Path, host: str) -> None:
    values = {"trading": {"mode": "live"}, "upbit": {"base_url": f"http://{host}"}}
    assert is_confirmed(from_mapping(values, {}, keys=False, base=tmp_path))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    config = live(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "live-confirmed").symlink_to(tmp_path / "victim")
    remember(config)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(("said", "yes"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_word_of_the_environment(said: str, yes: bool) -> None:
    assert says_yes({"UPBITD_LIVE_CONFIRMED": said}) is yes


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[trading]\nmode = "live"\n[signals]\nsource = "rules"\n', encoding="utf-8")
    return path


COMMAND = [sys.executable, "-m", "daemon", "run", "--config"]
KEYS = {"UPBIT_ACCESS_KEY": "a" * 40, "UPBIT_SECRET_KEY": "s" * 40}


def test_without_a_terminal_it_is_refused_in_one_line(config: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(config)],
        env={**os.environ, **KEYS, "UPBITD_LIVE_CONFIRMED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "--live-confirmed or UPBITD_LIVE_CONFIRMED=1" in line
    assert "1,000,000 KRW a position" in line
    assert not (config.parent / "var").exists()


def test_on_a_terminal_it_asks_and_takes_no_for_no(config: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    done = subprocess.run(
        [*COMMAND, str(config)],
        env={**os.environ, **KEYS},
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stdout.strip()) == (2, "")
    assert "Trade with real money?" in done.stderr
    assert "not confirmed" in done.stderr
    assert not (config.parent / "var" / "live-confirmed").exists()
