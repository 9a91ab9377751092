"""The clock that slots come due by: it follows the wall, and no instant of it comes twice.

| what happens | what slots do |
|---|---|
| the wall is set forward, or the machine slept | everything in between came due late at once |
| the wall is set back by at most TOLERANCE_S | time stands still until the wall has caught up |
| the wall is set back further | slots go on by the new wall time at once |

After a step back the wall passes instants that had their slots already. Their repetitions are
slots of their own: `label` moves each by as many microseconds as there were steps back, so that
every one has a key, a run and an outcome, and the instants that people see stay true. Slots that
no schedule names (follow-ups, runs that people ask for) stand half a millisecond later, so that
they are told from the others. All other instants are whole milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from loguru import logger

from jobs.core.job import Clock

TOLERANCE_S = 2.0
MOST_REPEATS = 499
MICROSECOND = timedelta(microseconds=1)
UNSCHEDULED = timedelta(microseconds=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What stands in the ledger already: its newest instant, and the steps back before it."""

    newest: datetime | None = None
    repeats: int = 0


class SlotClock:
    """Tells the present to the scheduler, and notices when the wall clock was set.

    `elapsed` counts seconds that nobody sets, sleep of the machine included; `awake` counts the
    same without that sleep.
    """

    def __init__(
        self,
        wall: Clock,
        elapsed: Callable[[], float],
        awake: Callable[[], float],
        past: Past | None = None,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._awake = awake
        self.now = wall()
        self.rewinds = 0
        self.past = past or Past()
        self._mark = self.past.newest or self.now  # up to here instants may have had their slots
        self._repeats = self.past.repeats + (1 if self._mark > self.now else 0)
        self._seen = (self.now, elapsed(), awake())

    def look(self) -> datetime:
        """Return the present. Earlier than the last one only after a step back was noticed."""
        wall, elapsed_s, awake_s = self._wall(), self._elapsed(), self._awake()
        seen_wall, seen_elapsed_s, seen_awake_s = self._seen
        self._seen = (wall, elapsed_s, awake_s)
        passed_s = elapsed_s - seen_elapsed_s
        self._note("clock.jump", (wall - seen_wall).total_seconds() - passed_s)
        self._note("clock.suspend", passed_s - (awake_s - seen_awake_s))
        if (self.now - wall).total_seconds() > TOLERANCE_S:
            self._mark = max(self._mark, self.now)
            self._repeats = self._repeats % MOST_REPEATS + 1
            self.rewinds += 1
            self.now = wall
        else:
            self.now = max(self.now, wall)
        return self.now

    def is_repeating(self) -> bool:
        """Whether the present comes for another time."""
        return self.now < self._mark

    def repeating_until(self) -> datetime | None:
        """Return up to which instant the present comes for another time, if it does."""
        return self._mark if self.is_repeating() else None

    def label(self, instant: datetime) -> datetime:
        """Return the key of the slot at `instant`: itself, unless it is a repetition."""
        return instant + self._repeats * MICROSECOND if instant <= self._mark else instant

    def labelling(self) -> tuple[datetime, int]:
        """Return up to which instant keys differ from their instants, and by how many
        microseconds: what `label` does, for many at once."""
        return self._mark, self._repeats

    @staticmethod
    def unscheduled(at: datetime) -> datetime:
        """Return the key of a slot that no schedule names, at `at` or a moment later."""
        if timedelta(microseconds=at.microsecond % 1000) == UNSCHEDULED:
            return at
        return at + timedelta(microseconds=-at.microsecond % 1000) + UNSCHEDULED

    def elapsed_s(self) -> float:
        """Seconds that nobody sets."""
        return self._elapsed()

    def _note(self, event: str, by_s: float) -> None:
        if abs(by_s) > TOLERANCE_S:
            logger.bind(event=event, by_s=round(by_s, 3), repeats=self._repeats).warning(
                "The clock jumped"
            )
