"""What could be seen of a recording at an instant, and never more."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.backtest.candle_history import Tape, middle, walk
from jobs.core.errors import BadData
from jobs.upbit.wire import Candle

START = datetime(2026, 1, 5, 23, 58, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def candle(
    number: int, prices: tuple[int, int, int, int] = (100, 120, 90, 110), unit: int = 1
) -> Candle:
    opened, high, low, close = map(Decimal, prices)
    return Candle(
        market="KRW-BTC",
        unit=unit,
        ts=START + number * unit * MINUTE,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=Decimal(2),
        value=Decimal(200),
    )


def at(seconds: float, minutes: int = 0) -> datetime:
    return START + timedelta(minutes=minutes, seconds=seconds)


@pytest.mark.parametrize(
    ("second", "rising", "falling"),
    [
        (0, 100, 110),
        (10, 100, 110),
        (14.9, 100, 110),
        (20, 90, 120),
        (30, 105, 105),
        (40, 120, 90),
        (50, 110, 100),
        (59, 110, 100),
    ],
)
def test_the_price_walks_over_both_extremes(second: float, rising: int, falling: int) -> None:
    up, down = candle(0), candle(0, (110, 120, 90, 100))
    assert Tape({"KRW-BTC": [up]}).price("KRW-BTC", at(second)) == rising
    assert Tape({"KRW-BTC": [down]}).price("KRW-BTC", at(second)) == falling


def test_a_longer_candle_is_walked_slower() -> None:
    tape = Tape({"KRW-BTC": [candle(0, unit=5)]})
    seen = [tape.price("KRW-BTC", at(0, minute)) for minute in range(5)]
    assert seen == [100, 100, 90, 120, 110]


def test_half_way_is_a_valid_price_and_never_outside_the_candle() -> None:
    assert middle(candle(0, (100, 103, 100, 103))) == 101
    assert middle(candle(0, (100, 100, 100, 100))) == 100
    assert walk(candle(0, (7, 7, 7, 7)), 0.5) == 7


def test_without_a_trade_the_last_close_stays() -> None:
    tape = Tape({"KRW-BTC": [candle(0), candle(3, (200, 200, 200, 200))]})
    assert tape.price("KRW-BTC", at(30, 2)) == 110
    assert [*tape.range("KRW-BTC", at(30, 2))] == [110, 110]
    assert tape.price("KRW-BTC", at(0, 3)) == 200
    assert [*tape.range("KRW-BTC", at(30, 0))] == [90, 120]


def test_before_the_first_candle_there_is_no_price() -> None:
    other = candle(5)
    tape = Tape({"KRW-BTC": [candle(0)], "KRW-ETH": [other]})
    assert tape.price("KRW-ETH", at(0, 2)) is None
    assert [*tape.range("KRW-ETH", at(0, 2))] == [0, 0]


def test_windows_hold_what_has_ended_to_the_microsecond() -> None:
    tape = Tape({"KRW-BTC": [candle(number) for number in range(4)]})
    just_before = at(0, 2) - timedelta(microseconds=1)
    assert [c.ts for c in tape.window("KRW-BTC", 9, just_before)] == [at(0)]
    assert [c.ts for c in tape.window("KRW-BTC", 9, at(0, 2))] == [at(0), at(0, 1)]
    assert [c.ts for c in tape.window("KRW-BTC", 1, at(0, 2))] == [at(0, 1)]


def test_a_day_counts_the_candles_of_24_hours_that_have_ended() -> None:
    reel = Tape({"KRW-BTC": [candle(0), candle(1), candle(1441)]}).reels["KRW-BTC"]
    assert [*reel.day_totals(at(0, 1))] == [2, 200]
    assert [*reel.day_totals(at(0, 2))] == [4, 400]
    assert [*reel.day_totals(at(0, 1441))] == [2, 200]
    assert [*reel.day_totals(at(0, 1442))] == [2, 200]
    assert [*reel.day_totals(at(0, 4000))] == [0, 0]


def test_begin_end_and_count_are_of_all_markets() -> None:
    tape = Tape({"KRW-BTC": [candle(0), candle(1)], "KRW-ETH": [candle(7)], "KRW-XRP": []})
    assert (tape.first, tape.end) == (at(0), at(0, 8))
    assert tape.count(at(0), at(0, 7)) == 2
    assert tape.count(at(0, 1), tape.end) == 2


def test_disorder_and_mixed_lengths_are_refused() -> None:
    with pytest.raises(BadData, match="order"):
        Tape({"KRW-BTC": [candle(1), candle(0)]})
    with pytest.raises(BadData, match="one length"):
        Tape({"KRW-BTC": [candle(1)], "KRW-ETH": [candle(1, unit=5)]})
    with pytest.raises(BadData, match="one length"):
        Tape({"KRW-BTC": []})
