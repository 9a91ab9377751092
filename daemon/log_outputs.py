"""Where log lines go: a stream that may break, and a file that is rotated.

An output never raises: a daemon that trades must not stop because nobody can read its log.
"""

import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO


class Output(Protocol):
    """Takes finished lines."""

    def write(self, line: str) -> None:
        """Write one line now. Never raises."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class StreamOutput:
    """A text stream, as UTF-8 whatever the locale. `lost` counts lines that nobody could take."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._binary: BinaryIO | None = getattr(stream, "buffer", None)
        self.lost = 0

    def write(self, line: str) -> None:
        """Write and flush one line."""
        try:
            if self._binary is None:
                self._stream.write(line)
                self._stream.flush()
            else:
                self._binary.write(line.encode("utf-8", "backslashreplace"))
                self._binary.flush()
        except BrokenPipeError:
            self.lost += 1
            self._to_nowhere()
        except (OSError, ValueError):  # disk full; closed
            self.lost += 1

    def _to_nowhere(self) -> None:
        """Send what follows to /dev/null, so that the exit status stays our own."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def close(self) -> None:
        """Leave the stream open: it is not ours."""


class RotatingFile:
    """A file that starts anew after so many bytes, or so much time; old ones are removed.

    The old file keeps its name with the instant of the change added. `keep_s` is for how many
    seconds an old file stays.
    """

    def __init__(self, path: Path, rotation: int | timedelta, keep_s: float) -> None:
        self._path = path
        self._most_bytes = rotation if isinstance(rotation, int) else None
        self._most_s = rotation.total_seconds() if isinstance(rotation, timedelta) else None
        self._keep_s = keep_s
        self._file: BinaryIO | None = None
        self._size = 0
        self._since_s = 0.0
        self.lost = 0

    def write(self, line: str) -> None:
        """Append one line, in a new file when the present one is full."""
        data = line.encode("utf-8", "backslashreplace")
        try:
            if self._file is not None and self._is_full(len(data)):
                self._rotate()
            if self._file is None:
                self._open()
            if self._file is not None:
                self._file.write(data)
                self._size += len(data)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # nobody else's business: the log of a trading account
        number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._file = os.fdopen(number, "ab", buffering=0)
        self._size = self._path.stat().st_size
        self._since_s = time.time()

    def _is_full(self, more: int) -> bool:
        if self._most_bytes is not None:
            return self._size > 0 and self._size + more > self._most_bytes
        return self._most_s is not None and time.time() - self._since_s >= self._most_s

    def _rotate(self) -> None:
        self.close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path.rename(self._path.with_name(f"{self._path.stem}.{stamp}{self._path.suffix}"))
        oldest_s = time.time() - self._keep_s
        for old in self._path.parent.glob(f"{self._path.stem}.*Z{self._path.suffix}"):
            with suppress(OSError):
                if old.stat().st_mtime < oldest_s:
                    old.unlink()
