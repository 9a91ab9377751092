"""Reading recorded candles from files."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from jobs.backtest.recordings import read_files

HEAD = "market,ts_utc,open,high,low,close,volume,value,value_est\n"
ROWS = [
    "KRW-ETH,2025-09-01T00:01:00Z,5,6,4,5.5,1.25,7,1",
    "KRW-BTC,2025-09-01T00:01:00Z,1,3,1,2,0.1,0.2,0",
    "KRW-BTC,2025-09-01T00:00:00Z,1,2,1,2,0.1,0.2,0",
]


def write(folder: Path, rows: list[str], name: str = "candles_1m_a.csv.gz") -> Path:
    with gzip.open(folder / name, "wt", encoding="ascii") as file:
        file.write(HEAD + "".join(f"{row}\n" for row in rows))
    return folder


def instant(minute: int, second: int = 0) -> datetime:
    return datetime(2025, 9, 1, 0, minute, second, tzinfo=UTC)


def test_rows_become_candles_in_order_by_market(tmp_path: Path) -> None:
    found = read_files(write(tmp_path, ROWS), (), since=None, until=None)
    assert list(found) == ["KRW-BTC", "KRW-ETH"]
    assert [each.ts for each in found["KRW-BTC"]] == [instant(0), instant(1)]
    (ether,) = found["KRW-ETH"]
    assert [ether.open, ether.high, ether.low, ether.close] == [5, 6, 4, Decimal("5.5")]
    assert [ether.volume, ether.value, ether.unit] == [Decimal("1.25"), 7, 1]


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    assert list(read_files(tmp_path, ["KRW-ETH"], since=None, until=None)) == ["KRW-ETH"]
    late = read_files(tmp_path, (), since=instant(0, 1), until=None)
    assert [each.ts for each in late["KRW-BTC"]] == [instant(1)]
    early = read_files(tmp_path, (), since=None, until=instant(1))
    assert list(early) == ["KRW-BTC"]
    korean = instant(1).astimezone(datetime.fromisoformat("2025-09-01T09:00+09:00").tzinfo)
    assert read_files(tmp_path, (), since=korean, until=korean + timedelta(minutes=1)).keys() == {
        "KRW-BTC",
        "KRW-ETH",
    }


def test_of_two_files_the_later_one_counts(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    write(tmp_path, [ROWS[1].replace(",1,3,1,2,", ",1,3,1,3,")], "candles_1m_b.csv.gz")
    found = read_files(tmp_path, ["KRW-BTC"], since=None, until=None)
    assert [each.close for each in found["KRW-BTC"]] == [2, 3]


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        read_files(tmp_path, (), since=None, until=None)
