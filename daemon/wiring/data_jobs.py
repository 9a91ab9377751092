"""The jobs that collect data and decide upon it, built from what is open."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from daemon.config.load import Config
from daemon.leadership.term import OnDeferred
from daemon.resources import Resources
from daemon.scheduling.pace import market_pace, signals_pace
from jobs.candles.backlog import CandlePlan
from jobs.candles.resample import larger
from jobs.candles.selection import Selection
from jobs.market.history import HistoryFiller
from jobs.market.job import MarketJob
from jobs.market.marks import MarketMarks
from jobs.signals.daily_candles import DailyCandles
from jobs.signals.job import SignalsJob
from jobs.signals.multi_timeframe import LongerFeatures
from jobs.upbit.limits import QUOTATION

BUILTIN = ("gemini", "rules")
FAR = timedelta(minutes=10)
"""Slots of the signals job that are so far apart do not make a late decision by themselves."""


def make_filler(resources: Resources, told: Callable[[str | None], None]) -> HistoryFiller:
    """Return what fills in the history beside the market job."""
    config = resources.base.config
    return HistoryFiller(
        client=resources.upbit,
        db=resources.base.database,
        clock=resources.base.clock,
        plan=CandlePlan(),
        sleep=asyncio.sleep,
        units=config.jobs.market.candle_units,
        in_flight=history_in_flight(config),
        told=told,
    )


def make_market_job(
    resources: Resources,
    selection: Selection,
    watch: Callable[[], Awaitable[None]],
    filler: HistoryFiller,
) -> MarketJob:
    """Return the market job; it shares its plan with `filler`."""
    config = resources.base.config
    return MarketJob(
        client=resources.upbit,
        db=resources.base.database,
        clock=resources.base.clock,
        selection=selection,
        units=config.jobs.market.candle_units,
        history=config.jobs.market.history,
        days=days_wanted(config),
        max_concurrency=config.upbit.max_concurrency,
        plan=filler.plan,
        filler=filler,
        snapshots=resources.caches.snapshots,
        watch=watch,
    )


def make_signals_job(
    resources: Resources,
    selection: Selection,
    marks: MarketMarks,
    plan: CandlePlan,
    on_deferred: OnDeferred,
) -> SignalsJob:
    """Return the signals job; it decides over no hole that `plan` knows of."""
    config = resources.base.config
    collected = config.jobs.market.candle_units
    unit = min(collected)
    return SignalsJob(
        db=resources.base.database,
        source=resources.source,
        source_name=config.signals.source,
        markets=selection.called,
        mode=config.trading.mode,
        clock=resources.base.clock,
        unit=unit,
        pace=market_pace(config),
        holes=plan.holes,
        again=_again(config, on_deferred),
        longer=LongerFeatures(
            db=resources.base.database,
            base=unit,
            units=larger(unit, (*collected, *config.signals.longer_units)),
            collected=frozenset(collected),
            holes=plan.holes,
        ),
        daily=_daily(resources, plan, unit),
        books=resources.upbit.orderbooks if config.signals.spread else None,
        marks=marks.current,
    )


def history_in_flight(config: Config) -> int:
    """Return how many requests of the history may be under way: half a second's worth.

    The limiter serves in the order of asking, so that many can be before the newest candles'.
    """
    half_a_second = math.ceil(QUOTATION["candle"].requests * config.upbit.rate_share / 2)
    return max(1, min(half_a_second, config.upbit.max_concurrency // 2))


def days_wanted(config: Config) -> int:
    """Return how many finished days are kept; the sources that come along look at none."""
    return 0 if config.signals.source in BUILTIN else config.jobs.market.days


def _daily(resources: Resources, plan: CandlePlan, base: int) -> DailyCandles | None:
    count = days_wanted(resources.base.config)
    if not count:
        return None
    return DailyCandles(db=resources.base.database, base=base, count=count, known=plan)


def _again(config: Config, on_deferred: OnDeferred) -> Callable[[datetime], Awaitable[None]] | None:
    """What has the signals job run once more; None where its next slot is soon enough.

    Where slots are closer than candles, another run decides about late ones only and costs nothing.
    """
    period = signals_pace(config).period
    unit = min(config.jobs.market.candle_units) * timedelta(minutes=1)
    if period < FAR or period > unit:
        return None
    return partial(on_deferred, "signals")
