"""Days from 09:00 to 09:00 Korean time beside the candles that decisions follow; pure.

The same instant gives the same days, live (jobs/signals/daily_candles.py) and in a replay
(jobs/backtest/days.py). Nothing is made of candles that are not complete: then there are no days at
all, and a reason. The running day is that of the newest finished candle, so that the last row holds
it at 09:00, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.candles.resample import floor
from jobs.upbit.wire import DAY_UNIT, Candle

DAY = timedelta(days=1)
NOT_COLLECTED = "daily candles are not collected (jobs.market.days is 0)"
NO_YESTERDAY = "there is no finished day yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """One market's days, oldest first; the last is the running one, the one before it yesterday.

    Empty where they are not known to be complete; `why_not` says why.
    """

    candles: tuple[Candle, ...] = ()
    why_not: str = NOT_COLLECTED


def day_of(ts: datetime) -> datetime:
    """When the day began that `ts` lies in: midnight UTC is 09:00 in Korea."""
    return floor(ts, DAY_UNIT)


def assembled(finished: Sequence[Candle], running: Candle) -> Days:
    """The days of a market whose parts are all complete."""
    if not finished:
        return Days(why_not=NO_YESTERDAY)
    return Days(candles=(*finished, running), why_not="")
