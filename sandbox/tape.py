"""The recording played in real time: which trade, price and candle there is at an instant.

Every reel begins at `origin`; there is no history before it. A reel that ends begins again, with
the jump in price that brings. Inside a minute the price walks from the open over low and high to
the close in a few trades that add up to the recorded volume exactly; they depend on the recording
alone, so that two runs with the same anchor see the same market.
"""

import random
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache
from typing import Literal

from jobs.upbit.ticks import round_price
from sandbox.recording import EPOCH, Reel, Row, from_minute, to_minute

MINUTE_MS = 60_000
HOUR_MIN = 60
VOLUME_STEP = Decimal("0.00000001")
VALUE_STEP = Decimal("0.0001")
ZERO = Decimal(0)


def plain(number: Decimal) -> Decimal:
    """The number without trailing zeros and without an exponent."""
    short = number.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short


def to_ms(at: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """The instant `ms` milliseconds after the epoch."""
    return EPOCH + timedelta(milliseconds=ms)


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade. `done` and `turnover` are its minute's volume and value with this trade."""

    ms: int
    price: Decimal
    volume: Decimal
    taker: Literal["BID", "ASK"]
    number: int
    done: Decimal
    turnover: Decimal

    @property
    def sequential_id(self) -> int:
        """Unique in its market."""
        return self.ms * 10_000 + self.number


class Tape:
    """All markets, playing. Minutes are counted from the epoch, in the venue's time."""

    def __init__(self, reels: Mapping[str, Reel], *, origin: datetime) -> None:
        self.reels = reels
        self.first = to_minute(origin)
        self._hours: dict[str, list[tuple[Decimal, Decimal]]] = {}
        self._trades = lru_cache(maxsize=4096)(self._make_trades)

    def offset(self, market: str, minute: int) -> int:
        """The offset in the market's reel that plays in `minute`."""
        return (minute - self.first) % self.reels[market].length

    def source(self, market: str, minute: int) -> datetime | None:
        """When the minute was recorded; None before the tape begins."""
        if minute < self.first:
            return None
        reel = self.reels[market]
        return from_minute(reel.source(self.offset(market, minute)))

    def row(self, market: str, minute: int) -> Row | None:
        """The whole minute as recorded, future ones too; None where nobody traded."""
        if minute < self.first:
            return None
        return self.reels[market].row(self.offset(market, minute))

    def row_at(self, market: str, minute: int, at: datetime) -> Row | None:
        """The minute as far as it has happened by `at`."""
        now = to_minute(at)
        if minute < now:
            return self.row(market, minute)
        return self._running(market, minute, to_ms(at)) if minute == now else None

    def trades(self, market: str, minute: int) -> tuple[Trade, ...]:
        """Every trade of a minute, oldest first, future ones too."""
        return self._trades(market, minute)

    def last_trade(self, market: str, at: datetime) -> Trade:
        """The newest trade at or before `at`; the tape's first one before it begins."""
        found = next(self.trades_before(market, to_ms(at) + 1), None)
        return found if found is not None else self._first_trade(market)

    def trades_before(self, market: str, before_ms: int) -> Iterator[Trade]:
        """Trades before an instant, newest first, back to the tape's beginning."""
        for minute in range(before_ms // MINUTE_MS, self.first - 1, -1):
            for trade in reversed(self.trades(market, minute)):
                if trade.ms < before_ms:
                    yield trade

    def next_trade_ms(self, market: str, after_ms: int, until_ms: int) -> int | None:
        """When the first trade after `after_ms` and not after `until_ms` happens."""
        start = max(after_ms // MINUTE_MS, self.first)
        for minute in range(start, until_ms // MINUTE_MS + 1):
            for trade in self.trades(market, minute):
                if trade.ms > after_ms:
                    return trade.ms if trade.ms <= until_ms else None
        return None

    def totals(self, market: str, since: int, at: datetime) -> tuple[Decimal, Decimal]:
        """(volume, value) from the beginning of minute `since` to `at`."""
        now = to_minute(at)
        volume, value = self._sum(market, max(since, self.first), now)
        running = self.row_at(market, now, at)
        if running is not None:
            volume, value = volume + running.volume, value + running.value
        return volume, value

    def _running(self, market: str, minute: int, now_ms: int) -> Row | None:
        done = trades_until(self.trades(market, minute), now_ms)
        if not done:
            return None
        prices = [trade.price for trade in done]
        return Row(
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=done[-1].done,
            value=done[-1].turnover,
        )

    def _first_trade(self, market: str) -> Trade:
        minute = self.first
        while not self.trades(market, minute):
            minute += 1
        return self.trades(market, minute)[0]

    def _make_trades(self, market: str, minute: int) -> tuple[Trade, ...]:
        row = self.row(market, minute)
        if row is None:
            return ()
        seed = zlib.crc32(f"{market}@{self.offset(market, minute)}".encode())
        return tuple(_split(market, row, minute * MINUTE_MS, random.Random(seed)))  # noqa: S311

    def _sum(self, market: str, since: int, until: int) -> tuple[Decimal, Decimal]:
        """Whole minutes [since, until): loops and hours from running totals, the rest singly."""
        if until <= since:
            return ZERO, ZERO
        high, low = self._total(market, until - self.first), self._total(market, since - self.first)
        return high[0] - low[0], high[1] - low[1]

    def _total(self, market: str, minutes: int) -> tuple[Decimal, Decimal]:
        reel = self.reels[market]
        hours = self._hours.setdefault(market, []) or self._add_up(market)
        loops, offset = divmod(minutes, reel.length)
        volume = hours[-1][0] * loops + hours[offset // HOUR_MIN][0]
        value = hours[-1][1] * loops + hours[offset // HOUR_MIN][1]
        for each in range(offset - offset % HOUR_MIN, offset):
            if (row := reel.row(each)) is not None:
                volume, value = volume + row.volume, value + row.value
        return volume, value

    def _add_up(self, market: str) -> list[tuple[Decimal, Decimal]]:
        """Totals before each hour of the reel; the last entry is the whole reel's."""
        hours = self._hours[market]
        volume = value = ZERO
        for offset, row in self.reels[market].rows():
            if offset % HOUR_MIN == 0:
                hours.append((volume, value))
            if row is not None:
                volume, value = volume + row.volume, value + row.value
        hours.append((volume, value))
        return hours


def _split(market: str, row: Row, start_ms: int, rng: random.Random) -> Iterator[Trade]:
    prices = _path(market, row, rng)
    times = sorted(rng.sample(range(1_600, 59_800), len(prices) - 1))
    times.insert(0, rng.randrange(200, 1_500))
    volumes = _shares(row.volume, len(prices), rng)
    done, last = ZERO, prices[0]
    for number, (price, volume) in enumerate(zip(prices, volumes, strict=True)):
        done += volume
        is_last = number == len(prices) - 1
        value = row.value if is_last else (row.value * done / row.volume).quantize(VALUE_STEP)
        rises = price > last or (price == last and rng.random() < 0.5)  # noqa: PLR2004 - a coin
        taker: Literal["BID", "ASK"] = "BID" if rises else "ASK"
        yield Trade(start_ms + times[number], price, volume, taker, number, done, value)
        last = price


def _path(market: str, row: Row, rng: random.Random) -> list[Decimal]:
    """Prices from the open over both extremes to the close, on the tick between them."""
    turns = [row.low, row.high] if row.close >= row.open else [row.high, row.low]
    path = [row.open]
    for target in (*turns, row.close):
        steps = rng.randrange(2, 7)
        start = path[-1]
        for step in range(1, steps):
            price = round_price(market, start + (target - start) * step / steps, "down")
            path.append(min(max(plain(price), row.low), row.high))
        path.append(target)
    return path


def _shares(volume: Decimal, count: int, rng: random.Random) -> list[Decimal]:
    """`volume` in `count` parts of 8 decimals that add up to it exactly."""
    weights = [rng.random() + 0.1 for _ in range(count)]
    scale = volume / Decimal(sum(weights))
    parts = [
        (Decimal(weight) * scale).quantize(VOLUME_STEP, rounding=ROUND_DOWN)
        for weight in weights[:-1]
    ]
    return [*parts, volume - sum(parts, ZERO)]


def trades_until(trades: tuple[Trade, ...], ms: int) -> tuple[Trade, ...]:
    """The part of a minute's `trades` that happened by `ms`."""
    return trades[: bisect_right(trades, ms, key=lambda trade: trade.ms)]
