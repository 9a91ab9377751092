"""What caches count, per cache and tier."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStats:
    """One tier of one cache, counted since the start; `entries` is None where nobody knows."""

    cache: str
    tier: str
    hits: int
    misses: int
    errors: int
    evictions: int
    entries: int | None

    @property
    def hit_rate(self) -> float | None:
        """Hits per lookup, None before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


@dataclass(slots=True)
class Counters:
    """What a tier counts."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    evictions: int = 0

    def stats(self, cache: str, tier: str, entries: int | None) -> TierStats:
        """The counts as a value of their own."""
        return TierStats(
            cache=cache,
            tier=tier,
            hits=self.hits,
            misses=self.misses,
            errors=self.errors,
            evictions=self.evictions,
            entries=entries,
        )
