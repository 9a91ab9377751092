"""Recorded candles under a virtual clock: what could be seen at an instant, and never more.

A candle says four prices of its interval and not when they were. The walk between them is fixed:

    share of the interval   0 .. 1/4    1/4 .. 5/12     5/12 .. 7/12   7/12 .. 3/4     3/4 .. 1
    price                   the open    first extreme   half way       the other one   the close

The low comes first in a candle that closed at or above its open, the high first in any other. With
candles of one minute, an orders pass at 0 s and 10 s sees the open, at 20 s and 40 s the extremes,
at 50 s the close. An interval without a candle had no trade: its price is the last close.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import accumulate, pairwise

from jobs.core.errors import BadData
from jobs.upbit.ticks import round_price
from jobs.upbit.wire import Candle

DAY = timedelta(days=1)
ZERO = Decimal(0)
TWELFTHS = 12


@dataclass(frozen=True)
class Reel:
    """One market's candles, oldest first. Raises BadData when they are not in order."""

    candles: Sequence[Candle]

    def __post_init__(self) -> None:
        if any(b.ts <= a.ts for a, b in pairwise(self.candles)):
            raise BadData("recorded candles are not in order", market=self.candles[0].market)

    @cached_property
    def starts(self) -> list[datetime]:
        """When each candle began."""
        return [candle.ts for candle in self.candles]

    @cached_property
    def _turnover(self) -> list[Decimal]:
        """The turnover before each candle, and the whole at the end."""
        return [ZERO, *accumulate(candle.value for candle in self.candles)]

    @cached_property
    def _traded(self) -> list[Decimal]:
        return [ZERO, *accumulate(candle.volume for candle in self.candles)]

    @cached_property
    def _seats(self) -> dict[datetime, int]:
        return {candle.ts: seat for seat, candle in enumerate(self.candles)}

    def at(self, start: datetime) -> Candle | None:
        """The candle that began at `start`."""
        seat = self._seats.get(start)
        return None if seat is None else self.candles[seat]

    def count(self, since: datetime, until: datetime) -> int:
        """How many candles began in [since, until)."""
        return bisect_left(self.starts, until) - bisect_left(self.starts, since)

    def ended(self, now: datetime) -> int:
        """How many candles had ended by `now`."""
        if not self.candles:
            return 0
        return bisect_right(self.starts, now - timedelta(minutes=self.candles[0].unit))

    def holes(self, longest: timedelta) -> list[tuple[datetime, datetime]]:
        """Stretches longer than `longest` without a candle: end of one, beginning of the next."""
        step = timedelta(minutes=self.candles[0].unit) if self.candles else DAY
        pairs = ((one.ts + step, two.ts) for one, two in pairwise(self.candles))
        return [(end, begin) for end, begin in pairs if begin - end > longest]

    def day_totals(self, now: datetime) -> tuple[Decimal, Decimal]:
        """(volume, turnover) of the candles that ended in the 24 hours before `now`."""
        end = self.ended(now)
        begin = bisect_left(self.starts, now - DAY)
        begin = min(begin, end)
        return (
            self._traded[end] - self._traded[begin],
            self._turnover[end] - self._turnover[begin],
        )

    def close_before(self, instant: datetime) -> Decimal | None:
        """The last close of candles that had ended by `instant`; None before the first."""
        seat = self.ended(instant)
        return self.candles[seat - 1].close if seat else None


class Tape:
    """All markets' reels, one unit. Raises BadData when there is nothing to play."""

    def __init__(self, recording: Mapping[str, Sequence[Candle]]) -> None:
        self.reels = {market: Reel(candles) for market, candles in recording.items() if candles}
        units = {candle.unit for reel in self.reels.values() for candle in reel.candles[:1]}
        if len(units) != 1:
            raise BadData("a recording has candles of one length", units=sorted(units))
        (self.unit,) = units
        self.step = timedelta(minutes=self.unit)
        self.first = min(reel.candles[0].ts for reel in self.reels.values())
        """When the first candle began."""

    @property
    def end(self) -> datetime:
        """When the last candle ended."""
        return max(reel.candles[-1].ts for reel in self.reels.values()) + self.step

    def count(self, since: datetime, until: datetime) -> int:
        """How many candles began in [since, until)."""
        return sum(reel.count(since, until) for reel in self.reels.values())

    def window(self, market: str, count: int, now: datetime) -> Sequence[Candle]:
        """The last `count` candles that had ended by `now`, oldest first."""
        reel = self.reels[market]
        end = reel.ended(now)
        return reel.candles[max(0, end - count) : end]

    def price(self, market: str, now: datetime) -> Decimal | None:
        """The price that an orders pass sees at `now`; None before the first candle."""
        reel = self.reels[market]
        start = now - (now - self.first) % self.step
        candle = reel.at(start)
        if candle is None:
            return reel.close_before(start)
        return walk(candle, (now - start) / self.step)

    def range(self, market: str, now: datetime) -> tuple[Decimal, Decimal]:
        """No price of the interval around `now` lies outside these two (0, 0 without a price)."""
        start = now - (now - self.first) % self.step
        reel = self.reels[market]
        candle = reel.at(start)
        if candle is not None:
            return candle.low, candle.high
        price = reel.close_before(start) or ZERO
        return price, price


def walk(candle: Candle, share: float) -> Decimal:
    """The price after that share of the interval, in [0, 1); the table above."""
    place = share * TWELFTHS
    if place < 3:  # noqa: PLR2004  the table above
        return candle.open
    if place >= 9:  # noqa: PLR2004
        return candle.close
    rising = candle.close >= candle.open
    turns = (candle.low, candle.high) if rising else (candle.high, candle.low)
    if place < 5:  # noqa: PLR2004
        return turns[0]
    return turns[1] if place >= 7 else middle(candle)  # noqa: PLR2004


def middle(candle: Candle) -> Decimal:
    """The valid price half way between the extremes, never outside them."""
    half = round_price(candle.market, (candle.low + candle.high) / 2, "down")
    return max(half, candle.low)
