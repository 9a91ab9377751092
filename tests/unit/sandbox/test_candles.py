"""Candles of every unit are sums of recorded minutes, newest first, gaps and head included."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from sandbox.candles import Candle, Candles, candle_row, change_fields, starts
from sandbox.recording import Reel, from_minute, to_minute
from sandbox.tape import Tape

ORIGIN = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
NOW = datetime(2026, 11, 12, 7, 13, 40, tzinfo=UTC)


@pytest.fixture
def tape(reels: dict[str, Reel]) -> Tape:
    return Tape(reels, origin=ORIGIN)


@pytest.fixture
def candles(tape: Tape) -> Candles:
    return Candles(tape)


def newest(
    candles: Candles, market: str, unit: str, count: int = 200, before: datetime | None = None
) -> list[Candle]:
    return candles.newest(market, unit, count=count, before=before, now=NOW)


@pytest.mark.parametrize(
    ("unit", "start"),
    [
        ("1", datetime(2026, 11, 12, 7, 13, tzinfo=UTC)),
        ("3", datetime(2026, 11, 12, 7, 12, tzinfo=UTC)),
        ("240", datetime(2026, 11, 12, 4, tzinfo=UTC)),
        ("days", datetime(2026, 11, 12, tzinfo=UTC)),
        ("weeks", datetime(2026, 11, 9, tzinfo=UTC)),
        ("months", datetime(2026, 11, 1, tzinfo=UTC)),
        ("years", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_head_is_the_unfinished_candle(candles: Candles, unit: str, start: datetime) -> None:
    (head,) = newest(candles, "KRW-BTC", unit, 1)
    assert (starts(unit)(NOW), head.start) == (start, start)
    assert head.last_ms <= NOW.timestamp() * 1000


@pytest.mark.parametrize("unit", [3, 5, 10, 15, 30, 60, 240])
def test_larger_units_sum_up_minutes(candles: Candles, tape: Tape, unit: int) -> None:
    market = "KRW-DOGE"  # has gaps
    for candle in newest(candles, market, str(unit), 5):
        begin = to_minute(candle.start)
        rows = [tape.row_at(market, minute, NOW) for minute in range(begin, begin + unit)]
        found = [row for row in rows if row is not None]
        assert candle.row.open == found[0].open
        assert candle.row.close == found[-1].close
        assert candle.row.high == max(row.high for row in found)
        assert candle.row.low == min(row.low for row in found)
        assert candle.row.volume == sum((row.volume for row in found), Decimal(0))
        assert candle.row.value == sum((row.value for row in found), Decimal(0))


def test_days_weeks_months_and_years_agree(candles: Candles) -> None:
    days = newest(candles, "KRW-ETH", "days")
    assert [day.start.day for day in days] == list(range(12, 1, -1))
    for unit in ("weeks", "months", "years"):
        total = sum((each.row.volume for each in newest(candles, "KRW-ETH", unit)), Decimal(0))
        assert total == sum((day.row.volume for day in days), Decimal(0))


def test_minutes_are_newest_first_and_a_gap_is_no_row(candles: Candles, tape: Tape) -> None:
    market = "KRW-ZBT"
    found = newest(candles, market, "1")
    minutes = [to_minute(candle.start) for candle in found]
    assert minutes == sorted(minutes, reverse=True)
    expected = [m for m in range(minutes[-1], to_minute(NOW)) if tape.row(market, m) is not None]
    assert sorted(minutes)[: len(expected)] == expected
    assert len(found) == 200
    assert minutes[0] - minutes[-1] > 199


def test_before_is_exclusive(candles: Candles) -> None:
    at = NOW.replace(minute=0, second=0)
    assert newest(candles, "KRW-BTC", "1", 1, at)[0].start == at - timedelta(minutes=1)
    just_after = at + timedelta(seconds=1)
    assert newest(candles, "KRW-BTC", "1", 1, just_after)[0].start == at
    assert newest(candles, "KRW-BTC", "60", 1, at)[0].start == at - timedelta(hours=1)
    future = NOW + timedelta(days=9)
    assert newest(candles, "KRW-BTC", "1", 1, future) == newest(candles, "KRW-BTC", "1", 1)


def test_history_ends_where_the_tape_begins(candles: Candles) -> None:
    early = newest(candles, "KRW-BTC", "1", 200, ORIGIN + timedelta(minutes=5))
    first = to_minute(ORIGIN)
    assert [c.start for c in early] == [from_minute(first + m) for m in range(4, -1, -1)]
    assert newest(candles, "KRW-BTC", "days", 5, ORIGIN) == []


def test_a_finished_candle_never_changes(candles: Candles) -> None:
    at = NOW.replace(minute=0, second=0)
    first = candles.newest("KRW-BTC", "60", count=3, before=at, now=NOW)
    later = candles.newest("KRW-BTC", "60", count=3, before=at, now=NOW + timedelta(days=1))
    assert first == later


def test_seconds_are_made_of_trades(candles: Candles, tape: Tape) -> None:
    found = newest(candles, "KRW-BTC", "seconds", 40)
    assert len(found) == 40
    assert [c.start for c in found] == sorted({c.start for c in found}, reverse=True)
    minute = to_minute(NOW) - 1
    row = tape.row("KRW-BTC", minute)
    assert row is not None
    inside = [c for c in newest(candles, "KRW-BTC", "seconds") if to_minute(c.start) == minute]
    assert sum((c.row.volume for c in inside), Decimal(0)) == row.volume
    assert (inside[-1].row.open, inside[0].row.close) == (row.open, row.close)
    assert newest(candles, "KRW-BTC", "seconds", 5, ORIGIN) == []


def test_seconds_are_kept_for_three_months(reels: dict[str, Reel]) -> None:
    old = Candles(Tape(reels, origin=NOW - timedelta(days=92)))
    before = NOW - timedelta(days=89, hours=23, minutes=59, seconds=30)
    found = old.newest("KRW-BTC", "seconds", count=200, before=before, now=NOW)
    assert found
    assert min(c.start for c in found) >= NOW - timedelta(days=90, seconds=1)


def test_a_row_shows_both_times_and_the_last_tick(candles: Candles) -> None:
    (candle,) = newest(candles, "KRW-BTC", "60", 1)
    row = candle_row("KRW-BTC", candle)
    assert row["candle_date_time_utc"] == "2026-11-12T07:00:00"
    assert row["candle_date_time_kst"] == "2026-11-12T16:00:00"
    assert row["timestamp"] == candle.last_ms


def test_changes_are_signed() -> None:
    change = change_fields(Decimal(99), Decimal(100))
    assert change["change_price"] == -1
    assert change["change_rate"] == Decimal("-0.01")
