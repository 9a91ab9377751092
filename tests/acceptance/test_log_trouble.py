"""The daemon goes on, and ends in order, whatever becomes of its log; and what signals do to it."""

import fcntl
import itertools
import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from fixtures.process import Daemon, Start

WITHIN_S = 60.0


def figure(daemon: Daemon, name: str) -> float:
    lines = [line for line in daemon.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def until(daemon: Daemon, name: str, least: float) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while figure(daemon, name) < least:
        assert time.monotonic() < deadline_s, f"{name} stays below {least}"


def test_a_log_that_nobody_reads_stops_neither_jobs_nor_the_stop(start_daemon: Start) -> None:
    daemon = start_daemon(environ={"UPBITD_LOG__LEVEL": "DEBUG"})
    daemon.ready()
    assert daemon.process.stdout is not None
    fcntl.fcntl(daemon.process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    healthy = 'upbitd_log_output_healthy{output="stdout"}'
    deadline_s = time.monotonic() + WITHIN_S
    while figure(daemon, healthy) != 0:
        assert time.monotonic() < deadline_s, "the stuck output is not noticed"
    runs = figure(daemon, "upbitd_job_runs_total")
    until(daemon, "upbitd_job_runs_total", runs + 10)
    assert daemon.get("/livez").status_code == 200
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(WITHIN_S) == 0


def test_signals_that_mean_nothing_are_ignored_and_hangup_opens_files_anew(
    start_daemon: Start, tmp_path: Path
) -> None:
    log, aside = tmp_path / "upbitd.log", tmp_path / "upbitd.log.1"
    daemon = start_daemon(environ={"UPBITD_LOG__FILE": str(log)})
    daemon.until("daemon.start")
    for each in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        daemon.signal(each)
        daemon.until("daemon.signal_ignored", signal=each.name)
    daemon.ready()
    log.rename(aside)
    daemon.signal(signal.SIGHUP)
    daemon.until("log.reopened", reason="SIGHUP")
    daemon.until("job.metric")
    assert daemon.stop() == 0
    files = [aside.read_text().splitlines(), log.read_text().splitlines()]
    events = [json.loads(line)["event"] for line in itertools.chain(*files)]
    assert "log.reopened" in [json.loads(line)["event"] for line in files[1]]
    assert events.count("daemon.signal_ignored") == 3
    # threads may put a line into the two outputs in another order
    assert Counter(line["event"] for line in daemon.lines) == Counter(events)


@pytest.mark.parametrize("what", ["a folder", "/dev/full"])
def test_a_log_file_that_cannot_be_written_is_said_elsewhere(
    start_daemon: Start, tmp_path: Path, what: str
) -> None:
    path = str(tmp_path) if what == "a folder" else what
    daemon = start_daemon(environ={"UPBITD_LOG__FILE": path})
    said = daemon.until("log.output_failed", output="log.file")
    assert said["fault"].startswith(f"{path}: ")
    daemon.until("alert.raised", kind="log_output_failed")
    assert figure(daemon, 'upbitd_log_output_healthy{output="log.file"}') == 0
    assert figure(daemon, "upbitd_log_lines_lost_total") > 0
    assert len([line for line in daemon.lines if line["event"] == "log.output_failed"]) == 1
    assert daemon.stop() == 0
