"""Whoever logs waits for nobody: pipes that nobody reads, full disks, files that are moved away."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from loguru import logger

from daemon.config.sections import LogConfig
from daemon.scheduling.slot_ledger import new_slot, skipped
from daemon.telemetry.log_sinks import LineWriter, RotatingFile
from daemon.telemetry.log_writer import CEILINGS, STALLED_S, LogWriter
from daemon.telemetry.logs import Logs, configure
from daemon.telemetry.metrics import JobMetric

LINE = "x" * 1000


class Stuck:
    """An output that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        self.lines: list[str] = []
        self.lost = 0
        self.fault: str | None = None

    def write(self, line: str) -> None:
        self.entered.set()
        self.go.wait(60)
        self.lines.append(line)

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.once = threading.Event()

    def __call__(self, event: str, message: str, fields: Any) -> None:
        self.events.append((event, dict(fields)))
        self.once.set()

    def names(self) -> list[str]:
        return [event for event, _ in self.events]


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    output = Stuck()
    yield output
    output.go.set()


def test_a_stuck_output_keeps_nobody_and_less_important_lines_are_dropped_first(
    stuck: Stuck,
) -> None:
    here = Told()
    writer = LogWriter("out", stuck, here=here)
    counts = {level: CEILINGS[level] // len(LINE) + 10 for level in ("INFO", "WARNING", "ERROR")}
    for level, many in counts.items():
        for _ in range(many):
            writer.put(LINE, level)
    for _ in range(10):
        writer.put("slot", "INFO", always=True)
    waiting = writer.state().waiting
    assert waiting * len(LINE) <= CEILINGS["ERROR"] + 10 * len(LINE)
    stuck.go.set()
    assert here.once.wait(60)
    writer.begin_close()
    assert writer.finish(60) == 0
    assert stuck.lines.count("slot") == 10
    (event, fields) = here.events[0]
    assert event == "log.dropped"
    assert fields["lines"] == sum(counts.values()) + 10 - len(stuck.lines)
    assert set(fields["levels"]) == {"INFO", "WARNING", "ERROR"}
    assert writer.state().lost == fields["lines"]


def test_an_error_is_kept_when_information_is_dropped(stuck: Stuck) -> None:
    writer = LogWriter("out", stuck)
    for _ in range(2 * CEILINGS["INFO"] // len(LINE)):
        writer.put(LINE, "INFO")
    dropped = writer.state().lost
    assert dropped > 0
    writer.put(LINE, "ERROR")
    assert writer.state().lost == dropped


def test_an_output_that_stands_still_is_told_of_elsewhere_and_once(stuck: Stuck) -> None:
    elsewhere, now = Told(), [0.0]
    writer = LogWriter("out", stuck, elsewhere=elsewhere, monotonic=lambda: now[0])
    writer.put("one\n", "INFO")
    assert stuck.entered.wait(60)
    assert writer.state().fault is None
    now[0] = STALLED_S + 1
    assert "takes nothing for 6 s" in (writer.state().fault or "")
    for _ in range(3):
        writer.put("two\n", "INFO")
    assert elsewhere.names() == ["log.output_failed"]
    stuck.go.set()
    writer.begin_close()
    assert writer.finish(60) == 0
    assert elsewhere.names() == ["log.output_failed", "log.output_works"]
    assert writer.state().fault is None


def test_closing_waits_for_a_stuck_output_no_longer_than_said(stuck: Stuck) -> None:
    writer = LogWriter("out", stuck)
    for _ in range(5):
        writer.put("x\n", "INFO")
    assert stuck.entered.wait(60)
    writer.begin_close()
    assert writer.finish(0.01) == 5


def test_what_a_signal_handler_logs_in_the_middle_of_a_line_is_taken(stuck: Stuck) -> None:
    writer = LogWriter("out", stuck)
    with writer._changed:  # as if the signal came while this thread puts a line
        writer.put("from the handler\n", "INFO")
    assert writer.state().waiting + stuck.entered.wait(60) >= 1


# --- a whole process


CHILD = """
import sys, threading, time
from loguru import logger
from daemon.config.sections import LogConfig
from daemon.telemetry.logs import configure
logs = configure(LogConfig(format="json", level="INFO"), ())
for number in range(3000):
    logger.bind(number=number).info("x" * 200)
sys.stderr.write("logged\\n")
sys.stdin.readline()
logs.close()
sys.stderr.write("closed\\n")
sys.exit(7)
"""


def start(stdout: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_a_pipe_that_nobody_reads_stops_neither_the_work_nor_the_end() -> None:
    with start(subprocess.PIPE) as child:
        assert line_of(child.stderr) == "logged\n"  # 700 KB into a pipe of 64 KB
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        unwritten = json.loads(line_of(child.stderr))
        assert (unwritten["event"], unwritten["output"]) == ("log.unwritten", "stdout")
        assert line_of(child.stderr) == "closed\n"
        assert child.wait(60) == 7  # no abort over a locked buffer


def test_a_reader_that_comes_back_gets_every_line_whole_and_in_order() -> None:
    with start(subprocess.PIPE) as child:
        assert line_of(child.stderr) == "logged\n"
        assert child.stdout is not None
        numbers = [json.loads(child.stdout.readline())["number"] for _ in range(3000)]
        assert numbers == list(range(3000))
        child.communicate("go\n", timeout=60)
        assert child.returncode == 7


def test_a_stopped_terminal_stops_nothing() -> None:
    ours, theirs = pty.openpty()
    termios.tcflow(theirs, termios.TCOOFF)  # what Ctrl-S does
    try:
        with start(theirs) as child:
            assert line_of(child.stderr) == "logged\n"
            child.communicate("go\n", timeout=60)
            assert child.returncode == 7
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_line_is_written_whole_to_a_pipe_that_takes_no_more_than_a_part() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            got.append(stream.read())

    reader = threading.Thread(target=read)
    writer = LineWriter(writing)
    reader.start()
    for _ in range(3):
        writer.write(b"x" * 100_000 + b"\n")
    os.close(writing)
    reader.join(60)
    assert got == [(b"x" * 100_000 + b"\n") * 3]


# --- files


def texts(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_half_a_line_of_an_earlier_process_is_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text('{"whole":1}\n{"torn":')
    file = RotatingFile(path, 1000, keep_s=1)
    file.write('{"next":1}\n')
    file.close()
    assert texts(path) == ['{"whole":1}', '{"torn":', '{"next":1}']


def test_what_fitted_on_a_full_disk_is_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up takes a part of a line first, and refuses the rest."""
    path = tmp_path / "a.log"
    file = RotatingFile(path, 1000, keep_s=1)
    file.write("before\n")
    write, room = os.write, [3]

    def full(number: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write(number, data[: room.pop()])

    with monkeypatch.context() as patched:
        patched.setattr("daemon.telemetry.log_sinks.os.write", full)
        file.write("lost\n")
    assert (file.lost, file.fault) == (1, f"{path}: No space left on device")
    file.write("after\n")
    file.close()
    assert texts(path) == ["before", "after"]
    assert file.fault is None


@pytest.mark.parametrize("ending", ["rename", "remove"])
def test_a_file_that_is_moved_or_removed_is_opened_anew(tmp_path: Path, ending: str) -> None:
    path, aside = tmp_path / "a.log", tmp_path / "a.log.1"
    file = RotatingFile(path, 1000, keep_s=1)
    file.write("one\n")
    path.rename(aside) if ending == "rename" else path.unlink()
    file.write("two\n")
    assert texts(path) == ["two"]
    path.rename(aside)
    path.write_text("made by logrotate\n")
    file.write("three\n")
    file.close()
    assert texts(path) == ["made by logrotate", "three"]


def test_a_file_that_is_emptied_in_place_goes_on_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    file = RotatingFile(path, 20, keep_s=1)
    file.write("0123456789\n")
    os.truncate(path, 0)
    file.write("abcdefghij\n")
    file.close()
    assert texts(path) == ["abcdefghij"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_cannot_be_put_aside_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    file = RotatingFile(path, timedelta(hours=1), keep_s=1)
    file.write("one\n")
    file._since_s -= 3601
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        patched.setattr(Path, "rename", refuse)
        file.write("two\n")
    assert texts(path) == ["one", "two"]
    assert file.lost == 0
    assert file.fault == f"{path} cannot be put aside: Permission denied"
    file.write("three\n")
    assert texts(path) == ["three"]
    assert not file.fault
    file.close()


def slot() -> JobMetric:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    return skipped(new_slot("orders", at), "paused", at)


def configured(path: Path, stream: IO[str]) -> Logs:
    return configure(LogConfig(format="json", file=str(path)), (), stream=stream)  # type: ignore[arg-type]


def test_one_stuck_output_does_not_hold_the_other_back(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writing, "w") as stream:
        logs = configured(tmp_path / "a.log", stream)
        for _ in range(100):
            logger.info(LINE)
            logs.metric(slot())
        logs.close()
        lines = [json.loads(line)["event"] for line in texts(tmp_path / "a.log")]
        os.close(reading)
    assert lines == ["log", "job.metric"] * 100


def test_files_are_opened_anew_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with Path(os.devnull).open("w") as stream:
        logs = configured(path, stream)
        logger.info("one")
        logs.reopen("SIGHUP")
        logs.close()
    assert [json.loads(line)["event"] for line in texts(path)] == ["log", "log.reopened"]
