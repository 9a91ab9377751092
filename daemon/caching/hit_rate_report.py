"""How the caches did, every hour: one line a tier, and an alert for one that misses too often."""

import asyncio
from collections.abc import Callable, Sequence

from loguru import logger

from jobs.cache.stats import TierStats
from jobs.core.job import Incident, Notifier, Sleep

EVERY_S = 3600.0
LOWEST_HIT_RATE = 0.8
IN_USE = 30
"""Lookups in an hour from which on a hit rate says something."""


async def report_hourly(
    stats: Callable[[], Sequence[TierStats]],
    notifier: Notifier,
    *,
    sleep: Sleep = asyncio.sleep,
    every_s: float = EVERY_S,
) -> None:
    """Write `cache.stats` every hour, and tell of a cache in use that misses too often.

    Runs until cancelled.
    """
    before = {(each.cache, each.tier): each for each in stats()}
    while True:
        await sleep(every_s)
        now = {(each.cache, each.tier): each for each in stats()}
        hours = [_since(before.get(key), each) for key, each in now.items()]
        for hour in hours:
            logger.bind(
                event="cache.stats",
                cache=hour.cache,
                tier=hour.tier,
                hits=hour.hits,
                misses=hour.misses,
                errors=hour.errors,
                evictions=hour.evictions,
                entries=hour.entries,
                hit_rate=None if hour.hit_rate is None else round(hour.hit_rate, 4),
            ).info("Cache")
        for cache in dict.fromkeys(each.cache for each in hours):
            await _judge([each for each in hours if each.cache == cache], notifier)
        before = now


def _since(before: TierStats | None, now: TierStats) -> TierStats:
    if before is None:
        return now
    return TierStats(
        cache=now.cache,
        tier=now.tier,
        hits=now.hits - before.hits,
        misses=now.misses - before.misses,
        errors=now.errors - before.errors,
        evictions=now.evictions - before.evictions,
        entries=now.entries,
    )


async def _judge(tiers: Sequence[TierStats], notifier: Notifier) -> None:
    """Raise or close the alert of one cache by what its tiers did in an hour of use.

    What the process did not have and the shared tier did is a hit.
    """
    hits = sum(each.hits for each in tiers)
    lookups = tiers[0].hits + tiers[0].misses
    if lookups < IN_USE:
        return
    incident = f"cache_hit_rate_low:{tiers[0].cache}"
    if hits >= LOWEST_HIT_RATE * lookups:
        await notifier.resolve(incident)
        return
    await notifier.notify(
        Incident(
            kind="cache_hit_rate_low",
            severity="warning",
            incident=incident,
            title=f"The cache {tiers[0].cache} misses often",
            message=(
                f"{hits} of {lookups} lookups in the last hour were hits "
                f"({hits / lookups:.0%}, limit {LOWEST_HIT_RATE:.0%})"
            ),
        )
    )
