"""Candles of a larger unit from those of a smaller one; pure, the same live and in replay.

A larger candle begins on a multiple of its unit since midnight UTC, as the exchange's own do, and
holds the first open, the highest high, the lowest low, the last close and the sums of the smaller
ones. An interval without a trade has none.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from jobs.upbit.wire import Candle

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def floor(at: datetime, unit: int) -> datetime:
    """The start of the `unit`-minute interval that `at` lies in."""
    return at - (at - EPOCH) % (unit * MINUTE)


def larger(base: int, units: Iterable[int]) -> tuple[int, ...]:
    """Those of `units` that candles of `base` minutes can be joined to, in ascending order."""
    return tuple(sorted({unit for unit in units if unit > base and unit % base == 0}))


def since(until: datetime, unit: int, count: int) -> datetime:
    """Where the last `count` whole intervals before `until` begin."""
    return floor(until, unit) - count * unit * MINUTE


def aggregate(candles: Sequence[Candle], unit: int, *, until: datetime, count: int) -> list[Candle]:
    """The finished candles of `unit` among the last `count` intervals before `until`.

    `candles` are one market's, oldest first. The oldest result is left out unless it begins with a
    candle: its beginning may never have been seen.
    """
    begin, end = since(until, unit, count), floor(until, unit)
    inside = [candle for candle in candles if begin <= candle.ts < end]
    groups = groupby(inside, key=lambda candle: floor(candle.ts, unit))
    made = [_join(start, unit, list(parts)) for start, parts in groups]
    return whole(made, inside[0].ts if inside else begin)


def whole(made: list[Candle], first_seen: datetime) -> list[Candle]:
    """`made` without a beginning that may be cut off; `first_seen` is the oldest small candle."""
    return made[1:] if made and made[0].ts != first_seen else made


def extended(made: Candle | None, part: Candle, start: datetime, unit: int) -> Candle:
    """The candle that began at `start` with one more of its parts, which come in order."""
    return _join(start, unit, [part] if made is None else [made, part])


def _join(start: datetime, unit: int, parts: Sequence[Candle]) -> Candle:
    return Candle(
        market=parts[0].market,
        unit=unit,
        ts=start,
        open=parts[0].open,
        high=max(part.high for part in parts),
        low=min(part.low for part in parts),
        close=parts[-1].close,
        volume=sum((part.volume for part in parts[1:]), parts[0].volume),
        value=sum((part.value for part in parts[1:]), parts[0].value),
    )
