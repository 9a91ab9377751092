"""What the quotation half shows of each market: prices, tickers, trades, books, candles."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.upbit.fields import KST
from jobs.upbit.wire import Level, Orderbook
from sandbox.books import BookMaker
from sandbox.candles import Candle, Candles, change_fields, join
from sandbox.recording import Row, from_minute, to_minute
from sandbox.tape import Tape, Trade, from_ms, to_ms

DAY_MIN = 1440
CACHED_BOOKS = 512


@dataclass(frozen=True, slots=True)
class Forced:
    """A price that a test put in place of the recorded one from `since_ms` on."""

    price: Decimal
    since_ms: int


class Quotes:
    """The tape, seen at an instant, with forced prices laid over its trades.

    Candles always show the recording, so that a forced price does not rewrite history.
    """

    def __init__(self, tape: Tape, books: BookMaker) -> None:
        self.tape = tape
        self._candles = Candles(tape)
        self._make_books = books
        self._forced: dict[str, Forced] = {}
        self._forced_books: dict[str, tuple[Level, ...]] = {}
        self._books: dict[tuple[str, int, Decimal], Orderbook] = {}
        self._days: dict[str, tuple[int, int, Row | None]] = {}

    @property
    def markets(self) -> list[str]:
        """Every market's code."""
        return list(self.tape.reels)

    def force(self, market: str, price: Decimal | None, now: datetime) -> None:
        """Put `price` in place of the recorded one from now on; None ends it."""
        if price is None:
            self._forced.pop(market, None)
        else:
            self._forced[market] = Forced(price, to_ms(now))

    def forced(self) -> dict[str, Decimal]:
        """The forced prices in force."""
        return {market: each.price for market, each in self._forced.items()}

    def force_book(self, market: str, levels: tuple[Level, ...] | None) -> None:
        """Show `levels` in place of the made book, whatever is traded; None ends it."""
        if levels is None:
            self._forced_books.pop(market, None)
        else:
            self._forced_books[market] = levels

    def last_trade(self, market: str, at: datetime) -> Trade:
        """The newest trade at or before `at`."""
        trade = self.tape.last_trade(market, at)
        forced = self._forced.get(market)
        if forced is None or to_ms(at) < forced.since_ms:
            return trade
        return replace(trade, price=forced.price, ms=max(trade.ms, forced.since_ms))

    def trades(self, market: str, before_ms: int) -> Iterator[Trade]:
        """Trades before an instant, newest first."""
        forced = self._forced.get(market)
        for trade in self.tape.trades_before(market, before_ms):
            is_forced = forced is not None and trade.ms >= forced.since_ms
            yield replace(trade, price=forced.price) if forced and is_forced else trade

    def next_change(self, market: str, after: datetime, until: datetime) -> datetime | None:
        """When the market's book changes next, if that is not after `until`."""
        found = self.tape.next_trade_ms(market, to_ms(after), to_ms(until))
        forced = self._forced.get(market)
        if forced is not None and to_ms(after) < forced.since_ms <= to_ms(until):
            found = forced.since_ms if found is None else min(found, forced.since_ms)
        return None if found is None else from_ms(found)

    def book(self, market: str, at: datetime) -> Orderbook:
        """The 30 levels at `at`; the same object until the next trade."""
        trade = self.last_trade(market, at)
        if (levels := self._forced_books.get(market)) is not None:
            return Orderbook(market=market, ts=from_ms(trade.ms), units=levels)
        key = (market, trade.ms, trade.price)
        found = self._books.get(key)
        if found is None:
            if len(self._books) >= CACHED_BOOKS:
                self._books.clear()
            found = self._books[key] = self._make_books.book(market, trade)
        return found

    def candles(
        self, market: str, unit: str, *, count: int, before: datetime | None, now: datetime
    ) -> list[Candle]:
        """Candles that start before `before`, newest first, as they are at `now`."""
        return self._candles.newest(market, unit, count=count, before=before, now=now)

    def previous_close(self, market: str, day: datetime) -> Decimal:
        """The last recorded price before the UTC day that begins at `day`."""
        return self.tape.last_trade(market, day - timedelta(milliseconds=1)).price

    def ticker(self, market: str, now: datetime) -> dict[str, object]:
        """A ticker row; the day is UTC's, the 24 hours are rolling, to the minute."""
        trade = self.last_trade(market, now)
        minute = to_minute(now)
        today = minute - minute % DAY_MIN
        day = self._day(market, today, now, trade.price)
        volume, value = self.tape.totals(market, today, now)
        volume_24h, value_24h = self.tape.totals(market, minute - DAY_MIN, now)
        previous = self.previous_close(market, from_minute(today))
        change = change_fields(trade.price, previous)
        at = from_ms(trade.ms)
        kst = at.astimezone(KST)
        return {
            "market": market,
            "trade_date": f"{at:%Y%m%d}",
            "trade_time": f"{at:%H%M%S}",
            "trade_date_kst": f"{kst:%Y%m%d}",
            "trade_time_kst": f"{kst:%H%M%S}",
            "trade_timestamp": trade.ms,
            "opening_price": day.open,
            "high_price": day.high,
            "low_price": day.low,
            "trade_price": trade.price,
            "prev_closing_price": previous,
            "change": _direction(change["change_price"]),
            "change_price": abs(change["change_price"]),
            "change_rate": abs(change["change_rate"]),
            "signed_change_price": change["change_price"],
            "signed_change_rate": change["change_rate"],
            "trade_volume": trade.volume,
            "acc_trade_price": value,
            "acc_trade_price_24h": value_24h,
            "acc_trade_volume": volume,
            "acc_trade_volume_24h": volume_24h,
            # the recording is shorter than a year: the day's range stands for it
            "highest_52_week_price": day.high,
            "highest_52_week_date": f"{now:%Y-%m-%d}",
            "lowest_52_week_price": day.low,
            "lowest_52_week_date": f"{now:%Y-%m-%d}",
            "timestamp": trade.ms,
        }

    def _day(self, market: str, today: int, now: datetime, price: Decimal) -> Row:
        """Open, high and low since 00:00 UTC; finished minutes are looked at once."""
        minute = to_minute(now)
        start, done, row = self._days.get(market, (today, max(today, self.tape.first), None))
        if start != today or done > minute:
            start, done, row = today, max(today, self.tape.first), None
        for each in range(done, minute):
            row = _add(row, self.tape.row(market, each))
        self._days[market] = (today, max(done, minute), row)
        row = _add(row, self.tape.row_at(market, minute, now))
        last = Row(price, price, price, price, Decimal(0), Decimal(0))
        return last if row is None else join(row, last)


def _add(row: Row | None, then: Row | None) -> Row | None:
    return row if then is None else then if row is None else join(row, then)


def _direction(change: Decimal) -> str:
    return "RISE" if change > 0 else "FALL" if change < 0 else "EVEN"
