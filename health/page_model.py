"""What the page shows beside the six components. The root fills it from the database.

Instants are aware UTC, money and volumes Decimal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job: its newest slot that has an outcome, and its finished runs of the last 24 hours.

    Skipped and cancelled slots are no runs. `schedule` is a text such as "every 1m".
    """

    name: str
    schedule: str
    scheduled_at: datetime | None
    outcome: str | None
    reason: str | None
    duration_s: float | None
    runs: int
    ok: int
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """One signal. `confidence` is 0 to 1."""

    id: int
    at: datetime
    market: str
    action: str
    confidence: Decimal
    reason: str
    status: str
    status_reason: str | None
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """One order with the sum of its fills; `fills` counts them. `price` None: a market order."""

    id: int
    at: datetime
    market: str
    side: str
    ord_type: str
    purpose: str
    price: Decimal | None
    volume: Decimal | None
    state: str
    reason: str | None
    executed_volume: Decimal
    executed_funds: Decimal
    paid_fee: Decimal
    fills: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """One open position. `last_price` is the newest stored price, None when there is none.

    `marks` is what the exchange warns of in its market.
    """

    market: str
    volume: Decimal
    avg_price: Decimal
    last_price: Decimal | None
    opened_at: datetime | None
    marks: str | None = None

    @property
    def value_krw(self) -> Decimal | None:
        """What it is worth at the last price."""
        return None if self.last_price is None else self.volume * self.last_price

    @property
    def unrealized_krw(self) -> Decimal | None:
        """What closing it at the last price would bring over its cost, before fees."""
        if self.last_price is None:
            return None
        return (self.last_price - self.avg_price) * self.volume

    @property
    def unrealized_pct(self) -> Decimal | None:
        """The same in percent of its cost."""
        if self.last_price is None or not self.avg_price:
            return None
        return (self.last_price / self.avg_price - 1) * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """Cash plus positions at one instant."""

    ts: datetime
    total_krw: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CostToday:
    """The budget day's model calls. `reserved_usd` is set aside for calls without an answer yet."""

    spent_usd: Decimal
    reserved_usd: Decimal
    budget_usd: Decimal
    calls: int
    tokens_in: int
    tokens_out: int
    tokens_thought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything below the components, as the database knew it at `at`."""

    at: datetime
    jobs: Sequence[JobRow]
    signals: Sequence[SignalRow]
    orders: Sequence[OrderRow]
    positions: Sequence[PositionRow]
    equity: Sequence[EquityPoint]
    cost: CostToday


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """The newest board there is (None: there was none yet), and why it is not of now."""

    board: Board | None
    fault: str | None = None
