"""Tells people when a setting lets the daemon risk more, by whatever way it was changed.

It reads the audit that a trigger of the database writes, so that psql counts like a command, and a
change that was made while no daemon ran is told at the next start.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from jobs.core.errors import JobError
from jobs.core.job import Clock, Incident, Notifier, Sleep
from jobs.domain.settings import HALTED
from jobs.store.alerts import known_incidents
from jobs.store.db import Database
from jobs.store.loosening import Change, changes_since

LOOK_EVERY_S = 2.0
TIMEOUT_S = 5.0
LOOK_BACK = timedelta(days=1)
OUT_OF_ORDER = 100
"""Changes of several transactions need not become visible in the order of their numbers."""
KINDS = ("setting_loosened", "resumed")


@dataclass(slots=True, kw_only=True)
class SettingsWatch:
    """Looks at the newest changes every two seconds. Of several daemons the leader does."""

    db: Database
    notifier: Notifier
    clock: Clock
    is_live: bool
    is_leader: Callable[[], bool]
    _seen: set[int] = field(default_factory=set)
    _told: set[str] | None = None

    async def keep(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Look until cancelled."""
        while True:
            if self.is_leader():
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        await self.look()
                except (JobError, SQLAlchemyError, TimeoutError) as exc:
                    logger.bind(event="settings.not_watched", error=str(exc)).info(
                        "Changes of settings cannot be read now"
                    )
            await sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Tell of the changes that nobody was told of yet. Raises what the database raises."""
        since = self.clock() - LOOK_BACK
        if self._told is None:  # by an earlier process
            self._told = await known_incidents(self.db, KINDS, since)
        after = max(self._seen, default=0) - OUT_OF_ORDER
        for change in await changes_since(self.db, after, since):
            if change.id in self._seen:
                continue
            self._seen.add(change.id)
            incident = _incident(change, is_live=self.is_live)
            if change.is_looser and incident.incident not in self._told:
                await self.notifier.notify(incident)
        self._seen = {each for each in self._seen if each > after}


def _incident(change: Change, *, is_live: bool) -> Incident:
    kind = "resumed" if change.key == HALTED else "setting_loosened"
    why = f": {change.reason}" if change.reason else ""
    what = f"{change.key} from {change.old} to {change.new}"
    return Incident(
        kind=kind,
        severity="warning" if is_live else "info",
        incident=f"{kind}:{change.id}",
        title="Trading was resumed" if kind == "resumed" else f"{change.key} risks more now",
        message=f"{change.by} changed {what} at {change.at:%Y-%m-%d %H:%M:%S} UTC{why}",
        is_event=True,
    )
