"""Features on larger candles than the one that decisions follow, each computed once a candle.

A unit that is collected is read as it is stored, its newest intervals made anew from the smallest
unit, which is there first; any other unit is made from the smallest one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobs.candles import features, resample
from jobs.candles.features import Features
from jobs.candles.freshness import Holes, no_holes
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.wire import Candle

COUNT = 120
"""Intervals of each larger unit: enough for every indicator of features.LONGER_NAMES."""

MADE_ANEW = 2


def of_candles(
    candles: Sequence[Candle], units: Iterable[int], *, until: datetime
) -> tuple[Features, ...]:
    """The same from one market's candles in memory, oldest first, as of `until`: for replay."""
    made = (resample.aggregate(candles, unit, until=until, count=COUNT) for unit in units)
    return tuple(features.compute(each) for each in made if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongerFeatures:
    """Features of every unit of `units`, all of them multiples of `base` minutes.

    `collected` are the units that are stored as the exchange gives them. Candles from before a hole
    that may yet be filled are not looked at; they are once it is.
    """

    db: Database
    base: int
    units: tuple[int, ...]
    collected: frozenset[int] = frozenset()
    holes: Holes = no_holes
    _known: dict[tuple[str, int], tuple[datetime, Features | None]] = field(default_factory=dict)

    async def of(self, ends: Mapping[str, datetime]) -> dict[str, tuple[Features, ...]]:
        """The features of each market as of `ends`, the end of its newest finished candle.

        Shortest unit first; a unit without any finished candle is left out.
        """
        for unit in self.units:
            for end, markets in self._unknown(unit, ends).items():
                await self._learn(unit, end, markets)
        return {
            market: tuple(
                found for unit in self.units if (found := self._known[market, unit][1]) is not None
            )
            for market in ends
        }

    def _unknown(self, unit: int, ends: Mapping[str, datetime]) -> dict[datetime, list[str]]:
        """The markets whose newest candle of `unit` was not looked at yet, by its end."""
        asked: defaultdict[datetime, list[str]] = defaultdict(list)
        for market, end in ends.items():
            last = resample.floor(end, unit)
            known = self._known.get((market, unit))
            if known is None or known[0] != last:
                asked[last].append(market)
        return asked

    async def _learn(self, unit: int, end: datetime, markets: Sequence[str]) -> None:
        begin = resample.since(end, unit, COUNT)
        found = await self._candles(unit, begin, end, markets)
        found = {market: self._after_holes(candles, end) for market, candles in found.items()}
        computed = await asyncio.to_thread(_features, found.values())
        for (market, candles), values in zip(found.items(), computed, strict=True):
            # a history that is still being filled in is looked at again
            is_whole = bool(candles) and candles[0].ts == begin
            self._known[market, unit] = (end if is_whole else begin, values)

    def _after_holes(self, candles: list[Candle], end: datetime) -> list[Candle]:
        """The candles that begin after the newest hole of those they are made of."""
        if not candles:
            return candles
        first = candles[0]
        missing = self.holes(first.market, self.base, first.ts, end)
        if first.unit in self.collected:
            missing += self.holes(first.market, first.unit, first.ts, end)
        whole_from = max((until for _, until in missing), default=first.ts)
        return [each for each in candles if each.ts >= whole_from]

    async def _candles(
        self, unit: int, begin: datetime, end: datetime, markets: Sequence[str]
    ) -> dict[str, list[Candle]]:
        if unit not in self.collected:
            return await candle_store.aggregated(self.db, markets, self.base, unit, (begin, end))
        stored = await candle_store.window(self.db, markets, unit, COUNT, end)
        newest = resample.since(end, unit, MADE_ANEW)
        fresh = await candle_store.aggregated(self.db, markets, self.base, unit, (newest, end))
        return {market: _merged(stored[market], fresh[market], begin) for market in markets}


def _merged(stored: Iterable[Candle], fresh: Iterable[Candle], begin: datetime) -> list[Candle]:
    by_start = {candle.ts: candle for candle in stored if candle.ts >= begin}
    by_start.update({candle.ts: candle for candle in fresh})
    return [by_start[ts] for ts in sorted(by_start)]


def _features(windows: Iterable[Sequence[Candle]]) -> list[Features | None]:
    return [features.compute(window) if window else None for window in windows]
