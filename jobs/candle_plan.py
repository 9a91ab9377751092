"""Which candles to ask for, and what was asked for already. Pure.

A span of n minutes holds at most n candles of one minute, so one request for n candles before its
end always covers it: rows that come from before the span only mean that minutes in it had no trade.
Such minutes are proven empty and not asked for again by this process.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

Span = tuple[datetime, datetime]
"""From the start of the first candle to the end of the last, half open, on the unit's grid."""

PAGE = 200
"""Candles that one request may bring."""
_AGAIN = 2
"""Finished candles that are read once more, because trades may be added to them late."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One request: the candles of `market` that start in [since, to)."""

    market: str
    unit: int
    since: datetime
    to: datetime

    @property
    def count(self) -> int:
        """How many candles to ask for."""
        return (self.to - self.since) // timedelta(minutes=self.unit)


def floor(instant: datetime, unit: int) -> datetime:
    """The start of the candle that `instant` falls in."""
    return instant - (instant - _EPOCH) % timedelta(minutes=unit)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as few spans, oldest first."""
    joined: list[Span] = []
    for since, to in sorted(spans):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], to))
        elif since < to:
            joined.append((since, to))
    return joined


def without(spans: Iterable[Span], since: datetime, to: datetime) -> list[Span]:
    """What is left of `spans` outside [since, to)."""
    left = []
    for start, end in spans:
        left += [(start, min(end, since)), (max(start, to), end)]
    return [span for span in left if span[0] < span[1]]


def pages(market: str, unit: int, spans: Sequence[Span]) -> list[Page]:
    """The fewest requests that cover `spans`, newest first; one may cover several spans."""
    found, left = [], merged(spans)
    step = timedelta(minutes=unit)
    while left:
        to = left[-1][1]
        lowest = to - PAGE * step
        since = max(lowest, min(start for start, end in left if end > lowest))
        found.append(Page(market=market, unit=unit, since=since, to=to))
        left = without(left, since, to)
    return found


@dataclass(slots=True)
class _Track:
    """One market's candles of one unit: noted up to `end`; `missing` is to be asked for."""

    end: datetime
    missing: list[Span]


@dataclass(slots=True)
class CandlePlan:
    """What is missing, per market and unit; lives as long as the process."""

    _tracks: dict[tuple[str, int], _Track] = field(default_factory=dict)

    def knows(self, market: str, unit: int) -> bool:
        """Whether `begin` was called for it."""
        return (market, unit) in self._tracks

    def begin(self, market: str, unit: int, *, end: datetime, gaps: Iterable[Span]) -> None:
        """Take over what the database lacks up to `end`, the end of the newest finished candle."""
        again = (end - _AGAIN * timedelta(minutes=unit), end)
        self._tracks[market, unit] = _Track(end=end, missing=merged([*gaps, again]))

    def extend(self, market: str, unit: int, *, end: datetime, horizon: datetime) -> None:
        """Note that candles up to `end` are finished; forget what lies before `horizon`."""
        track = self._tracks[market, unit]
        if end > track.end:
            again = track.end - _AGAIN * timedelta(minutes=unit)
            track.missing = merged([*track.missing, (again, end)])
            track.end = end
        track.missing = without(track.missing, datetime.min.replace(tzinfo=UTC), horizon)

    def due(self, most: int) -> list[Page]:
        """Up to `most` requests that are due, newest candles first, whatever the market."""
        due = [
            page
            for (market, unit), track in self._tracks.items()
            for page in pages(market, unit, track.missing)
        ]
        return sorted(due, key=lambda page: page.to, reverse=True)[:most]

    def done(self, page: Page) -> None:
        """Note that the page's candles are stored; minutes that had none are proven empty."""
        track = self._tracks[page.market, page.unit]
        track.missing = without(track.missing, page.since, page.to)

    def forget_others(self, markets: Iterable[str]) -> None:
        """Drop every market that is not among `markets`."""
        kept = set(markets)
        self._tracks = {key: track for key, track in self._tracks.items() if key[0] in kept}
