"""Tickers add up what the candles show; a forced price changes quotes and leaves candles alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import cast

from sandbox.quotes import Quotes
from sandbox.tape import from_ms, to_ms

NOW = datetime(2026, 11, 9, 4, 30, 20, tzinfo=UTC)
BTC = "KRW-BTC"


def test_a_ticker_agrees_with_the_candles(local_quotes: Quotes) -> None:
    row = local_quotes.ticker("KRW-DOGE", NOW)
    (day, yesterday) = local_quotes.candles("KRW-DOGE", "days", count=2, before=None, now=NOW)
    assert row["opening_price"] == day.row.open
    assert (row["high_price"], row["low_price"]) == (day.row.high, day.row.low)
    assert row["trade_price"] == day.row.close
    assert (row["acc_trade_volume"], row["acc_trade_price"]) == (day.row.volume, day.row.value)
    assert row["prev_closing_price"] == yesterday.row.close
    assert row["change_price"] == abs(day.row.close - yesterday.row.close)
    minutes = [
        candle
        for page in range(8)
        for candle in local_quotes.candles(
            "KRW-DOGE", "1", count=200, before=NOW - timedelta(minutes=200 * page), now=NOW
        )
        if candle.start >= NOW.replace(second=0) - timedelta(days=1)
    ]
    distinct = {candle.start: candle.row.volume for candle in minutes}
    assert row["acc_trade_volume_24h"] == sum(distinct.values(), Decimal(0))
    assert row["trade_date"] == "20261109"
    assert row["trade_date_kst"] == "20261109"


def test_the_days_range_grows_with_the_day_and_starts_anew(local_quotes: Quotes) -> None:
    seen = [local_quotes.ticker(BTC, NOW + timedelta(hours=hours)) for hours in (0, 6, 12, 19)]
    highs = [cast(Decimal, row["high_price"]) for row in seen]
    assert highs == sorted(highs)
    tomorrow = local_quotes.ticker(BTC, NOW + timedelta(hours=20))
    (day,) = local_quotes.candles(BTC, "days", count=1, before=None, now=NOW + timedelta(hours=20))
    assert (tomorrow["high_price"], tomorrow["opening_price"]) == (day.row.high, day.row.open)
    back = local_quotes.ticker(BTC, NOW)
    assert back == seen[0]


def test_right_after_midnight_the_day_is_the_last_price(local_quotes: Quotes) -> None:
    row = local_quotes.ticker(BTC, NOW.replace(hour=0, minute=0, second=0))
    assert row["opening_price"] == row["high_price"] == row["prev_closing_price"]
    assert row["change"] == "EVEN"
    assert row["acc_trade_volume"] == 0


def test_a_forced_price_holds_from_its_instant_on(local_quotes: Quotes) -> None:
    before = local_quotes.last_trade(BTC, NOW).price
    local_quotes.force(BTC, Decimal(1000), NOW)
    assert local_quotes.forced() == {BTC: 1000}
    assert local_quotes.last_trade(BTC, NOW).price == 1000
    assert local_quotes.last_trade(BTC, NOW - timedelta(seconds=1)).price == before
    later = NOW + timedelta(minutes=3)
    assert local_quotes.last_trade(BTC, later).price == 1000
    prices = [t.price for t in islice(local_quotes.trades(BTC, to_ms(later)), 200)]
    assert set(prices[:20]) == {Decimal(1000)}
    assert 1000 not in prices[-20:]
    row = local_quotes.ticker(BTC, later)
    assert (row["trade_price"], row["low_price"], row["change"]) == (1000, 1000, "FALL")
    (candle,) = local_quotes.candles(BTC, "1", count=1, before=later, now=later)
    assert candle.row.low > 1000
    assert local_quotes.book(BTC, later).units[0].bid_price <= 1000
    local_quotes.force(BTC, None, later)
    assert local_quotes.last_trade(BTC, later).price > 1000


def test_the_next_change_is_a_trade_or_a_forced_price(local_quotes: Quotes) -> None:
    trade = local_quotes.last_trade(BTC, NOW)
    following = local_quotes.next_change(BTC, from_ms(trade.ms), NOW + timedelta(hours=1))
    assert following is not None
    assert following > from_ms(trade.ms)
    at = from_ms(trade.ms) + timedelta(milliseconds=1)
    local_quotes.force(BTC, Decimal(1000), at)
    assert local_quotes.next_change(BTC, from_ms(trade.ms), NOW + timedelta(hours=1)) == at
    assert local_quotes.next_change(BTC, from_ms(trade.ms), at) == at
    assert local_quotes.next_change(BTC, from_ms(trade.ms), from_ms(trade.ms)) is None


def test_a_book_stays_the_same_object_until_the_next_trade(local_quotes: Quotes) -> None:
    trade = local_quotes.last_trade(BTC, NOW)
    at = from_ms(trade.ms)
    one = local_quotes.book(BTC, at)
    assert local_quotes.book(BTC, at) is one
    following = local_quotes.next_change(BTC, at, NOW + timedelta(hours=1))
    assert following is not None
    assert local_quotes.book(BTC, following) != one
    for step in range(600):  # the cache is bounded, and forgetting changes nothing
        local_quotes.book(BTC, NOW + timedelta(minutes=step))
    assert local_quotes.book(BTC, at) == one
