"""Days in a replay: the same as live at the same instant, from the exchange's days or the tape.

A recording does not say whether a stretch without candles was quiet or was not recorded: a day with
a hole of more than four hours is no day, and nothing before it is shown.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.backtest.candle_history import Reel, Tape
from jobs.candles.days import DAY, Days, assembled, day_of
from jobs.candles.resample import extended
from jobs.upbit.wire import DAY_UNIT, Candle

LONGEST_QUIET = timedelta(hours=4)


@dataclass(slots=True)
class _Running:
    """A day as far as it was made: the candles before `seat` are in it."""

    day: datetime
    seat: int
    candle: Candle | None = None


@dataclass(slots=True, kw_only=True)
class TapeDays:
    """The last `count` finished days and the running one, as of a market's newest candle.

    `recorded` are days that the exchange itself gave.
    """

    tape: Tape
    count: int
    recorded: Mapping[str, Sequence[Candle]] = field(default_factory=dict)
    _finished: dict[str, tuple[datetime, tuple[Candle, ...]]] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)

    def of(self, market: str, newest: datetime) -> Days:
        """The days as of the candle that began at `newest`."""
        today, reel = day_of(newest), self.tape.reels[market]
        if not _is_whole(reel, today, newest + self.tape.step):
            return Days(why_not=f"the day that began at {today:%F %H:%M} UTC is not all recorded")
        known = self._finished.get(market)
        if known is None or known[0] != today:
            known = self._finished[market] = (today, self._days_before(market, today))
        return assembled(known[1], self._day_so_far(market, today, newest))

    def _days_before(self, market: str, today: datetime) -> tuple[Candle, ...]:
        recorded = {each.ts: each for each in self.recorded.get(market, ())}
        reel, found = self.tape.reels[market], list[Candle]()
        oldest = min([reel.candles[0].ts, *recorded])
        day = today - DAY
        while len(found) < self.count and day >= day_of(oldest):
            made = recorded.get(day)
            if made is None and _is_whole(reel, day, day + DAY):
                made = _joined(reel, day)
            if made is None:
                if not recorded or day >= max(recorded) or day <= min(recorded):
                    break
            else:
                found.append(made)
            day -= DAY
        return tuple(reversed(found))

    def _day_so_far(self, market: str, today: datetime, newest: datetime) -> Candle:
        reel, known = self.tape.reels[market], self._running.get(market)
        if known is None or known.day != today:
            known = self._running[market] = _Running(today, bisect_left(reel.starts, today))
        while known.seat < len(reel.candles) and reel.candles[known.seat].ts <= newest:
            known.candle = extended(known.candle, reel.candles[known.seat], today, DAY_UNIT)
            known.seat += 1
        if known.candle is None:
            raise ValueError(f"{market} has no candle between {today} and {newest}")
        return known.candle


def _is_whole(reel: Reel, day: datetime, until: datetime) -> bool:
    """Whether the reel has the day from its beginning up to `until`, as far as holes tell."""
    starts = reel.starts
    begin, end = bisect_left(starts, day), bisect_left(starts, until)
    if begin == len(starts) or (begin == 0 and starts[0] != day):
        return False  # its beginning was never seen
    if starts[begin] != day:
        begin -= 1  # a hole may reach over midnight
    if until == day + DAY:
        end += 1  # and over the next one; a running day is not looked beyond
    return all(later - earlier <= LONGEST_QUIET for earlier, later in pairwise(starts[begin:end]))


def _joined(reel: Reel, day: datetime) -> Candle | None:
    made: Candle | None = None
    for seat in range(bisect_left(reel.starts, day), bisect_left(reel.starts, day + DAY)):
        made = extended(made, reel.candles[seat], day, DAY_UNIT)
    return made
