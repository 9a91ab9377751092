"""Log lines: their shape, what never stands in them, and what cannot stop them."""

import asyncio
import dataclasses
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from daemon.config.sections import LogConfig
from daemon.redaction import Masker
from daemon.telemetry.log_format import Entry, json_line, text_line
from daemon.telemetry.log_sinks import RotatingFile, StreamOutput
from daemon.telemetry.logs import Intercept, Logs, configure
from daemon.telemetry.metrics import JobMetric

CANARIES = ("upbit-access-CANARY-0001", "upbit-secret-CANARY-0002", "AIzaCANARY-0003-xxxxxxxxxxxx")
AT = datetime(2026, 11, 20, 5, 0, 2, 1234, UTC)


class Sink(io.StringIO):
    """A stream that keeps its lines."""

    def lines(self) -> list[dict[str, Any]]:
        text = self.getvalue()
        assert not text or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def last(self) -> dict[str, Any]:
        return self.lines()[-1]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def logs(sink: Sink) -> Iterator[Logs]:
    configured = configure(LogConfig(level="DEBUG", format="json"), CANARIES, stream=sink)
    yield configured
    configured.close()


def test_a_line_has_the_common_fields_and_its_own(logs: Logs, sink: Sink) -> None:
    with logger.contextualize(job="orders", run_id="r1"):
        logger.bind(event="order.sent", market="KRW-BTC", price=Decimal("1.50")).info("Order sent")
    line = sink.last()
    assert datetime.fromisoformat(line.pop("ts")).utcoffset() == timedelta(0)
    assert line == {
        "level": "INFO",
        "logger": __name__,
        "event": "order.sent",
        "message": "Order sent",
        "job": "orders",
        "run_id": "r1",
        "market": "KRW-BTC",
        "price": "1.50",
    }


def test_the_instant_is_utc_with_microseconds(logs: Logs, sink: Sink) -> None:
    logger.info("x")
    assert len(sink.last()["ts"]) == len("2026-11-20T05:00:02.001234Z")
    assert sink.last()["ts"].endswith("Z")


def test_an_event_is_always_there(logs: Logs, sink: Sink) -> None:
    logger.info("x")
    assert sink.last()["event"] == "log"


def test_a_message_of_many_lines_is_one_line(logs: Logs, sink: Sink) -> None:
    logger.bind(detail="c\nd").info("a\nb\r\n{not a format}")
    assert sink.last()["message"] == "a\nb\r\n{not a format}"
    assert sink.getvalue().count("\n") == 1


def test_korean_is_written_as_it_is(logs: Logs, sink: Sink) -> None:
    logger.info("비트코인")
    assert "비트코인" in sink.getvalue()


def test_a_field_cannot_take_a_common_ones_place(logs: Logs, sink: Sink) -> None:
    logger.bind(ts=1, message="mine", level="x", event="a.b").info("ours")
    line = sink.last()
    assert (line["message"], line["message_"], line["ts_"], line["level_"]) == (
        "ours",
        "mine",
        1,
        "x",
    )
    assert line["event"] == "a.b"


@dataclasses.dataclass
class Account:
    currency: str
    balance: Decimal


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("0.10"), "0.10"),
        (timedelta(seconds=1.5), 1.5),
        (AT, "2026-11-20T05:00:02.001234Z"),
        (Path("/x"), "/x"),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        ((1, 2), [1, 2]),
        (frozenset({1}), [1]),
        (ValueError("no"), "no"),
        (Mute(), "<Mute>"),
        (2**80, 2**80),
        ("\ud800", "\ud800"),
        (float("nan"), None),
        (None, None),
    ],
)  # fmt: skip
def test_any_value_can_be_a_field(logs: Logs, sink: Sink, value: object, shown: object) -> None:
    logger.bind(value=value).info("x")
    assert sink.last()["value"] == shown


def test_a_nest_too_deep_is_cut(logs: Logs, sink: Sink) -> None:
    deep: dict[str, Any] = {}
    deep["self"] = deep
    logger.bind(value=deep, many=[[[[[[[1]]]]]]]).info("x")
    assert "…" in sink.getvalue()


def test_a_text_too_long_for_journald_is_cut_to_its_ends(logs: Logs, sink: Sink) -> None:
    logger.bind(value="a" * 50_000 + "z").info("b" * 50_000)
    assert len(sink.getvalue()) < 20_000
    assert sink.last()["value"].endswith("z")


def leak(key: str) -> None:
    secret = key
    raise ValueError(f"cannot use {secret}")


def nested(key: str) -> None:
    try:
        leak(key)
    except ValueError as exc:
        raise RuntimeError({"Authorization": f"Bearer {key}"}) from exc


def in_context(key: str) -> None:
    with logger.contextualize(job=key):
        logger.info("x")


WAYS: dict[str, Callable[[str], object]] = {
    "message": lambda key: logger.info(f"key {key}"),
    "argument": lambda key: logger.info("key {}", key),
    "field": lambda key: logger.bind(value=key).info("x"),
    "nested field": lambda key: logger.bind(value={"a": [{"b": key}]}).info("x"),
    "field name": lambda key: logger.bind(value={key: 1}).info("x"),
    "json in a field": lambda key: logger.bind(body=json.dumps({"k": key})).info("x"),
    "url": lambda key: logger.bind(url=f"https://x/?key={key}").info("x"),
    "bytes": lambda key: logger.bind(body=key.encode()).info("x"),
    "exception": lambda key: logger.opt(exception=ValueError(key)).error("x"),
    "context": in_context,
    "standard library": lambda key: logging.getLogger("lib").warning("key %s", key),
    "standard library's wrong arguments": lambda key: Intercept().handle(
        logging.LogRecord("lib", logging.WARNING, "lib.py", 1, key, (1, 2), None)
    ),
    "warning": lambda key: warnings.warn(f"key {key}", UserWarning, stacklevel=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", CANARIES)
@pytest.mark.filterwarnings("default")
def test_a_key_stands_in_no_line(logs: Logs, sink: Sink, way: str, key: str) -> None:
    WAYS[way](key)
    assert "CANARY" not in sink.getvalue()
    assert "***" in sink.getvalue()
    assert sink.lines()


@pytest.mark.parametrize("fail", [leak, nested])
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_where_and_no_key_and_no_variables(
    sink: Sink, fail: Callable[[str], None], form: Any
) -> None:
    logs = configure(LogConfig(format=form), CANARIES, stream=sink)
    try:
        fail(CANARIES[1])
    except (ValueError, RuntimeError):
        logger.bind(event="job.bug").exception("Job raised what it should not")
    finally:
        logs.close()
    text = sink.getvalue()
    assert "in leak" in text
    assert "CANARY" not in text
    if form == "json":
        assert sink.last()["error_type"] in {"ValueError", "RuntimeError"}
        assert text.count("\n") == 1


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_shown_stops_nothing_and_leaks_nothing(
    logs: Logs, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.bind(value=CANARIES[0]).opt(exception=Unspeakable()).error("x")
    assert sink.last()["error_type"] == "Unspeakable"
    assert "CANARY" not in sink.getvalue() + "".join(capsys.readouterr())


def test_balances_and_named_secrets_are_masked_by_their_names(logs: Logs, sink: Sink) -> None:
    logger.bind(
        balance=Decimal(1234567),
        token="opaque",
        account={"currency": "KRW", "locked": 1234567},
        accounts=[Account("KRW", Decimal(1234567))],
    ).info("account %s", {"balance": "1234567"})
    line = sink.last()
    assert "1234567" not in sink.getvalue()
    assert line["balance"] == line["token"] == line["account"]["locked"] == "***"
    assert line["account"]["currency"] == "KRW"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.dictionaries(st.text(), VALUES, max_size=5))
def test_every_record_is_one_line_of_json(message: str, fields: dict[str, Any]) -> None:
    entry = Entry(at=AT, level="INFO", logger="x", message=message, fields=fields)
    line = json_line(entry, Masker(CANARIES))
    assert line.count("\n") == 1
    assert json.loads(line)["level"] == "INFO"
    assert text_line(entry, Masker(), colour=True).endswith("\n")


def test_text_for_a_person_has_the_fields_and_no_escape_sequences(sink: Sink) -> None:
    logs = configure(LogConfig(format="text"), (), stream=sink)
    logger.bind(event="order.sent", market="KRW-BTC", why="two words", error=None, at=AT).warning(
        "Sent \x1b[31mred"
    )
    logs.close()
    text = sink.getvalue()
    assert "error" not in text
    assert "at=2026-11-20T05:00:02.001234Z" in text
    assert 'WARNING  order.sent Sent \\x1b[31mred market=KRW-BTC why="two words"' in text


class Terminal(Sink):
    def isatty(self) -> bool:
        return True


def test_auto_is_colour_on_a_terminal_and_json_elsewhere(sink: Sink) -> None:
    terminal = Terminal()
    for stream in (terminal, sink):
        logs = configure(LogConfig(), (), stream=stream)
        logger.error("x")
        logs.close()
    assert "\x1b[31m" in terminal.getvalue()
    assert sink.last()["message"] == "x"


def test_the_level_is_a_floor_for_ours_and_theirs(sink: Sink) -> None:
    logs = configure(LogConfig(level="WARNING", format="json"), (), stream=sink)
    logger.info("no")
    logging.getLogger("lib").info("no")
    logger.warning("ours")
    logging.getLogger("lib").warning("theirs")
    logs.close()
    assert [line["message"] for line in sink.lines()] == ["ours", "theirs"]


def test_libraries_speak_under_their_own_names(logs: Logs, sink: Sink) -> None:
    logging.getLogger("sqlalchemy.pool").error("gone %s", "away")
    line = sink.last()
    assert (line["logger"], line["level"], line["message"]) == (
        "sqlalchemy.pool",
        "ERROR",
        "gone away",
    )
    logging.getLogger("lib").log(35, "between")
    assert sink.last()["level"] == "WARNING"
    logging.getLogger("lib").critical("end")
    assert sink.last()["level"] == "CRITICAL"
    logging.getLogger("lib").debug("detail")
    assert sink.last()["level"] == "DEBUG"


def test_chatty_libraries_are_quiet(logs: Logs, sink: Sink) -> None:
    for name in ("httpx", "apscheduler.executors", "google_genai.models", "uvicorn.access"):
        logging.getLogger(name).info("AFC is enabled with max remote calls: 10.")
    assert sink.lines() == []


def test_a_librarys_traceback_comes_along(logs: Logs, sink: Sink) -> None:
    try:
        leak("x")
    except ValueError:
        logging.getLogger("lib").exception("failed")
    assert "in leak" in sink.last()["exception"]


def test_a_library_with_a_handler_of_its_own_is_taken_over(sink: Sink) -> None:
    stray = io.StringIO()
    library = logging.getLogger("lib.with.handler")
    library.addHandler(logging.StreamHandler(stray))
    library.propagate = False
    logs = configure(LogConfig(format="json"), (), stream=sink)
    library.warning("x")
    logs.close()
    assert (stray.getvalue(), sink.last()["message"]) == ("", "x")


def test_uncaught_exceptions_are_lines(logs: Logs, sink: Sink) -> None:
    error = ValueError(CANARIES[0])
    sys.excepthook(ValueError, error, None)
    assert (sink.last()["event"], sink.last()["level"]) == ("process.crash", "CRITICAL")
    before = len(sink.lines())
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len(sink.lines()) == before
    thread = threading.Thread(target=lambda: leak(CANARIES[0]), name="worker")
    thread.start()
    thread.join()
    assert (sink.last()["event"], sink.last()["thread"]) == ("process.thread_crash", "worker")
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    sys.unraisablehook(
        type(
            "Args",
            (),
            {"exc_type": ValueError, "exc_value": error, "exc_traceback": None, "object": 1},
        )()
    )
    assert sink.last()["event"] == "process.unraisable"
    assert "CANARY" not in sink.getvalue()


async def test_errors_of_the_event_loop_are_lines(logs: Logs, sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.on_loop_error)
    loop.call_exception_handler({"message": "nobody looked", "exception": ValueError(CANARIES[2])})
    assert sink.last()["event"] == "process.loop_error"
    assert sink.last()["detail"] == "nobody looked"
    assert "CANARY" not in sink.getvalue()


def test_closing_gives_everything_back(sink: Sink) -> None:
    root = logging.getLogger()
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook, root.handlers, root.level)
    configure(LogConfig(format="json"), (), stream=sink).close()
    after = (sys.excepthook, threading.excepthook, sys.unraisablehook, root.handlers, root.level)
    assert after == before
    logger.info("nobody listens")
    assert sink.lines() == []


def metric(**changes: Any) -> JobMetric:
    fields: dict[str, Any] = {
        "job": "market",
        "run_id": "0b5ae1ce2f1c4ac8",
        "scheduled_at": AT.replace(microsecond=0),
        "started_at": AT,
        "finished_at": AT + timedelta(milliseconds=312),
        "lateness_s": 0.001234,
        "duration_s": 0.311766,
        "success": True,
        "outcome": "ok",
        "attempts": 1,
        "cost_usd": Decimal("0.000123"),
    }
    return JobMetric(**fields | changes)


METRIC = {
    "level": "INFO",
    "logger": "job",
    "event": "job.metric",
    "message": "slot",
    "job": "market",
    "run_id": "0b5ae1ce2f1c4ac8",
    "scheduled_at": "2026-11-20T05:00:02Z",
    "started_at": "2026-11-20T05:00:02.001Z",
    "finished_at": "2026-11-20T05:00:02.313Z",
    "lateness_s": 0.0012,
    "duration_s": 0.3118,
    "success": True,
    "outcome": "ok",
    "reason": None,
    "attempts": 1,
    "waited_s": 0.0,
    "error_type": None,
    "error": None,
    "api_calls": 0,
    "rows": 0,
    "tokens_in": 0,
    "tokens_out": 0,
    "tokens_thought": 0,
    "cost_usd": "0.000123",
}


def test_the_metric_line_has_exactly_the_fields_of_the_contract(logs: Logs, sink: Sink) -> None:
    logs.metric(metric())
    line = sink.last()
    line.pop("ts")
    assert line == METRIC
    assert len(sink.getvalue().encode()) <= 510


def test_a_slot_that_did_not_run_has_no_start(logs: Logs, sink: Sink) -> None:
    logs.metric(metric(started_at=None, outcome="skipped", success=False, reason="still running"))
    assert sink.last()["started_at"] is None
    assert sink.last()["reason"] == "still running"


def test_a_metrics_error_is_masked(logs: Logs, sink: Sink) -> None:
    logs.metric(metric(outcome="failed", success=False, error=f"bad key {CANARIES[0]}"))
    assert sink.last()["error"] == "bad key ***"


@pytest.mark.parametrize("level", ["WARNING", "ERROR", "CRITICAL"])
def test_metric_lines_are_written_at_every_level(sink: Sink, level: Any) -> None:
    logs = configure(LogConfig(level=level, format="json"), (), stream=sink)
    logs.metric(metric())
    logger.info("below the level")
    logs.close()
    assert [line["event"] for line in sink.lines()] == ["job.metric"]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        ("ok", "INFO"),
        ("skipped", "INFO"),
        ("deferred", "WARNING"),
        ("cancelled", "WARNING"),
        ("failed", "ERROR"),
        ("timeout", "ERROR"),
    ],
)
def test_a_metric_line_is_as_loud_as_its_outcome(
    logs: Logs, sink: Sink, outcome: Any, level: str
) -> None:
    logs.metric(metric(outcome=outcome, success=outcome == "ok"))
    assert sink.last()["level"] == level


# --- the journal

PREFIXES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def journal_of(file: Any) -> str:
    status = os.fstat(file.fileno())
    return f"{status.st_dev}:{status.st_ino}"


@pytest.mark.parametrize(("level", "priority"), PREFIXES.items())
def test_under_journald_a_line_begins_with_its_priority(
    tmp_path: Path, level: str, priority: int
) -> None:
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        log = LogConfig(level="DEBUG", format="json", file=str(tmp_path / "log"))
        logs = configure(log, (), stream=stream, journal_stream=journal_of(stream))
        logger.log(level, "two lines\nand \u2028 a third")
        logs.close()
        stream.seek(0)
        prefix, line = f"<{priority}>", stream.read()
    assert line.startswith(prefix)
    assert line.count(prefix) == 1
    assert line.removeprefix(prefix) == (tmp_path / "log").read_text("utf-8")
    assert json.loads(line.removeprefix(prefix))["level"] == level


def test_each_line_of_a_text_has_the_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        logs = configure(
            LogConfig(format="text"), (), stream=stream, journal_stream=journal_of(stream)
        )
        try:
            leak("x")
        except ValueError:
            logger.exception("failed")
        logs.close()
        stream.seek(0)
        lines = stream.read().splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("journal", [None, "", "1:2", "nonsense"])
def test_elsewhere_a_line_has_no_priority(tmp_path: Path, journal: str | None) -> None:
    with (tmp_path / "pipe").open("w+", encoding="utf-8") as stream:
        logs = configure(LogConfig(format="json"), (), stream=stream, journal_stream=journal)
        logger.error("failed")
        logs.close()
        stream.seek(0)
        assert json.loads(stream.read())["level"] == "ERROR"


def test_a_refused_start_is_an_error_in_the_journal(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[daemon]\nzone = 1\n", encoding="utf-8")
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "run", "--config", str(config)],
            env={**os.environ, "JOURNAL_STREAM": journal_of(stream)},
            stdout=stream,
            stderr=stream,
            check=False,
        )
        stream.seek(0)
        said = stream.read()
    assert done.returncode == 2
    assert said.startswith("<3>upbitd: ")


def test_a_file_gets_json_lines_beside_the_stream(sink: Sink, tmp_path: Path) -> None:
    path = tmp_path / "log" / "upbitd.log"
    logs = configure(LogConfig(format="text", file=str(path)), CANARIES, stream=sink)
    logger.info(CANARIES[0])
    logs.close()
    assert json.loads(path.read_text())["message"] == "***"
    assert path.stat().st_mode & 0o007 == 0


def test_a_full_file_is_put_aside_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "upbitd.log"
    old = tmp_path / "upbitd.20200101T000000.000000Z.log"
    other = tmp_path / "other.log"
    for each in (old, other):
        each.write_text("x")
        os.utime(each, (0, 0))
    file = RotatingFile(path, 100, keep_s=3600)
    for number in range(5):
        file.write(f"{number}" + "x" * 50 + "\n")
    file.close()
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert other.name in kept
    assert old.name not in kept
    assert len(kept) == 6
    assert all((tmp_path / name).stat().st_size <= 100 for name in kept)


def test_a_file_is_put_aside_after_its_time(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", timedelta(hours=1), keep_s=3600)
    file.write("one\n")
    file._since_s -= 3601
    file.write("two\n")
    file.close()
    assert (tmp_path / "a.log").read_text() == "two\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_is_continued_by_the_next_process(tmp_path: Path) -> None:
    for number in (1, 2):
        file = RotatingFile(tmp_path / "a.log", 1000, keep_s=3600)
        file.write(f"{number}\n")
        file.close()
    assert (tmp_path / "a.log").read_text() == "1\n2\n"


def test_a_file_that_cannot_be_written_stops_nothing(sink: Sink) -> None:
    logs = configure(LogConfig(format="json", file="/dev/full"), (), stream=sink)
    logger.info("on")
    logs.close()
    said = {line["event"]: line for line in sink.lines()}
    assert said["log"]["message"] == "on"
    assert "No space left on device" in said["log.output_failed"]["fault"]
    assert [(each.name, each.lost) for each in logs.outputs()] == [("log.file", 1)]
    assert (logs.trouble() or "").startswith("log.file: /dev/full: ")


def test_a_closed_stream_stops_nothing() -> None:
    stream = io.StringIO()
    output = StreamOutput(stream)
    stream.close()
    output.write("x\n")
    assert output.lost == 1


def test_after_a_broken_pipe_the_stream_leads_nowhere() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        output = StreamOutput(stream)
        output.write("lost\n")
        output.write("nobody reads this\n")
        assert output.lost == 1


CHILD = """
import sys
from loguru import logger
from daemon.config.sections import LogConfig
from daemon.telemetry.logs import configure
logs = configure(LogConfig(format="json"), ())
sys.stdin.readline()
for number in range(1000):
    logger.info("x" * 1000)
logs.close()
sys.stderr.write("lived on")
sys.exit(7)
"""


def test_a_broken_pipe_ends_neither_the_process_nor_its_exit_code() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        _, errors = child.communicate("go\n", timeout=60)
    assert child.returncode == 7
    line, _, rest = errors.partition("\n")
    assert json.loads(line)["fault"] == "its reader is gone"
    assert rest == "lived on"


def test_lines_are_utf8_whatever_the_locale() -> None:
    code = "from loguru import logger\nfrom daemon.config.sections import LogConfig\n"
    code += "from daemon.telemetry.logs import configure\nconfigure(LogConfig(), ())\n"
    code += "logger.info('\\ube44\\ud2b8')"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True, timeout=60
    )
    assert json.loads(done.stdout.decode("utf-8"))["message"] == "비트"


def test_threads_do_not_mix_their_lines(logs: Logs, sink: Sink) -> None:
    def work(name: str) -> None:
        for _ in range(100):
            logger.bind(worker=name).info("x" * 100)
            logs.metric(metric())

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sink.lines()) == 800


def test_an_entrys_time_is_written_in_utc() -> None:
    seoul = AT.astimezone(tz=None)
    entry = Entry(at=seoul, level="INFO", logger="x", message="", fields={})
    assert json.loads(json_line(entry, Masker()))["ts"] == "2026-11-20T05:00:02.001234Z"


def test_no_line_steers_a_terminal(logs: Logs, sink: Sink) -> None:
    logger.bind(value="a\x9b2J\u202eb\u2028c").info("x\x1b[2J")
    line = sink.getvalue().splitlines()[-1]
    assert not set(line) & set("\x1b\x9b\u202e\u2028")
    assert json.loads(line)["value"] == "a\ufffd2J\ufffdb\ufffdc"
