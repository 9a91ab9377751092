"""How old market data may be to be acted on: it follows the candles' length and the schedule.

    a snapshot   three periods of the market job, and never less than three minutes
    a candle     the newest finished one ended less than one unit and that slack ago

The period of a crontab line is the shortest of its steps. While it pauses (nights, weekends) data
grows old as it does when the job fails: nobody acts on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.candles.backlog import Span

MINUTE = timedelta(minutes=1)
AT_LEAST = 3 * MINUTE
LATE = timedelta(minutes=30)
"""How long after its end a candle is still waited for."""

Holes = Callable[[str, int, datetime, datetime], list[Span]]
"""What of a span of a market's candles of one unit may lack a candle that the exchange has."""


def no_holes(_market: str, _unit: int, _since: datetime, _until: datetime) -> list[Span]:
    """Take whatever is stored as complete: recordings, and tests."""
    return []


def always_due(now: datetime) -> datetime:
    """Take a slot as due just now: a schedule without pauses."""
    return now


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a job is due: the shortest time between two slots, and when the last one was."""

    period: timedelta = MINUTE
    last_due: Callable[[datetime], datetime] = always_due

    @property
    def slack(self) -> timedelta:
        """How old the job's data may be."""
        return max(AT_LEAST, 3 * self.period)

    def candle_age(self, unit: int) -> timedelta:
        """How long ago the newest finished candle of `unit` minutes may have ended."""
        return unit * MINUTE + self.slack - MINUTE

    def signal_age(self, configured: timedelta, unit: int, now: datetime) -> timedelta:
        """How old the newest signal may be at `now` when this is the pace of decisions.

        `configured` is enough for short candles and short steps; there is at most one signal a
        candle and a slot, and none while no slot is due.
        """
        least = max(unit * MINUTE, self.period) + AT_LEAST
        pause = max(timedelta(0), now - self.last_due(now) - self.period)
        return max(configured, least) + pause
