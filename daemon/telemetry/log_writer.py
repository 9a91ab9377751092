"""A thread between the daemon and an output of its log: whoever logs never waits for a reader.

A pipe that nobody reads, a terminal stopped by Ctrl-S or a disk that hangs blocks this thread and
nothing else. What waits is bounded: first the less important lines are dropped, then errors, and
the lines that stand for slots never. What was dropped is counted and said.
"""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.telemetry.log_sinks import Output

MB = 2**20
CEILINGS: Mapping[str, int] = {
    "TRACE": 4 * MB,
    "DEBUG": 4 * MB,
    "INFO": 8 * MB,
    "WARNING": 12 * MB,
    "ERROR": 16 * MB,
    "CRITICAL": 24 * MB,
}
"""How much may wait when a line of this level comes and is still kept."""
STALLED_S = 5.0
Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Called with event, message and fields of what has to be said about an output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputState:
    """How an output does: `fault` is None while it works, `lost` counts lines that it lacks."""

    name: str
    fault: str | None
    lost: int
    waiting: int


class LogWriter:
    """Hands lines to an output in a thread of its own.

    `elsewhere` is told once when the output fails or stands still, and `here` of the lines that
    were dropped once it goes on; neither may block.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        *,
        elsewhere: Tell = lambda *_: None,
        here: Tell = lambda *_: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.output = output
        self._elsewhere = elsewhere
        self._here = here
        self._monotonic = monotonic
        # reentrant, for a signal handler that logs, and held for a few instructions only: never
        # while anything is written
        self._changed = threading.Condition(threading.RLock())
        self._lines: deque[tuple[str, int]] = deque()
        self._waiting_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_ever = 0
        self._began_s: float | None = None
        self._is_told = False
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def put(self, line: str, level: str, *, always: bool = False) -> None:
        """Take a line; return at once. `always` keeps it however much waits."""
        size = len(line)
        with self._changed:
            if self._is_closing:
                return
            if always or self._waiting_bytes + size <= CEILINGS.get(level, CEILINGS["INFO"]):
                self._lines.append((line, size))
                self._waiting_bytes += size
                self._changed.notify()
            else:
                self._dropped[level] += 1
                self._dropped_ever += 1
            self._start()
        self._report_stall()

    def state(self) -> OutputState:
        """How the output does now. From any thread."""
        return OutputState(
            name=self.name,
            fault=self._stall() or self.output.fault,
            lost=self._dropped_ever + self.output.lost,
            waiting=len(self._lines),
        )

    def begin_close(self) -> None:
        """Take nothing more; the thread ends when what waits is written."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def finish(self, within_s: float) -> int:
        """Wait for the end of the thread; return how many lines are unwritten."""
        if self._thread is None:
            self._run()
        elif self._thread is not threading.current_thread():
            self._thread.join(max(0.0, within_s))
        left = len(self._lines) + (self._began_s is not None)
        if not left:
            self.output.close()
        return left

    def _start(self) -> None:
        if self._thread is None:
            # a daemon thread: one that hangs in a write must not keep the process from ending
            thread = threading.Thread(target=self._run, name=f"log {self.name}", daemon=True)
            # no thread to be had: `finish` writes what waits
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while (line := self._next()) is not None:
            self._began_s = self._monotonic()
            self.output.write(line)
            self._began_s = None
            self._report()

    def _next(self) -> str | None:
        with self._changed:
            while not self._lines:
                if self._is_closing:
                    return None
                self._changed.wait()
            line, size = self._lines.popleft()
            self._waiting_bytes -= size
            return line

    def _stall(self) -> str | None:
        began_s = self._began_s
        if began_s is None or (stood_s := self._monotonic() - began_s) < STALLED_S:
            return None
        return f"takes nothing for {stood_s:.0f} s (nobody reads it, or the disk hangs)"

    def _report_stall(self) -> None:
        if not self._is_told and (stall := self._stall()) is not None:
            self._is_told = True
            self._elsewhere("log.output_failed", "A log output does not work", self._fields(stall))

    def _report(self) -> None:
        """After a line: say what is wrong, or that it goes on and what is missing."""
        if (fault := self.output.fault) is not None:
            if not self._is_told:
                self._is_told = True
                fields = self._fields(fault)
                self._elsewhere("log.output_failed", "A log output does not work", fields)
            return
        if self._is_told:
            self._is_told = False
            self._elsewhere("log.output_works", "A log output works again", self._fields(None))
        if self._dropped and not self._lines:
            with self._changed:
                dropped, self._dropped = self._dropped, Counter()
            fields = {"output": self.name, "lines": dropped.total(), "levels": dict(dropped)}
            self._here("log.dropped", "Log lines were dropped while the output stood still", fields)

    def _fields(self, fault: str | None) -> dict[str, Any]:
        return {"output": self.name, "fault": fault, "lost": self.state().lost}
