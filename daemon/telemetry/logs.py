"""Log lines: JSON, one object a line, masked; everything that the process says goes through here.

`configure` takes over loguru, the standard library's logging, warnings and uncaught exceptions.
The line is masked as a finished string, so that tracebacks and nested values are covered.
"""

import asyncio
import atexit
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from daemon.config.sections import LogConfig
from daemon.redaction import Masker
from daemon.telemetry.log_format import Entry, is_journal, json_line, text_line, with_priority
from daemon.telemetry.log_sinks import Output, RotatingFile, StreamOutput
from daemon.telemetry.log_writer import LogWriter, OutputState
from daemon.telemetry.metrics import METRIC_LOGGER, METRIC_MESSAGE, JobMetric

if TYPE_CHECKING:
    from loguru import Message, Record

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
QUIET = {
    "alembic": logging.WARNING,
    "apprise": logging.WARNING,  # its DEBUG lines hold the whole address with the bot's token
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "google_genai": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "hpack": logging.WARNING,
    "psycopg": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "websockets": logging.WARNING,
}
"""Libraries that would write a line for every request, run or statement."""

METRIC_LEVELS = {
    "failed": "ERROR",
    "timeout": "ERROR",
    "deferred": "WARNING",
    "cancelled": "WARNING",
}
"""A slot that ended well or was skipped is INFO."""

CLOSE_WITHIN_S = 2.0
STDERR = 2
SURE_BYTES = 4096
"""A pipe that polls as writable takes so much at once (PIPE_BUF)."""

Line = Callable[[Entry], str]


@dataclass(slots=True)
class Sink:
    """One place for log lines. Without a `writer` (a stream in memory) they are written at once."""

    line: Line
    output: Output
    writer: LogWriter | None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, entry: Entry, *, always: bool = False) -> None:
        """Take one entry; waits for nobody who reads. Never raises."""
        line = self.line(entry)
        if self.writer is not None:
            self.writer.put(line, entry.level, always=always)
        else:
            with self._lock:
                self.output.write(line)


@dataclass(slots=True)
class Logs:
    """The configured log. `mask` is for texts that leave the process by another way."""

    mask: Masker
    level: str
    sinks: list[Sink] = field(default_factory=list)
    _undo: list[Callable[[], None]] = field(default_factory=list)

    def add(self, name: str, line: Line, output: Output, *, can_block: bool = True) -> None:
        """Send lines to one more output; one that can block gets a thread of its own."""
        sink = Sink(line, output, None)
        if can_block:

            def elsewhere(event: str, message: str, fields: Mapping[str, Any]) -> None:
                self._tell(_notice(event, message, fields), besides=sink)

            def here(event: str, message: str, fields: Mapping[str, Any]) -> None:
                sink.put(_notice(event, message, fields))

            sink.writer = LogWriter(name, output, elsewhere=elsewhere, here=here)
        self.sinks.append(sink)

    def write(self, entry: Entry, *, always: bool = False) -> None:
        """Write one entry everywhere, whatever its level. Never raises, never waits.

        `always` keeps it however much waits already.
        """
        for sink in self.sinks:
            sink.put(entry, always=always)

    def metric(self, metric: JobMetric) -> None:
        """Write the one line of a slot, past loguru's machinery: half its time.

        At every `log.level`: statistics and the promise of one line a slot rest on it.
        """
        entry = Entry(
            at=datetime.now(UTC),
            level=METRIC_LEVELS.get(metric.outcome, "INFO"),
            logger=METRIC_LOGGER,
            message=METRIC_MESSAGE,
            fields=metric.fields(),
            harmless=metric.reason is None and metric.error is None,
        )
        self.write(entry, always=True)

    def outputs(self) -> list[OutputState]:
        """How each output does. From any thread."""
        return [sink.writer.state() for sink in self.sinks if sink.writer is not None]

    def trouble(self) -> str | None:
        """Which outputs do not work, and why; None when all do."""
        faults = [f"{each.name}: {each.fault}" for each in self.outputs() if each.fault]
        return "; ".join(faults) or None

    def reopen(self, reason: str) -> None:
        """Open log files anew (logrotate). Safe in a signal handler: past loguru and its lock."""
        for sink in self.sinks:
            sink.output.reopen()
        self.write(_notice("log.reopened", "Log files are opened anew", {"reason": reason}, "INFO"))

    def notice(self, event: str, message: str, **fields: object) -> None:
        """Write one INFO line past loguru and its lock; safe in a signal handler."""
        self.write(_notice(event, message, fields, "INFO"))

    def _tell(self, entry: Entry, *, besides: Sink) -> None:
        """Say something about one output where others look: in the other ones, else on stderr."""
        others = [sink for sink in self.sinks if sink is not besides]
        for sink in others:
            sink.put(entry)
        if not others:
            _say_on_stderr(besides.line(entry))

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what asyncio would have printed; give it to `loop.set_exception_handler`."""
        del loop
        exception = context.get("exception")
        logger.bind(event="process.loop_error", detail=context.get("message")).opt(
            exception=exception
        ).error("The event loop caught an error")

    def close(self) -> None:
        """Give everything back as it was, write what waits for a short while, close the file."""
        while self._undo:
            self._undo.pop()()
        writers = [sink.writer for sink in self.sinks if sink.writer is not None]
        for writer in writers:
            writer.begin_close()
        deadline_s = time.monotonic() + CLOSE_WITHIN_S
        for writer in writers:
            if left := writer.finish(deadline_s - time.monotonic()):
                fields = {"output": writer.name, "lines": left}
                lost = _notice("log.unwritten", "Log lines were not written at the end", fields)
                _say_on_stderr(json_line(lost, self.mask))


def configure(
    log: LogConfig,
    secrets: Iterable[str],
    *,
    stream: TextIO | None = None,
    journal_stream: str | None = None,
) -> Logs:
    """Take over all logging of this process. `stream` is standard output unless said.

    With systemd's `journal_stream` ($JOURNAL_STREAM) lines begin with their priority there.
    """
    mask, target = Masker(secrets), stream or sys.stdout
    logs = Logs(mask, log.level)
    line, output = _for_stream(log, target, mask)
    if is_journal(target, journal_stream):
        line = partial(_prioritised, line)
    name = str(getattr(target, "name", "stream")).strip("<>")
    logs.add(name, line, output, can_block=output.can_block)
    if log.file:
        keep_s = log.retention.total_seconds()
        logs.add("log.file", _json(mask), RotatingFile(Path(log.file), log.rotation, keep_s))
    _take_loguru(logs)
    _take_stdlib(logs)
    _take_exceptions(logs)
    atexit.register(logs.close)
    logs._undo.append(lambda: atexit.unregister(logs.close))
    return logs


def _for_stream(log: LogConfig, target: TextIO, mask: Masker) -> tuple[Line, StreamOutput]:
    terminal = target.isatty()
    output = StreamOutput(target)
    if log.format == "json" or (log.format == "auto" and not terminal):
        return _json(mask), output
    return (lambda entry: text_line(entry, mask, colour=terminal)), output


def _notice(event: str, message: str, fields: Mapping[str, Any], level: str = "WARNING") -> Entry:
    return Entry(
        at=datetime.now(UTC),
        level=level,
        logger=__name__,
        message=message,
        fields={"event": event, **fields},
    )


def _say_on_stderr(line: str) -> None:
    """Write to standard error if it takes the line at once; for what no log output can be told."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(STDERR, select.POLLOUT)
        if any(event & select.POLLOUT for _, event in poll.poll(0)):
            os.write(STDERR, line.encode("utf-8", "backslashreplace")[:SURE_BYTES])


def _prioritised(line: Line, entry: Entry) -> str:
    return with_priority(entry.level, line(entry))


def _json(mask: Masker) -> Line:
    return lambda entry: json_line(entry, mask)


def _take_loguru(logs: Logs) -> None:
    def sink(message: "Message") -> None:
        record = message.record
        error = record["exception"]
        logs.write(
            Entry(
                at=record["time"],
                level=record["level"].name,
                logger=record["name"],
                message=record["message"],
                fields=record["extra"],
                error_type=error.type.__name__ if error and error.type else None,
                trace=str(message).strip("\n") if error else "",
            )
        )

    logger.remove()
    # format="": the text of the message is only the traceback; the sink makes the line
    handler = logger.add(
        sink, level=logs.level, format="", backtrace=False, diagnose=False, enqueue=False
    )
    logs._undo.append(lambda: logger.remove(handler))


class Intercept(logging.Handler):
    """Hands records of the standard library's logging to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record under its own logger's name. Never raises, never prints."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's wrong format arguments are not our failure
            text = str(record.msg)
        name, line = record.name, record.lineno

        def origin(present: "Record") -> None:
            present["name"], present["line"] = name, line

        logger.patch(origin).opt(exception=record.exc_info).log(_level(record), text)


def _level(record: logging.LogRecord) -> str:
    """The loguru level for a record whose library may have invented its own."""
    for name, floor in (("CRITICAL", 50), ("ERROR", 40), ("WARNING", 30), ("INFO", 20)):
        if record.levelno >= floor:
            return name
    return "DEBUG"


def _take_stdlib(logs: Logs) -> None:
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    root.handlers = [Intercept()]
    root.setLevel(LEVELS[logs.level])
    for name in list(logging.root.manager.loggerDict):
        if (each := logging.getLogger(name)).handlers:
            each.handlers, each.propagate = [], True
    for name, floor in QUIET.items():
        logging.getLogger(name).setLevel(max(floor, root.level))
    logging.captureWarnings(True)

    def undo() -> None:
        logging.captureWarnings(False)
        root.handlers = handlers
        root.setLevel(root_level)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.NOTSET)

    logs._undo.append(undo)


def _take_exceptions(logs: Logs) -> None:
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    sys.excepthook = _on_crash
    threading.excepthook = _on_thread_crash
    sys.unraisablehook = _on_unraisable

    def undo() -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = before

    logs._undo.append(undo)


def _on_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.bind(event="process.crash").opt(exception=(kind, error, trace)).critical(
        "Uncaught exception"
    )


def _on_thread_crash(args: "threading.ExceptHookArgs") -> None:
    if issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else None
    error = args.exc_value or args.exc_type()
    logger.bind(event="process.thread_crash", thread=name).opt(
        exception=(args.exc_type, error, args.exc_traceback)
    ).error("Uncaught exception in a thread")


def _on_unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value or args.exc_type()
    logger.bind(event="process.unraisable", where=type(args.object).__name__).opt(
        exception=(args.exc_type, error, args.exc_traceback)
    ).warning("An error that could not be raised")
