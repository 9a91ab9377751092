"""Upkeep: partitions made ahead, old rows retired, signals that nobody acted on expired.

Running it twice, or twice at once, changes nothing more. Whatever one part fails at, the next run
does again.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger

from jobs.core.job import Clock, Slot
from jobs.domain.settings import Settings
from jobs.store import candle_proofs, partitions, retention
from jobs.store.db import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long rows are kept.

    Candles per unit (minutes), those of other units `other_candles`; a month of candles goes as a
    whole once all of it is older. Those of a unit in `rolled_up` become candles of that many
    minutes before they go. Snapshots that a signal was made from stay.
    """

    candles: Mapping[int, timedelta] = field(default_factory=lambda: {1: timedelta(days=180)})
    other_candles: timedelta = timedelta(days=730)
    rolled_up: Mapping[int, int] = field(default_factory=lambda: {1: 60})
    snapshots: timedelta = timedelta(days=30)
    runs: timedelta = timedelta(days=90)
    prompts: timedelta = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepJob:
    """Everything the job needs. `settings` gives the runtime settings in force."""

    db: Database
    clock: Clock
    settings: Callable[[], Awaitable[Settings]]
    keep: Keep = field(default_factory=Keep)
    months_ahead: int = 2

    async def run(self, slot: Slot) -> int:  # noqa: ARG002 - every job is handed its slot
        """Do all of it; return how many partitions and rows were made, changed or deleted."""
        done = {
            "partitions_made": await self._prepare(),
            "signals_expired": await self._expire_signals(),
            "candles_rolled_up": await self._roll_up(),
            "candles_deleted": await self._delete_candles(),
            "partitions_dropped": await self._retire(),
            **await self._delete_rest(),
        }
        logger.bind(event="upkeep.done", **done).info("upkeep is done")
        return sum(done.values())

    async def _prepare(self) -> int:
        return await partitions.prepare(self.db, self.clock(), ahead=self.months_ahead)

    async def _expire_signals(self) -> int:
        limit_s = (await self.settings()).signal_max_age_s
        before = self.clock() - timedelta(seconds=limit_s)
        reason = f"nobody acted on it within {limit_s} s"
        return await retention.expire_signals(self.db, before, reason)

    async def _roll_up(self) -> int:
        now, made = self.clock(), 0
        for unit, larger in self.keep.rolled_up.items():
            if (kept := self.keep.candles.get(unit)) is not None:
                before = partitions.month_of(now - kept)
                made += await retention.roll_up(self.db, unit, larger, before)
        return made

    async def _delete_candles(self) -> int:
        now, deleted = self.clock(), 0
        for unit, kept in self.keep.candles.items():
            before = partitions.month_of(now - kept)
            deleted += await retention.delete_candles(self.db, unit, before)
            await candle_proofs.forget_before(self.db, unit, before)
        before = partitions.month_of(now - self.keep.other_candles)
        return deleted + await retention.delete_other_candles(
            self.db, list(self.keep.candles), before
        )

    async def _retire(self) -> int:
        longest = max([*self.keep.candles.values(), self.keep.other_candles])
        return await partitions.retire(self.db, self.clock() - longest)

    async def _delete_rest(self) -> dict[str, int]:
        now, keep = self.clock(), self.keep
        return {
            "snapshots_deleted": await retention.delete_snapshots(self.db, now - keep.snapshots),
            "runs_deleted": await retention.delete_runs(self.db, now - keep.runs),
            "prompts_blanked": await retention.blank_prompts(self.db, now - keep.prompts),
        }
