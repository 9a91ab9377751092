"""Signals made as the signals job makes them, from what the tape has shown so far.

Shared with the live job: what a source is asked (inputs.py, features.py), the sources themselves
and the check of what they say. A source that fails in a slot makes no signals there; the trouble is
counted by its kind.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from jobs.backtest.candle_history import Tape
from jobs.backtest.days import TapeDays
from jobs.backtest.trader import Trader
from jobs.candles import features, resample
from jobs.candles.days import Days
from jobs.candles.features import Features
from jobs.candles.freshness import Pace
from jobs.core.errors import JobError
from jobs.core.job import Slot
from jobs.domain.portfolio import SignalFact
from jobs.signals import inputs, multi_timeframe
from jobs.signals.protocol import Decision, Inputs, MarketInput, Source, Verdict
from jobs.store.market_data import Snapshot

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One signal with what led to it."""

    signal: SignalFact
    decision: Decision
    candle_ts: datetime


@dataclass(slots=True, kw_only=True)
class SourceFeed:
    """Asks `source` in every slot about each market with a new candle.

    `names` maps each market to what the exchange calls it; `longer_units` are the larger candles
    whose features the source is told as well, `days` the days.
    """

    tape: Tape
    source: Source
    names: Mapping[str, str]
    pace: Pace = field(default_factory=Pace)
    longer_units: tuple[int, ...] = ()
    days: TapeDays | None = None
    said: list[Said] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    slots: int = 0
    _decided: dict[str, datetime] = field(default_factory=dict)
    _longer: dict[tuple[str, int], tuple[datetime, tuple[Features, ...]]] = field(
        default_factory=dict
    )

    async def __call__(self, now: datetime, trader: Trader) -> list[SignalFact]:
        """The signals of one slot."""
        asking = self._gather(now, trader)
        self.slots += 1
        if not asking.markets:
            return []
        asked = {market.market: market for market in asking.markets}
        try:
            verdict = await self.source.decide(asking)
            inputs.check(verdict, asked)
        except JobError as exc:
            self.failures[type(exc).__name__] += 1
            return []
        self.models.add(verdict.model)
        self.refused.update(verdict.refused.keys())
        return [self._note(each, asked, verdict, now) for each in verdict.decisions]

    def _gather(self, now: datetime, trader: Trader) -> Inputs:
        windows = {
            market: self.tape.window(market, inputs.COUNT, now)
            for market in self.names
            if market in self.tape.reels
        }
        snapshots = {name: snapshot(self.tape, name, now) for name, win in windows.items() if win}
        out = dict(inputs.left_out(windows, snapshots, now=now, pace=self.pace))
        held = trader.books.held
        markets = []
        for market, window in windows.items():
            if market in out or self._decided.get(market) == window[-1].ts:
                continue
            computed = features.compute(window)
            markets.append(
                replace(
                    inputs.market_input(
                        self.names[market],
                        window,
                        computed,
                        snapshots[market],
                        held.get(market),
                        longer=self._longer_features(market, window[-1].ts + self.tape.step),
                    ),
                    days=Days() if self.days is None else self.days.of(market, window[-1].ts),
                )
            )
        slot = Slot(job="signals", scheduled_at=now, run_id=f"replay-{self.slots}")
        return Inputs(slot=slot, now=now, markets=tuple(markets))

    def _longer_features(self, market: str, end: datetime) -> tuple[Features, ...]:
        """Features on larger candles as of `end`, each computed once a candle."""
        found: tuple[Features, ...] = ()
        for unit in self.longer_units:
            last = resample.floor(end, unit)
            known = self._longer.get((market, unit))
            if known is None or known[0] != last:
                count = (multi_timeframe.COUNT + 1) * unit // self.tape.unit
                candles = self.tape.window(market, count, end)
                known = (last, multi_timeframe.of_candles(candles, (unit,), until=end))
                self._longer[market, unit] = known
            found += known[1]
        return found

    def _note(
        self, each: Decision, asked: Mapping[str, MarketInput], verdict: Verdict, now: datetime
    ) -> SignalFact:
        del verdict
        signal = SignalFact(
            id=len(self.said) + 1,
            market=each.market,
            action=each.action,
            confidence=each.confidence,
            created_at=now,
        )
        candle_ts = asked[each.market].features.candle_ts
        self._decided[each.market] = candle_ts
        self.said.append(Said(signal=signal, decision=each, candle_ts=candle_ts))
        return signal


def snapshot(tape: Tape, market: str, now: datetime) -> Snapshot:
    """What a ticker at `now` would say, from candles that have ended: nothing newer is known."""
    reel = tape.reels[market]
    price = reel.close_before(now)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = reel.close_before(midnight)
    minute = now.replace(second=0, microsecond=0)
    volume, value = reel.day_totals(minute)
    if price is None:
        raise ValueError(f"{market} has no price before {now}")
    return Snapshot(
        id=0,
        market=market,
        ts=minute,
        price=price,
        volume_24h=volume,
        value_24h=value,
        change_rate=price / yesterday - 1 if yesterday else ZERO,
    )
