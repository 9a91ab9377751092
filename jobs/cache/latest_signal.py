"""The newest signal, remembered: health asks every two seconds, it changes every few minutes.

Served from memory only while the database's own notifications are heard, so that a signal stored
by any process is seen at once.
"""

import asyncio

from jobs.cache.cache import Cache
from jobs.store import vitals
from jobs.store.db import Database
from jobs.store.vitals import SignalVital

CHANNEL = "signals_changed"
"""On it the database tells of every signal that is stored or removed."""

_KEY = "latest"


class LatestSignal:
    """The newest signal of all sources, through `cache`.

    `heard` is set once the database's notifications were heard.
    """

    def __init__(self, db: Database, cache: Cache[SignalVital | None]) -> None:
        self._db = db
        self._cache = cache
        self._deaf = True
        self.heard = asyncio.Event()

    async def current(self) -> SignalVital | None:
        """Return the newest signal, None when there is none yet."""
        if self._deaf:
            self._cache.clear()
        return await self._cache.get(_KEY, lambda: vitals.latest_signal(self._db))

    def invalidate(self) -> None:
        """Forget it: the next call asks the database."""
        self._cache.clear()

    def deafen(self) -> None:
        """Nobody hears of changes now: every call asks the database until `hear`."""
        self._deaf = True
        self.invalidate()

    def hear(self) -> None:
        """Changes are heard of from now on."""
        self._deaf = False
        self.invalidate()
        self.heard.set()
