"""A halt has one truth: whichever way it came, page, health, figures and alerts say it at once."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.process import Daemon, Start

WITHIN_S = 1.0
COMMAND_WITHIN_S = 60.0
RESUMED = {"level": "none", "by": None, "since": None, "reason": None}

Row = tuple[Any, ...]


def upbitd(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with the daemon's configuration."""
    config = str(daemon.process.args[-1])  # type: ignore[index]  # a list, as started
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments, "--config", config],
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
    )


def health(daemon: Daemon, is_there: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
    """What /health says of the halt, as soon as it is so."""
    until_s = time.monotonic() + WITHIN_S + 2  # the bound of a wait, not a measurement
    while time.monotonic() < until_s:
        halted: Mapping[str, Any] = daemon.get("/health").json()["halted"]
        if is_there(halted):
            return halted
    raise AssertionError(f"still {halted}")


def open_alerts(dsn: str) -> dict[str, str]:
    """The open alerts about halts by their key, as soon as the last line of the log was written."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT incident, body ->> 'message' FROM alerts"
            " WHERE kind = 'halted' AND resolved_at IS NULL"
        )
        return dict(rows.fetchall())


def alerts_become(dsn: str, *keys: str) -> dict[str, str]:
    """Poll until exactly these are open."""
    until_s = time.monotonic() + 5
    while (found := open_alerts(dsn)).keys() != set(keys) and time.monotonic() < until_s:
        pass
    assert found.keys() == set(keys)
    return found


def test_every_way_to_halt_is_said_everywhere(
    start_daemon: Start, state_dir: Path, dsn: str
) -> None:
    state_dir.mkdir()
    daemon = start_daemon()
    daemon.ready()
    assert health(daemon, lambda _: True) == RESUMED

    (state_dir / "halt").symlink_to("nowhere")
    halted = health(daemon, lambda each: each["level"] == "all")
    assert halted["by"] == f"the file {state_dir / 'halt'}"
    assert str(state_dir / "halt") in alerts_become(dsn, "halted")["halted"]
    assert "Trading is halted (all)" in daemon.get("/").text
    assert 'upbitd_halted{level="all"} 1.0' in daemon.get("/metrics").text
    (state_dir / "halt").unlink()
    health(daemon, lambda each: each == RESUMED)
    alerts_become(dsn)

    said = upbitd(daemon, "halt", "--entries", "--reason", "a new listing")
    assert said.returncode == 0
    halted = health(daemon, lambda each: each["level"] == "entries")
    assert halted["by"].startswith("cli:")
    assert halted["reason"] == "a new listing"
    assert "exits go on" in alerts_become(dsn, "halted:entries")["halted:entries"]
    assert "exits and stop-losses go on" in daemon.get("/").text
    shown = upbitd(daemon, "health", "--url", daemon.of("health.listening")[0]["url"])
    assert "trading is halted (entries) by cli:" in shown.stdout

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE settings SET value = '\"perhaps\"' WHERE key = 'halted'")
    halted = health(daemon, lambda each: each["level"] == "all")
    assert halted["reason"] == 'the setting is damaged ("perhaps")'
    assert upbitd(daemon, "resume").returncode == 0
    health(daemon, lambda each: each == RESUMED)
    alerts_become(dsn)
    assert daemon.stop() == 0


@pytest.mark.parametrize("stored", ["true", '"all"', "17"])
def test_a_daemon_that_starts_halted_says_so_from_its_first_answer(
    start_daemon: Start, dsn: str, stored: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO settings (key, value) VALUES ('halted', %s::jsonb)", (stored,)
        )
    daemon = start_daemon()
    daemon.until("health.listening")
    assert daemon.get("/health").json()["halted"]["level"] == "all"
    daemon.ready()
    assert json.loads(upbitd(daemon, "settings", "list", "--json").stdout)[-1]["value"] == "all"
    assert daemon.stop() == 0
