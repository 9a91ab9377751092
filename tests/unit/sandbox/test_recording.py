"""Recordings are read as they are: gaps stay, windows follow each other, nothing is invented."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.recording import Reel, Row, from_minute, load, to_minute, widened


def reel(*minutes: int) -> Reel:
    return Reel("KRW-X", {minute: f"1,3,1,2,{minute},5,0\n" for minute in minutes})


def test_the_shipped_recordings_are_what_their_page_says(reels: dict[str, Reel]) -> None:
    assert len(reels) == 36
    btc = reels["KRW-BTC"]
    assert btc.length == 23 * 1440
    assert from_minute(btc.source(0)) == datetime(2025, 9, 1, tzinfo=UTC)
    assert from_minute(btc.source(btc.length - 1)) == datetime(2025, 9, 23, 23, 59, tzinfo=UTC)
    assert sum(row is None for _, row in btc.rows()) == 2
    assert btc.row(0) == Row(
        open=Decimal(150700000),
        high=Decimal(150803000),
        low=Decimal(150640000),
        close=Decimal(150803000),
        volume=Decimal("1.51931528"),
        value=Decimal(229016268),
    )


def test_a_minute_without_trades_stays_empty() -> None:
    found = reel(100, 101, 103)
    assert found.length == 4
    assert [row is None for _, row in found.rows()] == [False, False, True, False]
    assert found.row(2) is None
    assert found.source(3) == 103


def test_long_holes_are_cut_and_windows_follow_each_other() -> None:
    found = reel(100, 102, 1000, 1001, 5000)
    assert [(w.offset, w.source, w.length) for w in found.windows] == [
        (0, 100, 3),
        (3, 1000, 2),
        (5, 5000, 1),
    ]
    assert [found.source(offset) for offset in range(found.length)] == [
        *(100, 101, 102),
        *(1000, 1001),
        5000,
    ]
    row = found.row(4)
    assert row is not None
    assert row.volume == 1001


def test_files_are_read_by_market_and_minute(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "candles_1m_x.csv.gz", "wt") as file:
        file.write("market,ts_utc,open,high,low,close,volume,value,value_est\n")
        file.write("KRW-B,2025-01-01T23:59:00Z,1,1,1,1,2,2,0\n")
        file.write("KRW-A,2025-01-02T00:00:00Z,1,1,1,1,2,2,0\n")
    found = load(tmp_path)
    assert list(found) == ["KRW-A", "KRW-B"]
    assert from_minute(found["KRW-B"].source(0)) == datetime(2025, 1, 1, 23, 59, tzinfo=UTC)


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="candles_1m"):
        load(tmp_path)


def test_minutes_are_counted_from_the_epoch() -> None:
    at = datetime(2025, 1, 1, 12, 34, 56, tzinfo=UTC)
    assert from_minute(to_minute(at)) == at.replace(second=0)


def test_invented_markets_play_a_recorded_one(reels: dict[str, Reel]) -> None:
    wide = widened(reels, 200)
    assert len(wide) == 200
    assert wide.items() >= reels.items()
    invented = wide["KRW-X199"]
    assert (invented.market, invented.length >= 1440) == ("KRW-X199", True)
    assert invented.row(5) in {reels[name].row(5) for name in reels}
    assert widened(reels, 0) == reels
