"""Candles of every unit, made from the tape's minutes (seconds: from its trades)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jobs.upbit.fields import KST
from sandbox.recording import Row, from_minute, to_minute
from sandbox.tape import HOUR_MIN, Tape, from_ms, to_ms, trades_until

MINUTES = frozenset({1, 3, 5, 10, 15, 30, 60, 240})
SECONDS_KEPT = timedelta(days=90)
SECOND_MS = 1000
RATE_STEP = Decimal("0.0000000001")


@dataclass(frozen=True, slots=True)
class Candle:
    """Trades of one unit from `start` on; `last_ms` is the time of the newest one in it."""

    start: datetime
    row: Row
    last_ms: int


def starts(unit: str) -> Callable[[datetime], datetime]:
    """The function that gives the start of the candle an instant lies in.

    `unit` is a number of minutes, or days, weeks, months or years; boundaries are UTC.
    """
    if unit.isdecimal():
        width = int(unit)
        return lambda at: from_minute(to_minute(at) // width * width)
    return {"days": _day, "weeks": _week, "months": _month, "years": _year}[unit]


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _week(at: datetime) -> datetime:
    return _day(at) - timedelta(days=at.weekday())


def _month(at: datetime) -> datetime:
    return _day(at).replace(day=1)


def _year(at: datetime) -> datetime:
    return _month(at).replace(month=1)


class Candles:
    """Candles as seen at an instant: the unfinished head is there, empty units are not."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._finished: dict[tuple[str, str, int], Candle | None] = {}

    def newest(
        self, market: str, unit: str, *, count: int, before: datetime | None, now: datetime
    ) -> list[Candle]:
        """At most `count` candles that start before `before`, newest first, as of `now`."""
        found: list[Candle] = []
        for candle in self._backwards(market, unit, before, now):
            if len(found) == count:
                break
            found.append(candle)
        return found

    def _backwards(
        self, market: str, unit: str, before: datetime | None, now: datetime
    ) -> Iterator[Candle]:
        if unit == "seconds":
            yield from self._seconds(market, before, now)
            return
        start_of = starts(unit)
        latest = now if before is None else min(now, before - timedelta(microseconds=1))
        start = start_of(latest)
        first = start_of(from_minute(self._tape.first))
        while start >= first:
            if (candle := self._candle(market, unit, start, now)) is not None:
                yield candle
            start = start_of(start - timedelta(microseconds=1))

    def _candle(self, market: str, unit: str, start: datetime, now: datetime) -> Candle | None:
        key = (market, unit, to_minute(start))
        if key in self._finished:
            return self._finished[key]
        end = _following(unit, start)
        if unit.isdecimal() and int(unit) <= HOUR_MIN:
            candle = self._of_minutes(market, start, end, now)
        else:
            candle = self._of_hours(market, start, end, now)
        if end <= now:
            self._finished[key] = candle
        return candle

    def _of_minutes(
        self, market: str, start: datetime, end: datetime, now: datetime
    ) -> Candle | None:
        merged: Row | None = None
        last = 0
        until = min(to_minute(end), to_minute(now) + 1)
        for minute in range(max(to_minute(start), self._tape.first), until):
            row = self._tape.row_at(market, minute, now)
            if row is not None:
                merged = row if merged is None else join(merged, row)
                last = minute
        if merged is None:
            return None
        trades = trades_until(self._tape.trades(market, last), to_ms(now))
        return Candle(start, merged, trades[-1].ms)

    def _of_hours(
        self, market: str, start: datetime, end: datetime, now: datetime
    ) -> Candle | None:
        merged: Candle | None = None
        hour = max(start, starts(str(HOUR_MIN))(from_minute(self._tape.first)))
        while hour < min(end, now):
            part = self._candle(market, str(HOUR_MIN), hour, now)
            if part is not None:
                row = part.row if merged is None else join(merged.row, part.row)
                merged = Candle(start, row, part.last_ms)
            hour += timedelta(minutes=HOUR_MIN)
        return merged

    def _seconds(self, market: str, before: datetime | None, now: datetime) -> Iterator[Candle]:
        latest = now + timedelta(milliseconds=1) if before is None else before
        oldest = to_ms(now - SECONDS_KEPT)
        open_second: Candle | None = None
        for trade in self._tape.trades_before(market, min(to_ms(latest), to_ms(now) + 1)):
            if trade.ms < oldest:
                break
            start = from_ms(trade.ms // SECOND_MS * SECOND_MS)
            price = trade.price
            row = Row(price, price, price, price, trade.volume, price * trade.volume)
            if open_second is not None and open_second.start == start:
                open_second = Candle(start, join(row, open_second.row), open_second.last_ms)
                continue
            if open_second is not None:
                yield open_second
            open_second = Candle(start, row, trade.ms)
        if open_second is not None:
            yield open_second


def _following(unit: str, start: datetime) -> datetime:
    if unit.isdecimal():
        return start + timedelta(minutes=int(unit))
    beyond = {"days": 1, "weeks": 7, "months": 32, "years": 367}[unit]
    return starts(unit)(start + timedelta(days=beyond))


def join(first: Row, then: Row) -> Row:
    """One row for two that follow each other."""
    return Row(
        open=first.open,
        high=max(first.high, then.high),
        low=min(first.low, then.low),
        close=then.close,
        volume=first.volume + then.volume,
        value=first.value + then.value,
    )


def candle_row(market: str, candle: Candle) -> dict[str, object]:
    """The fields that candles of every unit have."""
    kst = candle.start.astimezone(KST).replace(tzinfo=None)
    return {
        "market": market,
        "candle_date_time_utc": candle.start.astimezone(UTC).replace(tzinfo=None).isoformat(),
        "candle_date_time_kst": kst.isoformat(),
        "opening_price": candle.row.open,
        "high_price": candle.row.high,
        "low_price": candle.row.low,
        "trade_price": candle.row.close,
        "timestamp": candle.last_ms,
        "candle_acc_trade_price": candle.row.value,
        "candle_acc_trade_volume": candle.row.volume,
    }


def change_fields(price: Decimal, previous: Decimal) -> dict[str, Decimal]:
    """The signed change since the previous close, as day candles show it."""
    return {
        "prev_closing_price": previous,
        "change_price": price - previous,
        "change_rate": ((price - previous) / previous).quantize(RATE_STEP),
    }
