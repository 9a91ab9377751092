"""The settings in this process: read once, served until they change or their time is up."""

import time

from jobs.cache.cache import Monotonic
from jobs.cache.single_flight import SingleFlight
from jobs.cache.stats import Counters, TierStats
from jobs.domain.settings import Settings
from jobs.store.db import Database
from jobs.store.settings import read

CHANNEL = "settings_changed"
"""On it the database tells of every change of a setting (jobs/cache/listener.py)."""

NEVER = float("-inf")


class SettingsCache:
    """The settings, at most `ttl_s` seconds old.

    With a listener at work, a change made anywhere is seen at once; while the listener has lost
    its connection nothing is served from here, every call asks the database.
    """

    def __init__(
        self, db: Database, ttl_s: float, *, monotonic: Monotonic = time.monotonic
    ) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._last_good = Settings()
        self._good_until = NEVER
        self._deaf = False
        self._counters = Counters()
        self._flights = SingleFlight[Settings]()

    async def current(self) -> Settings:
        """Return the settings in force.

        A row that is bad keeps its last good value (its default when there was none). Raises
        Unavailable when they have to be read and the database is away.
        """
        if self._monotonic() < self._good_until:
            self._counters.hits += 1
            return self._last_good
        self._counters.misses += 1
        return await self._flights.join("settings", self._load)

    def invalidate(self) -> None:
        """Forget them: the next call reads the database."""
        self._good_until = NEVER
        self._flights.forget("settings")

    def deafen(self) -> None:
        """Nobody hears of changes now: serve nothing from here until `hear`."""
        self._deaf = True
        self.invalidate()

    def hear(self) -> None:
        """Changes are heard of from now on."""
        self._deaf = False
        self.invalidate()

    @property
    def stats(self) -> TierStats:
        """Hits and misses since the start."""
        entries = int(self._monotonic() < self._good_until)
        return self._counters.stats("settings", "process", entries)

    async def _load(self) -> Settings:
        asked_at = self._monotonic()
        async with self._db.begin() as connection:
            settings = await read(connection, fallback=self._last_good)
        if self._flights.is_current("settings"):
            self._last_good = settings
            if not self._deaf:
                self._good_until = asked_at + self._ttl_s
        return settings
