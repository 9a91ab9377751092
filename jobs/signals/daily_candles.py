"""Days from 09:00 to 09:00 Korean time from the database, with the reason where there are none.

finished   as the exchange gives them; one that has not come yet is made of the smallest candles
running    made of the smallest candles that had ended with the newest one
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from jobs.candles.backlog import Span
from jobs.candles.days import DAY, Days, assembled, day_of
from jobs.store import candles as candle_store
from jobs.store.db import Database
from jobs.upbit.wire import DAY_UNIT, Candle


class Completeness(Protocol):
    """Who knows what of stored candles is complete: jobs.candles.backlog.CandlePlan."""

    def holes(self, market: str, unit: int, since: datetime, until: datetime) -> list[Span]:
        """What of [since, until) may lack a candle that the exchange has."""
        ...

    def is_complete(self, market: str, unit: int, since: datetime, until: datetime) -> bool:
        """Whether all of [since, until) was looked at, and lacks nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCandles:
    """The last `count` finished days of each market and the running one, from the database.

    `base` are the minutes of the smallest candles that are collected.
    """

    db: Database
    base: int
    count: int
    known: Completeness
    _finished: dict[str, tuple[datetime, tuple[Candle, ...]]] = field(default_factory=dict)

    async def of(self, newest: Mapping[str, datetime]) -> dict[str, Days]:
        """The days of each market as of its newest finished candle, which began at `newest`."""
        finished = await self._finished_of(newest)
        spans = {
            market: (day_of(ts), ts + timedelta(minutes=self.base)) for market, ts in newest.items()
        }
        running = await candle_store.joined(self.db, self.base, DAY_UNIT, spans)
        found: dict[str, Days] = {}
        for market, span in spans.items():
            days = finished[market]
            if isinstance(days, str):
                found[market] = Days(why_not=days)
            elif market not in running or not self.known.is_complete(market, self.base, *span):
                found[market] = Days(why_not=_incomplete(span[0]))
            else:
                found[market] = assembled(days, running[market])
        return found

    async def _finished_of(
        self, newest: Mapping[str, datetime]
    ) -> dict[str, tuple[Candle, ...] | str]:
        found: dict[str, tuple[Candle, ...] | str] = {}
        asked: defaultdict[datetime, list[str]] = defaultdict(list)
        for market, ts in newest.items():
            today, known = day_of(ts), self._finished.get(market)
            if known is not None and known[0] == today:
                found[market] = known[1]
            else:
                asked[today].append(market)
        for today, markets in asked.items():
            stored = await candle_store.window(self.db, markets, DAY_UNIT, self.count, today)
            for market in markets:
                found[market] = await self._whole(market, stored[market], today)
        return found

    async def _whole(
        self, market: str, stored: Sequence[Candle], today: datetime
    ) -> tuple[Candle, ...] | str:
        """The finished days before `today`, or why they are not known to be all."""
        first = stored[0].ts if stored else today - self.count * DAY
        holes = self.known.holes(market, DAY_UNIT, first, today)
        if not holes:
            self._finished[market] = (today, tuple(stored))
            return tuple(stored)
        made: list[Candle] = []
        for day in _days_in(holes):
            span = (day, day + DAY)
            if not self.known.is_complete(market, self.base, *span):
                return f"the daily candle of {day:%F} has not come yet"
            joined = await candle_store.joined(self.db, self.base, DAY_UNIT, {market: span})
            made += joined.values()
        by_day = {each.ts: each for each in (*made, *stored)}
        return tuple(by_day[day] for day in sorted(by_day))[-self.count :]


def _days_in(spans: Sequence[Span]) -> Iterator[datetime]:
    for since, until in spans:
        day = day_of(since)
        while day < until:
            yield day
            day += DAY


def _incomplete(day: datetime) -> str:
    return f"the candles of the day that began at {day:%F %H:%M} UTC are not complete yet"
