"""An hour's line a tier, an alert for a cache in use that misses too often, and its end."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from daemon.caching.hit_rate_report import EVERY_S, report_hourly
from jobs.cache.stats import TierStats
from jobs.core.job import Incident

if TYPE_CHECKING:
    from loguru import Record


@dataclass(slots=True)
class Notes:
    raised: list[Incident] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)

    async def notify(self, incident: Incident) -> None:
        self.raised.append(incident)

    async def resolve(self, incident: str) -> None:
        self.resolved.append(incident)


def tier(name: str, hits: int, misses: int, kind: str = "process") -> TierStats:
    return TierStats(
        cache=name, tier=kind, hits=hits, misses=misses, errors=0, evictions=0, entries=1
    )


async def hours(*counts: list[TierStats]) -> Notes:
    """What was told when the counts stood so at the start and after each hour."""
    notes, steps = Notes(), iter(counts)
    now = next(steps)

    async def sleep(seconds: float) -> None:
        nonlocal now
        assert seconds == EVERY_S
        try:
            now = next(steps)
        except StopIteration:
            raise asyncio.CancelledError from None

    with pytest.raises(asyncio.CancelledError):
        await report_hourly(lambda: now, notes, sleep=sleep)
    return notes


async def test_a_cache_that_misses_often_is_told_of_and_so_is_its_recovery() -> None:
    notes = await hours(
        [tier("prices", 1000, 0)], [tier("prices", 1079, 21)], [tier("prices", 1159, 41)]
    )
    (incident,) = notes.raised
    assert (incident.kind, incident.incident) == ("cache_hit_rate_low", "cache_hit_rate_low:prices")
    assert "79 of 100" in incident.message
    assert "79%, limit 80%" in incident.message
    assert notes.resolved == ["cache_hit_rate_low:prices"]


async def test_the_hour_counts_and_not_the_time_before() -> None:
    notes = await hours([tier("prices", 0, 1000)], [tier("prices", 90, 1010)])
    assert (notes.raised, notes.resolved) == ([], ["cache_hit_rate_low:prices"])


async def test_a_cache_that_is_hardly_used_says_nothing() -> None:
    notes = await hours([tier("prices", 0, 0)], [tier("prices", 0, 29)])
    assert (notes.raised, notes.resolved) == ([], [])


async def test_what_the_shared_tier_had_is_a_hit() -> None:
    start = [tier("prices", 0, 0), tier("prices", 0, 0, "redis")]
    notes = await hours(start, [tier("prices", 10, 90), tier("prices", 75, 15, "redis")])
    assert notes.raised == []
    notes = await hours(start, [tier("prices", 10, 90), tier("prices", 60, 30, "redis")])
    assert len(notes.raised) == 1


async def test_each_tier_has_its_line_with_the_hours_counts(log_records: "list[Record]") -> None:
    await hours([tier("a", 5, 5)], [tier("a", 8, 6), tier("b", 0, 0, "redis")])
    lines = [r["extra"] for r in log_records if r["extra"].get("event") == "cache.stats"]
    assert [(each["cache"], each["tier"], each["hits"], each["misses"]) for each in lines] == [
        ("a", "process", 3, 1),
        ("b", "redis", 0, 0),
    ]
    assert [each["hit_rate"] for each in lines] == [0.75, None]
