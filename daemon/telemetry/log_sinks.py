"""Where log lines go: a stream that may break, and a file that is rotated.

An output never raises: a daemon that trades must not stop because nobody can read its log. It may
block, on a full pipe for example; `daemon.telemetry.log_writer` keeps that from everybody else.
"""

import contextlib
import os
import select
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TextIO

from daemon.process.file_modes import make_folders

ROOM_WAIT_MS = 1000


class Output(Protocol):
    """Takes finished lines. `fault` says why the newest line could not be written, None when it
    was; `lost` counts those that were not.
    """

    lost: int
    fault: str | None

    def write(self, line: str) -> None:
        """Write one line now. Never raises."""
        ...

    def reopen(self) -> None:
        """Open anew before the next line; may be called from any thread."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class LineWriter:
    """Writes lines to a descriptor in full, however little it takes at once.

    Straight to the descriptor: a buffer of Python's would be locked by a writer that hangs, and
    the interpreter ends with an abort when it finds it so.
    """

    def __init__(self, number: int, *, is_torn: bool = False) -> None:
        self.number = number
        self.is_torn = is_torn
        """Whether the last line has no end, so that the next one must begin with it."""

    def write(self, line: bytes) -> None:
        """Write one line. Raises OSError; then a part of it may stand there."""
        left = memoryview(b"\n" + line if self.is_torn else line)
        size = len(left)
        try:
            while left:
                try:
                    left = left[os.write(self.number, left) :]
                except BlockingIOError:  # somebody made the pipe or terminal non-blocking
                    _await_room(self.number)
        finally:
            if len(left) != size:
                self.is_torn = bool(left)


def _await_room(number: int) -> None:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    poll.poll(ROOM_WAIT_MS)


class StreamOutput:
    """A text stream, as UTF-8 whatever the locale."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        number = descriptor_of(stream)
        self._writer = None if number is None else LineWriter(number)
        self.lost = 0
        self.fault: str | None = None

    @property
    def can_block(self) -> bool:
        """Whether a write may wait for a reader: a stream in memory never does."""
        return self._writer is not None

    def write(self, line: str) -> None:
        """Write one line."""
        try:
            if self._writer is None:
                self._stream.write(line)
                self._stream.flush()
            else:
                self._writer.write(line.encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            self._fail("its reader is gone")
            self._to_nowhere()
        except (OSError, ValueError) as exc:  # disk full; closed
            self._fail(reason(exc))
        else:
            if self.fault != "its reader is gone":
                self.fault = None

    def _fail(self, why: str) -> None:
        self.lost += 1
        self.fault = why

    def _to_nowhere(self) -> None:
        """Send what follows to /dev/null, so that the exit status stays our own."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def reopen(self) -> None:
        """Do nothing: what a stream is connected to is not ours."""

    def close(self) -> None:
        """Leave the stream open: it is not ours."""


def descriptor_of(stream: TextIO) -> int | None:
    """The stream's descriptor with everything written that waited, None for one in memory."""
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def reason(exc: OSError | ValueError) -> str:
    """What is wrong, in the system's words and without a path."""
    return getattr(exc, "strerror", None) or str(exc)


class RotatingFile:
    """A file that starts anew after so many bytes, or so much time; old ones are removed.

    The old file keeps its name with the instant of the change added. `keep_s` is for how many
    seconds an old file stays. Whoever moves or removes the file (logrotate) finds a new one at its
    name with the next line.
    """

    can_block = True  # a disk may hang as well

    def __init__(self, path: Path, rotation: int | timedelta, keep_s: float) -> None:
        self._path = path
        self._most_bytes = rotation if isinstance(rotation, int) else None
        self._most_s = rotation.total_seconds() if isinstance(rotation, timedelta) else None
        self._keep_s = keep_s
        self._writer: LineWriter | None = None
        self._since_s = 0.0
        self._is_stale = False
        self.lost = 0
        self.fault: str | None = None

    def write(self, line: str) -> None:
        """Append one line, in a new file when the present one is full or gone."""
        data = line.encode("utf-8", "backslashreplace")
        try:
            # a rotation that fails must not cost the line: the old file goes on
            cannot_rotate = self._make_ready(len(data))
            assert self._writer is not None  # noqa: S101 (just opened)
            _append(self._writer, data)
        except OSError as exc:
            self.lost += 1
            self.fault = f"{self._path}: {reason(exc)}"
        else:
            self.fault = cannot_rotate

    def reopen(self) -> None:
        """Open the file by its name before the next line."""
        self._is_stale = True

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                os.close(self._writer.number)
            self._writer = None

    def _make_ready(self, more: int) -> str | None:
        """Have the right file open; return why it could not be put aside."""
        cannot_rotate = None
        if self._writer is not None and (self._is_stale or self._is_moved(self._writer.number)):
            self.close()
        if self._writer is not None and self._is_full(self._writer.number, more):
            try:
                self._rotate()
            except OSError as exc:
                cannot_rotate = f"{self._path} cannot be put aside: {reason(exc)}"
        if self._writer is None:
            self._open()
        return cannot_rotate

    def _open(self) -> None:
        make_folders(self._path.parent)
        # nobody else's business: the log of a trading account
        number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._writer = LineWriter(number, is_torn=self._lacks_line_end(number))
        self._since_s = time.time()
        self._is_stale = False

    def _lacks_line_end(self, number: int) -> bool:
        """Whether a process that was killed, or a full disk, left half a line behind."""
        info = os.fstat(number)
        if not stat.S_ISREG(info.st_mode) or info.st_size == 0:
            return False
        with contextlib.suppress(OSError), self._path.open("rb") as present:
            present.seek(-1, os.SEEK_END)
            return present.read(1) != b"\n"
        return False

    def _is_moved(self, number: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(number)
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _is_full(self, number: int, more: int) -> bool:
        if self._most_bytes is not None:
            size = os.fstat(number).st_size
            return size > 0 and size + more > self._most_bytes
        return self._most_s is not None and time.time() - self._since_s >= self._most_s

    def _rotate(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path.rename(self._path.with_name(f"{self._path.stem}.{stamp}{self._path.suffix}"))
        self.close()
        oldest_s = time.time() - self._keep_s
        for old in self._path.parent.glob(f"{self._path.stem}.*Z{self._path.suffix}"):
            with contextlib.suppress(OSError):
                if old.stat().st_mtime < oldest_s:
                    old.unlink()


def _append(writer: LineWriter, data: bytes) -> None:
    """Append one line, or nothing: on a full disk what fitted is taken away again."""
    before = os.fstat(writer.number).st_size
    was_torn = writer.is_torn
    try:
        writer.write(data)
    except OSError:
        if writer.is_torn:
            with contextlib.suppress(OSError):
                os.ftruncate(writer.number, before)
                writer.is_torn = was_torn
        raise
