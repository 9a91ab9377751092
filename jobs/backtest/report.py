"""Everything a replay has to say, as one frozen value: the table, the JSON and the page show it.

The same recording, plan and source give the same report to the last bit; nothing here knows what
time it is. `digest` is over every signal, order, fill and worth.
"""

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.backtest.benchmark import Stake, stakes
from jobs.backtest.candle_history import Tape
from jobs.backtest.memory_ledger import EquityPoint, ReplayOrder
from jobs.backtest.permutation_test import Null
from jobs.backtest.run import MINUTE, Plan
from jobs.backtest.signal_feed import SourceFeed
from jobs.backtest.statistics import (
    Interval,
    Performance,
    RoundTrip,
    performance,
    round_trips,
    wilson,
)
from jobs.backtest.trader import Trader
from jobs.domain.ledger import ZERO
from jobs.matching.rules import truncate

HOUR = timedelta(hours=1)
POINTS = 600
"""About so many points make a curve of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The account and its yardstick at one instant."""

    at: datetime
    equity_krw: Decimal
    hold_krw: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """One market's close at one instant."""

    at: datetime
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeLine:
    """One order that was filled. `price` is the mean of its fills; `profit_krw` is of sales."""

    at: datetime
    market: str
    side: str
    purpose: str
    price: Decimal
    volume: Decimal
    funds: Decimal
    fee: Decimal
    profit_krw: Decimal
    slippage_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketResult:
    """One market. `profit_krw` holds what is not sold yet at the last close; fees are in it."""

    market: str
    candles: int
    signals: Mapping[str, int]
    orders: int
    profit_krw: Decimal
    fees_krw: Decimal
    turnover_krw: Decimal
    hits: Interval
    best_pct: float | None
    worst_pct: float | None
    hold_pct: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was replayed, what came of it, and what it is worth beside holding and luck."""

    source: str
    models: tuple[str, ...]
    since: datetime
    until: datetime
    unit: int
    candles: int
    start_krw: Decimal
    end_krw: Decimal
    fee_rate: Decimal
    slippage_bps: Decimal
    signals_every_s: float
    settings: Mapping[str, object]
    total: Performance
    hold: Performance
    fees_krw: Decimal
    turnover_krw: Decimal
    turnover_times: float
    exposure_pct: float
    in_market_pct: float
    hits: Interval
    mean_win_pct: float | None
    mean_loss_pct: float | None
    signals: Mapping[str, int]
    orders: int
    refusals: Mapping[str, int]
    failures: Mapping[str, int]
    unanswered: Mapping[str, int]
    null: Null | None
    markets: tuple[MarketResult, ...]
    curve: tuple[CurvePoint, ...]
    prices: Mapping[str, tuple[PricePoint, ...]]
    trades: tuple[TradeLine, ...]
    trips: tuple[RoundTrip, ...]
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """Every field but the price curves, ready for JSON."""
        return {
            each.name: getattr(self, each.name) for each in fields(self) if each.name != "prices"
        }


def build(
    tape: Tape, plan: Plan, feed: SourceFeed, trader: Trader, *, source: str, null: Null | None
) -> Report:
    """The report of one replay that has been finished (`Trader.finish`)."""
    markets = [market for market in feed.names if market in tape.reels]
    hold = stakes(tape, plan, markets)
    trips = round_trips(trader.books.orders)
    filled = [order for order in trader.books.orders if order.fills]
    points = trader.books.equity
    turnover = _sum(order.funds for order in filled)
    wins = [trip.return_pct for trip in trips if trip.profit_krw > 0]
    losses = [trip.return_pct for trip in trips if trip.profit_krw <= 0]
    return Report(
        source=source,
        models=tuple(sorted(feed.models)),
        since=plan.since,
        until=plan.until,
        unit=tape.unit,
        candles=tape.count(plan.since, plan.until),
        start_krw=plan.start_krw,
        end_krw=points[-1].total_krw,
        fee_rate=plan.rules.fee_krw,
        slippage_bps=plan.slippage_bps,
        signals_every_s=plan.every.total_seconds(),
        settings={each.name: getattr(plan.settings, each.name) for each in fields(plan.settings)},
        total=_of_account(plan, points),
        hold=_of_hold(tape, plan, hold),
        fees_krw=_sum(order.fee for order in filled),
        turnover_krw=turnover,
        turnover_times=float(turnover) / _mean(float(point.total_krw) for point in points),
        exposure_pct=_mean(float(each.positions_krw / each.total_krw) * 100 for each in points),
        in_market_pct=_mean(100.0 * (each.positions_krw > 0) for each in points),
        hits=wilson(len(wins), len(trips)),
        mean_win_pct=_mean(wins) if wins else None,
        mean_loss_pct=_mean(losses) if losses else None,
        signals=_counted(each.signal.action for each in feed.said),
        orders=len(trader.books.orders),
        refusals=_counted(trader.refusals.elements()),
        failures=_counted(feed.failures.elements()),
        unanswered=_counted(feed.refused.elements()),
        null=null,
        markets=tuple(_market(tape, plan, feed, trader, trips, stake) for stake in hold),
        curve=tuple(_curve(tape, plan, points, hold)),
        prices={market: tuple(_prices(tape, plan, market)) for market in markets},
        trades=tuple(map(_trade, filled)),
        trips=tuple(trips),
        digest=_digest(feed, trader),
    )


def _of_account(plan: Plan, points: Sequence[EquityPoint]) -> Performance:
    instants = [point.at for point in points]
    every = [float(point.total_krw) for point in points]
    hourly = [float(plan.start_krw)]
    for at in _grid(plan, HOUR)[1:]:
        seat = bisect_right(instants, at)
        hourly.append(every[seat - 1] if seat else hourly[-1])
    return performance(hourly, [hourly[0], *every])


def _of_hold(tape: Tape, plan: Plan, hold: Sequence[Stake]) -> Performance:
    def worth(at: datetime) -> float:
        return float(_sum(stake.worth(tape, at) for stake in hold))

    hourly = [worth(at) for at in _grid(plan, HOUR)]
    return performance(hourly, [worth(at) for at in _grid(plan, 5 * MINUTE)])


def _grid(plan: Plan, step: timedelta) -> list[datetime]:
    """Instants from beginning to end, `step` apart; the last one is the end."""
    whole = (plan.until - plan.since) // step
    found = [plan.since + number * step for number in range(whole + 1)]
    return found if found[-1] == plan.until else [*found, plan.until]


def _step(plan: Plan) -> timedelta:
    """Whole minutes between the points of a curve."""
    return max(1, math.ceil(plan.minutes / POINTS)) * MINUTE


def _curve(
    tape: Tape, plan: Plan, points: Sequence[EquityPoint], hold: Sequence[Stake]
) -> Iterator[CurvePoint]:
    instants = [point.at for point in points]
    for at in _grid(plan, _step(plan)):
        seat = bisect_right(instants, at)
        yield CurvePoint(
            at=at,
            equity_krw=points[seat - 1].total_krw if seat else plan.start_krw,
            hold_krw=_sum(stake.worth(tape, at) for stake in hold),
        )


def _prices(tape: Tape, plan: Plan, market: str) -> Iterator[PricePoint]:
    for at in _grid(plan, _step(plan)):
        if (price := tape.reels[market].close_before(at)) is not None:
            yield PricePoint(at=at, price=price)


def _market(
    tape: Tape,
    plan: Plan,
    feed: SourceFeed,
    trader: Trader,
    trips: Sequence[RoundTrip],
    stake: Stake,
) -> MarketResult:
    market = stake.market
    orders = [each for each in trader.books.orders if each.market == market]
    mine = [trip for trip in trips if trip.market == market]
    returns = [trip.return_pct for trip in mine]
    profit = _sum(order.realized_krw for order in orders)
    holding = trader.books.held.get(market)
    price = tape.reels[market].close_before(plan.until)
    if holding is not None and price is not None:
        profit += holding.unrealized(price)
    return MarketResult(
        market=market,
        candles=tape.reels[market].count(plan.since, plan.until),
        signals=_counted(s.signal.action for s in feed.said if s.signal.market == market),
        orders=len(orders),
        profit_krw=profit,
        fees_krw=_sum(order.fee for order in orders),
        turnover_krw=_sum(order.funds for order in orders),
        hits=wilson(sum(trip.profit_krw > 0 for trip in mine), len(mine)),
        best_pct=max(returns, default=None),
        worst_pct=min(returns, default=None),
        hold_pct=float(stake.worth(tape, plan.until) / stake.share_krw - 1) * 100,
    )


def _trade(order: ReplayOrder) -> TradeLine:
    volume = _sum(fill.volume for fill in order.fills)
    price = order.funds / volume
    return TradeLine(
        at=order.fills[0].at,
        market=order.market,
        side=order.side,
        purpose=order.purpose,
        price=truncate(price).normalize(),
        volume=volume,
        funds=order.funds,
        fee=order.fee,
        profit_krw=order.realized_krw,
        slippage_bps=float(abs(price / order.seen_price - 1)) * 10_000,
    )


def _digest(feed: SourceFeed, trader: Trader) -> str:
    state = hashlib.sha256()
    for each in feed.said:
        signal = each.signal
        line = (signal.id, signal.created_at, signal.market, signal.action, signal.confidence)
        state.update(f"{line} {each.decision.reason}\n".encode())
    for order in trader.books.orders:
        state.update(f"{order} {order.request}\n".encode())
    for point in trader.books.equity:
        state.update(f"{point}\n".encode())
    return state.hexdigest()


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
