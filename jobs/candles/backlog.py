"""Which candles to ask for, and what the answers prove. Pure.

The exchange has no candle for a minute without a trade, and under load it shows candles minutes
late: an absent candle is one or the other. So an answer proves only the time from its oldest to its
newest candle, and a candle that is known to be later proves what a full page lacks before it:

    before the oldest   a full page reaches back as far as was asked; a short or empty one may have
                        been cut: asked again half an hour later, and believed then
    after the newest    missing until a later candle comes, however long that takes

Nothing of this outlives the process; a restart asks the database what it lacks.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

Span = tuple[datetime, datetime]
"""From the start of the first candle to the end of the last, half open, on the unit's grid."""

PAGE = 200
"""Candles that one request may bring."""
_AGAIN = 2
"""Finished candles that are read once more, because trades may be added to them late."""
_DOUBTED_FOR = timedelta(minutes=30)
"""After so long a short answer's silence is asked about again."""
_SHORT = timedelta(minutes=30)
"""A stored stretch without candles that is longer may be one that was never fetched."""
_EVER = datetime.min.replace(tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One request: the candles of `market` that start in [since, to).

    `is_newest`: no finished candle is later, so that the last ones may only be late.
    """

    market: str
    unit: int
    since: datetime
    to: datetime
    is_newest: bool = False

    @property
    def step(self) -> timedelta:
        """How long a candle is."""
        return timedelta(minutes=self.unit)

    @property
    def count(self) -> int:
        """How many candles to ask for."""
        return (self.to - self.since) // self.step


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


def within(spans: Iterable[Span], since: datetime, to: datetime) -> list[Span]:
    """What of `spans` lies inside [since, to)."""
    cut = [(max(start, since), min(end, to)) for start, end in spans]
    return [span for span in cut if span[0] < span[1]]


def proven(page: "Page", starts: Sequence[datetime]) -> Span | None:
    """What an answer with candles of these starts proves by itself; None for an empty one."""
    if not starts:
        return None
    return min(starts), max(starts) + page.step


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


@dataclass(slots=True, kw_only=True)
class _Track:
    """One market's candles of one unit.

    Noted from `since` up to `end`. Everything there is stored or proven empty but for `missing`,
    which is to be asked for, `doubted`, which is from the instant beside it on, and `given_up`.
    What is in `believed` was doubted once: the next answer is taken. `newest` is the start of the
    newest known candle, and `reread` is stored, but asked for once more.
    """

    since: datetime
    end: datetime
    newest: datetime | None
    missing: list[Span]
    reread: list[Span]
    doubted: list[tuple[datetime, Span]] = field(default_factory=list)
    believed: list[Span] = field(default_factory=list)
    given_up: list[Span] = field(default_factory=list)

    @property
    def due(self) -> list[Span]:
        """What is to be asked for."""
        return merged([*self.missing, *self.reread])

    def extend(self, end: datetime, step: timedelta) -> None:
        """Note that candles up to `end` are finished."""
        if end <= self.end:
            return
        tail = self.end if self.newest is None else min(self.newest + step, self.end)
        self.reread = merged([*self.reread, (max(self.since, tail - _AGAIN * step), tail)])
        self.missing = merged([*self.missing, (self.end, end)])
        if self.newest is not None:  # one request a run is enough until a later candle comes
            self.missing = without(self.missing, tail, max(tail, end - PAGE * step))
        self.end = end

    def forget_before(self, horizon: datetime) -> None:
        """Give up what is older and did not come: it stays a hole."""
        incomplete = [*self.missing, *(span for _, span in self.doubted)]
        self.given_up = merged([*self.given_up, *within(incomplete, _EVER, horizon)])
        self.missing = without(self.missing, _EVER, horizon)
        self.reread = without(self.reread, _EVER, horizon)
        self.doubted = [(at, span) for at, span in self.doubted if span[1] > horizon]

    def ask_again(self, now: datetime) -> None:
        """Take up what was doubted long enough."""
        ripe = [span for at, span in self.doubted if at <= now]
        if ripe:
            self.doubted = [(at, span) for at, span in self.doubted if at > now]
            self.believed = merged([*self.believed, *ripe])
            self.missing = merged([*self.missing, *ripe])

    def answered_in_part(self, page: Page, starts: Sequence[datetime], now: datetime) -> None:
        """Take over single candles: rows between them could not be read."""
        for start in sorted(starts):
            self._came((start, start + page.step), page)
        is_open = page.is_newest and self.newest is not None and self.newest < page.to
        self._doubt(page.since, max(starts, default=page.since) if is_open else page.to, now)

    def answered(self, page: Page, starts: Sequence[datetime], now: datetime) -> None:
        """Take over what the page's candles, which are stored, prove."""
        span = proven(page, starts)
        if span is not None:
            self._came(span, page)
        is_later_known = self.newest is not None and self.newest >= page.to
        if is_later_known and len(set(starts)) >= page.count:
            self._settle(page.since, page.to)
        elif page.is_newest and not is_later_known:  # after the newest candle they may come yet
            self._doubt(page.since, page.since if span is None else span[0], now)
        else:
            self._doubt(page.since, page.to, now)

    def holes(self, since: datetime, until: datetime) -> list[Span]:
        """What of [since, until) may lack a candle that there is."""
        doubted = (span for _, span in self.doubted)
        return within(merged([*self.missing, *doubted, *self.given_up]), since, until)

    def _came(self, span: Span, page: Page) -> None:
        known, newest = self.newest, span[1] - page.step
        if known is None or newest > known:
            self.newest = newest
            if known is not None:  # what was given up so far, for want of a later candle
                lost = within([(known + page.step, span[0])], self.since, span[0])
                self.missing = merged([*self.missing, *lost])
        self._settle(*span)

    def _settle(self, since: datetime, to: datetime) -> None:
        self.missing = without(self.missing, since, to)
        self.reread = without(self.reread, since, to)
        self.believed = without(self.believed, since, to)
        doubted = [(at, part) for at, each in self.doubted for part in without([each], since, to)]
        self.doubted = doubted

    def _doubt(self, since: datetime, to: datetime, now: datetime) -> None:
        """Ask about what is missing there once more, later; believe what was asked twice."""
        for span in within(self.believed, since, to):
            self._settle(*span)
        for span in within(self.missing, since, to):
            self.doubted.append((now + _DOUBTED_FOR, span))
        self.missing = without(self.missing, since, to)
        self.reread = without(self.reread, since, to)


@dataclass(slots=True)
class CandlePlan:
    """What is missing, per market and unit; lives as long as the process."""

    _tracks: dict[tuple[str, int], _Track] = field(default_factory=dict)

    def knows(self, market: str, unit: int) -> bool:
        """Whether `begin` was called for it."""
        return (market, unit) in self._tracks

    def begin(
        self, market: str, unit: int, *, since: datetime, end: datetime, gaps: Sequence[Span]
    ) -> None:
        """Take over what the database lacks of [since, end); `end` is the last finished one's."""
        step = timedelta(minutes=unit)
        tail = gaps[-1][0] if gaps and gaps[-1][1] == end else end
        # short ones are asked for again, but they were proven by whoever stored what follows them
        short = [gap for gap in gaps if gap[1] < end and gap[1] - gap[0] <= max(_SHORT, step)]
        self._tracks[market, unit] = _Track(
            since=since,
            end=end,
            newest=tail - step if tail > since else None,
            missing=merged(gap for gap in gaps if gap not in short),
            reread=merged([*short, (max(since, tail - _AGAIN * step), tail)]),
        )

    def extend(
        self, market: str, unit: int, *, end: datetime, horizon: datetime, now: datetime
    ) -> None:
        """Note that candles up to `end` are finished; forget what lies before `horizon`."""
        track = self._tracks[market, unit]
        track.extend(end, timedelta(minutes=unit))
        track.forget_before(horizon)
        track.ask_again(now)

    def newest(self, units: Collection[int]) -> list[Page]:
        """The requests for the newest candles of `units`; who has waited longest comes first."""
        due = [
            (track.newest or _EVER, replace(page, is_newest=True))
            for (market, unit), track in self._tracks.items()
            if unit in units
            for page in pages(market, unit, track.due)[:1]
            if page.to == track.end
        ]
        return [page for _, page in sorted(due, key=lambda each: (each[0], each[1].unit))]

    def history(self, units: Collection[int]) -> list[Page]:
        """All other requests, newest candles first, whatever the market.

        `units` are those whose newest candles `newest` gives.
        """
        due = [
            page
            for (market, unit), track in self._tracks.items()
            for page in pages(market, unit, track.due)
            if unit not in units or page.to != track.end
        ]
        return sorted(due, key=lambda page: page.to, reverse=True)

    def done(
        self, page: Page, starts: Sequence[datetime], now: datetime, *, is_whole: bool = True
    ) -> None:
        """Note that the candles that came for the page are stored; they began at `starts`.

        `is_whole`: no row of the answer was left out.
        """
        track = self._tracks.get((page.market, page.unit))
        if track is not None and is_whole:
            track.answered(page, starts, now)
        elif track is not None:
            track.answered_in_part(page, starts, now)

    def holes(self, market: str, unit: int, since: datetime, until: datetime) -> list[Span]:
        """What of [since, until) may lack a candle that the exchange has, oldest first.

        What is older than was ever looked at here counts as complete, as an earlier life left it.
        """
        track = self._tracks.get((market, unit))
        return [(since, until)] if track is None else track.holes(since, until)

    def is_complete(self, market: str, unit: int, since: datetime, until: datetime) -> bool:
        """Whether all of [since, until) was looked at here, and lacks nothing."""
        track = self._tracks.get((market, unit))
        if track is None or since < track.since or until > track.end:
            return False
        return not track.holes(since, until)

    def forget_others(self, markets: Iterable[str]) -> None:
        """Drop every market that is not among `markets`."""
        kept = set(markets)
        self._tracks = {key: track for key, track in self._tracks.items() if key[0] in kept}
