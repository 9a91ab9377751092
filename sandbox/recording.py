"""Recorded candles as reels: minutes in a row that can be played from any instant, in a loop.

A missing minute is a minute without a trade and stays one. A recording that consists of windows
with long holes between them (the small markets) is cut: the windows follow each other directly.
"""

import gzip
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from jobs.candles import files as candle_files
from jobs.core.errors import BadData

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_HOLE_MIN = 60
SHIPPED = Path(__file__).parent / "data"
CACHED_ROWS = 20_000
DAY_MIN = 1440


def to_minute(at: datetime) -> int:
    """The minute that `at` lies in, counted from the epoch."""
    return (at - EPOCH) // timedelta(minutes=1)


def from_minute(minute: int) -> datetime:
    """The instant at which a minute counted from the epoch begins."""
    return EPOCH + timedelta(minutes=minute)


@dataclass(frozen=True, slots=True)
class Row:
    """A minute's trades; `value` is the turnover in quote currency."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the recording: minutes from `source` on play from `offset` on."""

    offset: int
    source: int
    length: int


class Reel:
    """One market's recording. Offsets are minutes since its start, windows joined."""

    def __init__(self, market: str, lines: dict[int, str]) -> None:
        self.market = market
        self.windows = tuple(_windows(sorted(lines)))
        self.length = sum(window.length for window in self.windows)
        self._starts = [window.offset for window in self.windows]
        self._lines = lines
        self._parsed = lru_cache(maxsize=CACHED_ROWS)(_parse)

    def source(self, offset: int) -> int:
        """The recorded minute (from the epoch) that plays at `offset`."""
        window = self.windows[bisect_right(self._starts, offset) - 1]
        return window.source + offset - window.offset

    def row(self, offset: int) -> Row | None:
        """The recorded minute at `offset`, or None where nobody traded."""
        line = self._lines.get(self.source(offset))
        return None if line is None else self._parsed(line)

    def rows(self) -> Iterator[tuple[int, Row | None]]:
        """Every offset with its minute, without filling the cache."""
        for window in self.windows:
            for step in range(window.length):
                line = self._lines.get(window.source + step)
                yield window.offset + step, None if line is None else _parse(line)


def load(folder: Path) -> dict[str, Reel]:
    """Read every recording in `folder`, or the one file (jobs/candles/files.py).

    Raises FileNotFoundError if there is none, BadData for a file that is not what it should be.
    """
    lines: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for file in candle_files.files_in(folder):
        if folder == SHIPPED:
            _read(file, lines)
        else:
            _read_checked(file, lines)
    if not lines:
        raise BadData(f"the recordings in {folder} have no candle")
    return {market: Reel(market, found) for market, found in sorted(lines.items())}


def widened(reels: Mapping[str, Reel], count: int) -> dict[str, Reel]:
    """At least `count` markets: beside the recorded ones, invented names that play one of them."""
    found = dict(reels)
    source = min(found.values(), key=lambda reel: (reel.length < DAY_MIN, reel.length))
    while len(found) < count:
        copied = copy(source)
        copied.market = f"KRW-X{len(found):03d}"
        found[copied.market] = copied
    return found


def _read_checked(file: Path, lines: defaultdict[str, dict[int, str]]) -> None:
    for row in candle_files.rows_of(file):
        candle = candle_files.candle_of(file, row)
        if candle.volume or candle.value:
            lines[row.market][to_minute(row.ts)] = ",".join(row.texts)


def _read(file: Path, lines: defaultdict[str, dict[int, str]]) -> None:
    """Read a shipped file, whose form a test holds: no start of a sandbox waits for checks."""
    days: dict[str, int] = {}
    with gzip.open(file, "rt", encoding="ascii") as stream:
        next(stream)
        for line in stream:
            market, ts, rest = line.split(",", 2)
            day = ts[:10]
            if day not in days:
                days[day] = to_minute(datetime.fromisoformat(day).replace(tzinfo=UTC))
            lines[market][days[day] + int(ts[11:13]) * 60 + int(ts[14:16])] = rest


def _parse(line: str) -> Row:
    return Row(*map(Decimal, line.split(",", 6)[:6]))


def _windows(minutes: list[int]) -> Iterator[Window]:
    offset, start, last = 0, minutes[0], minutes[0]
    for minute in minutes[1:]:
        if minute - last > LONG_HOLE_MIN:
            yield Window(offset, start, last - start + 1)
            offset, start = offset + last - start + 1, minute
        last = minute
    yield Window(offset, start, last - start + 1)
