"""The tape plays the recording exactly, and walks inside a minute without leaving its range."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.upbit.ticks import is_on_tick
from sandbox.recording import Reel, from_minute, to_minute
from sandbox.tape import Tape, from_ms, plain, to_ms, trades_until

ORIGIN = datetime(2026, 11, 2, tzinfo=UTC)
END_OF_MINUTE = timedelta(seconds=59.999)


@pytest.fixture
def tape(reels: dict[str, Reel]) -> Tape:
    return Tape(reels, origin=ORIGIN)


@pytest.mark.parametrize("market", ["KRW-BTC", "KRW-DOGE", "KRW-BLUR", "KRW-ZBT", "KRW-AQT"])
def test_the_trades_of_a_minute_make_its_recorded_candle(tape: Tape, market: str) -> None:
    for minute in range(tape.first, tape.first + 400):
        row = tape.row(market, minute)
        trades = tape.trades(market, minute)
        if row is None:
            assert trades == ()
            continue
        prices = [trade.price for trade in trades]
        assert (prices[0], prices[-1]) == (row.open, row.close)
        assert (max(prices), min(prices)) == (row.high, row.low)
        assert sum((trade.volume for trade in trades), Decimal(0)) == row.volume
        assert (trades[-1].done, trades[-1].turnover) == (row.volume, row.value)
        assert all(trade.volume >= 0 for trade in trades)
        assert {from_ms(trade.ms).replace(second=0, microsecond=0) for trade in trades} == {
            from_minute(minute)
        }
        assert len({trade.sequential_id for trade in trades}) == len(trades)


def test_prices_between_the_recorded_ones_are_on_the_tick(tape: Tape) -> None:
    for minute in range(tape.first, tape.first + 300):
        assert all(is_on_tick("KRW-BTC", t.price) for t in tape.trades("KRW-BTC", minute))


def test_the_same_anchor_shows_the_same_market(reels: dict[str, Reel]) -> None:
    one, other = (Tape(reels, origin=ORIGIN) for _ in range(2))
    shifted = Tape(reels, origin=ORIGIN + timedelta(minutes=7))
    minute = one.first + 5000
    assert one.trades("KRW-XRP", minute) == other.trades("KRW-XRP", minute)
    later = shifted.trades("KRW-XRP", minute + 7)
    assert [t.price for t in later] == [t.price for t in one.trades("KRW-XRP", minute)]


def test_the_running_minute_grows_and_ends_as_recorded(tape: Tape) -> None:
    start = ORIGIN + timedelta(days=3, hours=5)
    minute = to_minute(start)
    row = tape.row("KRW-BTC", minute)
    assert row is not None
    assert tape.row_at("KRW-BTC", minute, start) is None
    seen = [tape.row_at("KRW-BTC", minute, start + timedelta(seconds=s)) for s in range(2, 60)]
    grown = [each for each in seen if each is not None]
    assert [each.volume for each in grown] == sorted(each.volume for each in grown)
    assert all(row.low <= each.low <= each.high <= row.high for each in grown)
    assert tape.row_at("KRW-BTC", minute, start + END_OF_MINUTE) == row
    assert tape.row_at("KRW-BTC", minute + 1, start) is None


def test_there_is_nothing_before_the_origin(tape: Tape) -> None:
    assert tape.row("KRW-BTC", tape.first - 1) is None
    assert tape.source("KRW-BTC", tape.first - 1) is None
    first = tape.last_trade("KRW-BTC", ORIGIN - timedelta(hours=1))
    assert first == tape.trades("KRW-BTC", tape.first)[0]
    assert list(tape.trades_before("KRW-BTC", to_ms(ORIGIN))) == []


def test_a_reel_that_ends_begins_again(tape: Tape, reels: dict[str, Reel]) -> None:
    for market in ("KRW-BTC", "KRW-CHZ"):
        length = reels[market].length
        for minute in (tape.first, tape.first + 17):
            assert tape.row(market, minute + length) == tape.row(market, minute)
            assert tape.source(market, minute + length) == tape.source(market, minute)


def test_every_market_has_traded_within_the_hour(tape: Tape, reels: dict[str, Reel]) -> None:
    for days in (0.1, 3.21, 9.87):
        at = ORIGIN + timedelta(days=days)
        for market in reels:
            assert at - from_ms(tape.last_trade(market, at).ms) <= timedelta(hours=1)


def test_totals_are_the_sum_of_their_minutes(tape: Tape, reels: dict[str, Reel]) -> None:
    at = ORIGIN + timedelta(days=2, hours=3, minutes=17, seconds=30)
    now = to_minute(at)
    for market in ("KRW-DOGE", "KRW-CHZ"):  # one plain, one that went round many times
        for since in (now - 1440, now - 61, now - 1, now):
            rows = [tape.row_at(market, minute, at) for minute in range(since, now + 1)]
            found = [row for row in rows if row is not None]
            volume = sum((row.volume for row in found), Decimal(0))
            value = sum((row.value for row in found), Decimal(0))
            assert tape.totals(market, since, at) == (volume, value)
    assert reels["KRW-CHZ"].length < 1440


def test_totals_begin_with_the_tape(tape: Tape) -> None:
    at = ORIGIN + timedelta(minutes=90)
    assert tape.totals("KRW-BTC", 0, at) == tape.totals("KRW-BTC", tape.first, at)


def test_the_next_trade_is_the_one_after(tape: Tape) -> None:
    minute = tape.first + 100
    first, second, *_ = tape.trades("KRW-BTC", minute)
    last = tape.trades("KRW-BTC", minute)[-1]
    following = tape.trades("KRW-BTC", minute + 1)[0]
    far = following.ms + 600_000
    assert tape.next_trade_ms("KRW-BTC", first.ms, far) == second.ms
    assert tape.next_trade_ms("KRW-BTC", last.ms, far) == following.ms
    assert tape.next_trade_ms("KRW-BTC", last.ms, following.ms - 1) is None
    assert trades_until(tape.trades("KRW-BTC", minute), second.ms) == (first, second)


@pytest.mark.parametrize(
    ("number", "text"), [("1.500", "1.5"), ("1E+3", "1000"), ("0.00", "0"), ("1000.0", "1000")]
)
def test_numbers_are_spelt_plainly(number: str, text: str) -> None:
    assert str(plain(Decimal(number))) == text
