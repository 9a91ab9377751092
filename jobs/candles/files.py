"""Recorded candles in files: CSV, gzip or not, read by the names of their columns.

    market     market, code; without it the code that stands in the file's name
    start      ts_utc, date_time_utc, candle_date_time_utc (UTC); the same with kst (Korean time);
               ts, time, datetime: only with Z or an offset in every row
    prices     open high low close, or opening_price high_price low_price trade_price
    turnover   volume value, or (candle_)acc_trade_volume (candle_)acc_trade_price
    unit       where it is there, minutes

So the exchange's own files are read, those it offers for download and those of its guide.

Other columns are left alone. A row without prices is a minute without a trade. Whatever else does
not fit is refused by file and line: a candle that is read wrongly costs more than one not read.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from pathlib import Path
from typing import Final, TextIO

from jobs.core.errors import BadData
from jobs.upbit.wire import Candle

PATTERNS: Final = (
    "candles_1m_*.csv.gz",
    "candles_1m_*.csv",
    "*_candle-1m_*.csv.gz",
    "*_candle-1m_*.csv",
)
KST: Final = timezone(timedelta(hours=9), "KST")
NUMBERS: Final = ("open", "high", "low", "close", "volume", "value")
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "market": ("market", "code"),
    "open": ("open", "opening_price"),
    "high": ("high", "high_price"),
    "low": ("low", "low_price"),
    "close": ("close", "trade_price"),
    "volume": ("volume", "candle_acc_trade_volume", "acc_trade_volume"),
    "value": ("value", "candle_acc_trade_price", "acc_trade_price"),
}
STARTS: Final[Mapping[str, timezone | None]] = {
    "ts_utc": UTC,
    "date_time_utc": UTC,
    "candle_date_time_utc": UTC,
    "ts_kst": KST,
    "date_time_kst": KST,
    "candle_date_time_kst": KST,
    "ts": None,
    "time": None,
    "datetime": None,
}
"""Columns of starts, the best first, and the zone that their name states."""

EXPECTED: Final = "market, ts_utc, open, high, low, close, volume, value"
_MARKET = re.compile(r"(KRW|BTC|USDT)-[A-Z0-9]{1,20}")
_START = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_PLAIN = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?(,[0-9]{1,20}(\.[0-9]{1,20})?){5}", re.ASCII)
_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_MOST_ADJUSTED = 30
_LONGEST_FIELD = 100
_GRIDS = (1440, 240, 60, 30, 15, 10, 5, 3)
_ENOUGH, _ENOUGH_EVEN = 8, 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Row:
    """One candle as it stands in a file; `texts` are the six of NUMBERS."""

    line: int
    market: str
    ts: datetime
    texts: tuple[str, ...]


def files_in(place: Path) -> list[Path]:
    """The recordings in a folder, or the one file. Raises FileNotFoundError without any."""
    if place.is_file():
        return [place]
    files = sorted({file for pattern in PATTERNS for file in place.glob(pattern)})
    if not files:
        raise FileNotFoundError(f"no {' or '.join(PATTERNS)} in {place}")
    return files


def rows_of(file: Path) -> Iterator[Row]:
    """Every minute with a trade, in the file's order. Raises BadData, and OSError as open does."""
    with _opened(file) as stream:
        reader = csv.reader(stream, delimiter=_delimiter(stream), strict=True)
        columns = _Columns.of(file, next(reader, []))
        grids: dict[str, _Grid] = {}
        for fields in reader:
            if (row := columns.row(reader.line_num, fields)) is not None:
                if (grid := grids.get(row.market)) is None:
                    grid = grids[row.market] = _Grid()
                if grid.is_open:
                    grid.add(row.ts)
                yield row
        for market, grid in grids.items():
            if (unit := grid.unit) is not None:
                raise BadData(
                    f"{file.name}: all candles of {market} begin on the grid of {unit} minutes: "
                    "they seem to be longer ones; give one-minute candles (/v1/candles/minutes/1)"
                )


def candle_of(file: Path, row: Row) -> Candle:
    """The row's candle. Raises BadData unless its numbers are those of one."""
    opened, high, low, close, volume, value = _numbers(file, row)
    if not (0 < low <= opened <= high and low <= close <= high):
        raise bad(
            file,
            row.line,
            f"open {opened}, high {high}, low {low}, close {close}: prices are above 0, "
            "and open and close lie between low and high",
        )
    if volume < 0 or value < 0:
        raise bad(file, row.line, f"volume {volume}, value {value}: neither is below 0")
    return Candle(
        market=row.market,
        unit=1,
        ts=row.ts,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        value=value,
    )


def bad(file: Path, line: int, what: str) -> BadData:
    """The error that names file and line."""
    return BadData(f"{file.name}, line {line}: {what}")


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    """The file as text, whatever it is packed in; what it cannot be is BadData."""
    try:
        with file.open("rb") as raw:
            begin = raw.read(2)
            if begin == _ZIP:
                raise BadData(f"{file.name}: a zip archive; unpack it and give the CSV file")
            raw.seek(0)
            content = gzip.open(raw) if begin == _GZIP else raw  # noqa: SIM115 - closed with `raw`
            with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise BadData(f"{file.name}: damaged or cut off gzip ({exc})") from exc
    except UnicodeDecodeError as exc:
        raise BadData(f"{file.name}: not UTF-8 text, byte {exc.start}") from exc
    except csv.Error as exc:
        raise BadData(f"{file.name}: not CSV ({exc})") from exc


def _delimiter(stream: TextIO) -> str:
    heading = stream.readline()
    stream.seek(0)
    return max(",;\t", key=heading.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where a file has what."""

    file: Path
    count: int
    market: int | None
    named: str
    start: int
    zone: timezone | None
    numbers: Callable[[list[str]], tuple[str, ...]]
    unit: int | None
    _starts: dict[str, datetime] = field(default_factory=dict)
    _markets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path, heading: list[str]) -> "_Columns":
        """The columns of this heading. Raises BadData unless each that is needed is there once."""
        names = [each.strip().lower() for each in heading]
        start = next((name for name in STARTS if name in names), None)
        found = {key: _where(file, names, spellings) for key, spellings in NAMES.items()}
        named = _MARKET.search(file.name.upper())
        missing = [key for key, place in found.items() if place is None]
        if named is not None and "market" in missing:
            missing.remove("market")
        if start is None:
            missing.append("ts_utc")
        if missing or start is None:
            shown = ",".join(heading)[:_LONGEST_FIELD]
            raise bad(
                file,
                1,
                f"no column {', '.join(missing)} in the heading {shown!r}; expected {EXPECTED} "
                "in any order (the market may stand in the file's name), or Upbit's names",
            )
        return cls(
            file=file,
            count=len(names),
            market=found["market"],
            named="" if named is None else named[0],
            start=names.index(start),
            zone=STARTS[start],
            numbers=itemgetter(*(found[name] or 0 for name in NUMBERS)),
            unit=names.index("unit") if "unit" in names else None,
        )

    def row(self, line: int, fields: list[str]) -> Row | None:
        """What the line says; None for one that is empty or without prices."""
        if len(fields) != self.count:
            if not any(fields):
                return None
            raise bad(self.file, line, f"{len(fields)} fields, {self.count} in the heading")
        texts = self.numbers(fields)
        if not any(texts) or not any(map(str.strip, texts)):
            return None
        text = self.named if self.market is None else fields[self.market]
        if (market := self._markets.get(text)) is None:
            market = self._markets[text] = self._read_market(line, text)
        text = fields[self.start]
        if (ts := self._starts.get(text)) is None:
            ts = self._starts[text] = self._read_start(line, text)
        if self.unit is not None and fields[self.unit].strip() != "1":
            raise bad(self.file, line, f"unit {fields[self.unit]!r}; one-minute candles are read")
        return Row(line, market, ts, texts)

    def _read_market(self, line: int, text: str) -> str:
        market = text.strip().upper()
        if not _MARKET.fullmatch(market):
            raise bad(self.file, line, f"market {text[:_LONGEST_FIELD]!r} is no code as KRW-BTC")
        return market

    def _read_start(self, line: int, text: str) -> datetime:
        shown, text = repr(text[:_LONGEST_FIELD]), text.strip()
        matched = _START.fullmatch(text)
        if matched is None:
            raise bad(self.file, line, f"{shown} is no start as 2025-09-01T00:00:00Z")
        if matched["zone"] is None and self.zone is None:
            raise bad(
                self.file,
                line,
                f"{shown} has no zone: write 2025-09-01T00:00:00Z or +09:00, or name the column "
                "ts_utc or ts_kst",
            )
        try:
            at = datetime.fromisoformat(text)
        except ValueError as exc:
            raise bad(self.file, line, f"{shown} is no start: {exc}") from exc
        start = (at if at.tzinfo else at.replace(tzinfo=self.zone)).astimezone(UTC)
        if (start - _EPOCH) % _MINUTE:
            raise bad(self.file, line, f"{shown} is not the beginning of a minute")
        return start


def _where(file: Path, names: list[str], spellings: Collection[str]) -> int | None:
    places = [place for place, name in enumerate(names) if name in spellings]
    if len(places) > 1:
        raise bad(file, 1, f"more than one column for {' or '.join(spellings)}")
    return places[0] if places else None


def _numbers(file: Path, row: Row) -> Iterable[Decimal]:
    if _PLAIN.fullmatch(",".join(row.texts)):  # nearly always, and three times as quick
        return map(Decimal, row.texts)
    return [_number(file, row, name, text) for name, text in zip(NUMBERS, row.texts, strict=True)]


def _number(file: Path, row: Row, name: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > _MOST_ADJUSTED or "_" in text:
        raise bad(file, row.line, f"{name} {text[:_LONGEST_FIELD]!r} is not a number")
    return number


@dataclass(slots=True)
class _Grid:
    """The distances between one market's starts: longer candles give themselves away."""

    _count: int = 0
    _on: tuple[int, ...] = _GRIDS
    _last: int | None = None
    _steps: set[int] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        """Whether they may still turn out to be longer ones."""
        return bool(self._on)

    def add(self, ts: datetime) -> None:
        """Take note of a candle."""
        minute = (ts - _EPOCH) // _MINUTE
        self._count += 1
        self._on = tuple(grid for grid in self._on if minute % grid == 0)
        if self._last is not None and minute != self._last:
            self._steps.add(abs(minute - self._last))
        self._last = minute

    @property
    def unit(self) -> int | None:
        """Of how many minutes these candles seem to be; None: of one."""
        is_even = len(self._steps) == 1 and self._count >= _ENOUGH_EVEN
        if not self._on or not (is_even or self._count >= _ENOUGH):
            return None
        return self._on[0]
