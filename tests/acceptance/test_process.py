"""How the daemon starts, refuses to start, and stops."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from fixtures.process import Start
from fixtures.venue import Venue


def test_sigterm_drains_and_exits_zero(start_daemon: Start) -> None:
    daemon = start_daemon()
    daemon.ready()
    daemon.until("job.metric")
    assert daemon.stop() == 0
    events = [line["event"] for line in daemon.lines]
    order = [events.index(each) for each in ("daemon.stop", "daemon.draining", "daemon.stopped")]
    assert order == sorted(order)


def test_a_second_signal_forces(start_daemon: Start, venue: Venue) -> None:
    daemon = start_daemon()
    daemon.ready()
    venue.fault(path="/v1/ticker", action="hang", count=0)
    daemon.until("job.retry", job="market")
    daemon.signal(signal.SIGTERM)
    daemon.until("daemon.draining")
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 1
    assert daemon.of("daemon.forced")


def test_a_database_that_is_not_at_head_is_refused(start_daemon: Start, empty_dsn: str) -> None:
    daemon = start_daemon(database=empty_dsn)
    assert daemon.end() == 3
    (line,) = daemon.of("daemon.cannot_start")
    assert "upbitd migrate up" in line["error"]


def test_a_database_that_does_not_answer_is_refused(start_daemon: Start) -> None:
    daemon = start_daemon(database="postgresql://someone:s3cretpw@127.0.0.1:1/none")
    assert daemon.end() == 3
    assert "s3cretpw" not in str(daemon.lines)


def test_a_second_instance_stands_by_or_exits(start_daemon: Start) -> None:
    leader = start_daemon()
    leader.ready()
    assert start_daemon(daemon="standby = false").end() == 4
    standby = start_daemon()
    standby.until("leader.standby")
    assert standby.get("/readyz").status_code == 503
    assert standby.get("/readyz?standby=ok").status_code == 200
    assert standby.get("/health").json()["role"] == "standby"
    leader.kill()
    standby.until("daemon.ready", epoch=2)
    standby.until("alert.raised", kind="unclean_restart")
    assert standby.stop() == 0


def test_live_trading_wants_a_persons_word_once(start_daemon: Start, state_dir: Path) -> None:
    unsaid = {"UPBITD_LIVE_CONFIRMED": ""}
    elsewhere = {"UPBITD_UPBIT__BASE_URL": "https://upbit.invalid"}
    refused = start_daemon(environ=unsaid | elsewhere)
    assert refused.end() == 2
    assert refused.lines == []
    first = start_daemon(environ=unsaid)  # the sandbox's money is pretended
    first.ready()
    told = first.until("alert.raised", kind="live_started")
    assert "at most 1,000,000 KRW a position" in told["detail"]
    assert first.stop() == 0
    assert not (state_dir / "live-confirmed").exists()
    again = start_daemon(environ=unsaid)
    again.ready()
    assert again.stop() == 0
    assert "unclean_restart" not in {line["kind"] for line in again.of("alert.raised")}


def test_two_daemons_never_share_a_data_directory(start_daemon: Start) -> None:
    first = start_daemon(database="embedded")
    first.ready()
    second = start_daemon(database="embedded")
    assert second.end() == 3
    assert "in use by process" in second.of("daemon.cannot_start")[0]["error"]
    config = ["--config", str(first.process.args[-1])]  # type: ignore[index]  # a list, as started
    status = [sys.executable, "-m", "daemon", "migrate", "status", *config]
    assert subprocess.run(status, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert first.stop() == 0


def test_our_own_postgres_survives_a_killed_daemon(start_daemon: Start) -> None:
    first = start_daemon(database="embedded")
    first.ready()
    first.until("job.metric", job="market", outcome="ok")
    first.kill()
    second = start_daemon(database="embedded")
    second.ready()
    assert second.of("job.metric")[0]["reason"] in (
        "not running then",
        "the process ended during the run",
    )
    assert second.stop() == 0


def test_systemd_hears_of_readiness_progress_and_the_stop(
    start_daemon: Start, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(60)
        daemon = start_daemon(environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
        heard = []
        while b"WATCHDOG=1" not in heard:
            heard += manager.recv(4096).split(b"\n")
        assert b"READY=1" in heard
        assert daemon.ready()
        assert daemon.stop() == 0
        while b"STOPPING=1" not in heard:
            heard += manager.recv(4096).split(b"\n")


@pytest.mark.parametrize("arguments", [["run"], ["migrate", "status"]])
def test_a_bad_configuration_is_one_line_and_exit_two(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[trading]\nmod = "paper"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments, "--config", str(path)],
        check=False,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "trading.mod" in done.stderr
    assert "trading.mode" in done.stderr


def test_a_database_of_a_newer_program_is_one_line_and_exit_three(
    start_daemon: Start, dsn: str, tmp_path: Path
) -> None:
    """A roll-back of the program was a traceback, exit 1 and a restart loop (fault I6)."""
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    daemon = start_daemon()
    assert daemon.end() == 3
    (line,) = daemon.of("daemon.cannot_start")
    assert "9999, which is newer than this program" in line["error"]
    for what in ("up", "status", "down 0001 --yes"):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "daemon", "migrate", *what.split()),
                *("--config", str(tmp_path / "config.toml")),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 3, done
        assert "install the newer program again" in done.stdout + done.stderr
        assert "migrate up" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
