"""What a replay was worth: honest figures about one curve of equity and its trades. Pure.

Returns are from hour to hour; ratios are annualised by the square root of 8,760 hours, without a
risk-free rate. A few weeks say little about a year: the ratio's standard error stands beside it
(Lo 2002, independent returns). Floats live here and in the reports only; money stays exact.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from jobs.backtest.memory_ledger import ReplayOrder
from jobs.domain.ledger import ZERO

HOURS_A_YEAR = 8760
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """One curve. Percentages of what the account began with; ratios are None where undefined."""

    return_pct: float
    max_drawdown_pct: float
    sharpe: float | None
    sharpe_error: float | None
    sortino: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A share with its 95 % interval (Wilson 1927); all None when nothing was counted."""

    hits: int
    of: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """A position from its first fill to the last one that closed it; profit with all fees."""

    market: str
    opened_at: datetime
    closed_at: datetime
    cost_krw: Decimal
    profit_krw: Decimal
    fees_krw: Decimal
    ended_by: str

    @property
    def return_pct(self) -> float:
        """Profit on what was paid, in per cent."""
        return float(self.profit_krw / self.cost_krw) * 100


def performance(hourly: Sequence[float], every: Sequence[float]) -> Performance:
    """Figures of a curve: its values from hour to hour, and all its values for the drawdown."""
    returns = [after / before - 1 for before, after in pairwise(hourly)]
    sharpe = _ratio(returns, _deviation(returns))
    down = math.sqrt(math.fsum(min(each, 0.0) ** 2 for each in returns) / max(1, len(returns)))
    year = math.sqrt(HOURS_A_YEAR)
    return Performance(
        return_pct=(hourly[-1] / hourly[0] - 1) * 100,
        max_drawdown_pct=max_drawdown_pct(every),
        sharpe=None if sharpe is None else sharpe * year,
        sharpe_error=None
        if sharpe is None
        else math.sqrt((1 + sharpe**2 / 2) / len(returns)) * year,
        sortino=None if (sortino := _ratio(returns, down)) is None else sortino * year,
    )


def drawdowns_pct(values: Iterable[float]) -> list[float]:
    """How far each value is under the highest one so far, in per cent (0 or less)."""
    found, peak = [], 0.0
    for value in values:
        peak = max(peak, value)
        found.append((value / peak - 1) * 100 if peak > 0 else 0.0)
    return found


def max_drawdown_pct(values: Iterable[float]) -> float:
    """The deepest fall under an earlier value, in per cent, 0 or more."""
    return -min(drawdowns_pct(values), default=0.0)


def wilson(hits: int, of: int) -> Interval:
    """The share of hits with its 95 % interval, which holds for few trials too."""
    if not of:
        return Interval(hits=0, of=0, share=None, low=None, high=None)
    share, z2 = hits / of, Z95**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return Interval(
        hits=hits, of=of, share=share, low=max(0.0, centre - half), high=min(1.0, centre + half)
    )


def round_trips(orders: Iterable[ReplayOrder]) -> list[RoundTrip]:
    """Every position that was closed again, oldest first; what is still open is left out."""
    open_orders: dict[str, list[ReplayOrder]] = {}
    volumes: dict[str, Decimal] = {}
    trips = []
    for order in orders:
        if not order.fills:
            continue
        mine = open_orders.setdefault(order.market, [])
        mine.append(order)
        volume = volumes.get(order.market, ZERO)
        for fill in order.fills:
            volume += fill.volume if order.side == "bid" else -fill.volume
        volumes[order.market] = volume
        if not volume:
            trips.append(_trip(mine))
            open_orders[order.market] = []
    return trips


def _trip(orders: Sequence[ReplayOrder]) -> RoundTrip:
    return RoundTrip(
        market=orders[0].market,
        opened_at=orders[0].fills[0].at,
        closed_at=orders[-1].fills[-1].at,
        cost_krw=sum((order.funds for order in orders if order.side == "bid"), ZERO),
        profit_krw=sum((order.realized_krw for order in orders), ZERO),
        fees_krw=sum((order.fee for order in orders), ZERO),
        ended_by=orders[-1].purpose,
    )


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:  # noqa: PLR2004  one value deviates from nothing
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1))


def _ratio(values: Sequence[float], risk: float) -> float | None:
    return math.fsum(values) / len(values) / risk if risk > 0 else None
