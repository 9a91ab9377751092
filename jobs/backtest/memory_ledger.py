"""The books of a replay, in memory: what the tables orders, fills, positions and equity hold live.

Everything that follows from a fill is computed by jobs/domain/ledger.py and books.py, as live.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from jobs.domain import ledger
from jobs.domain.accounting import (
    HELD_FOR,
    Books,
    middle,
    portfolio_of,
    prices_of,
    profit,
    risen,
    worth,
)
from jobs.domain.ledger import EXACT, ZERO, Fill, Holding
from jobs.domain.order_states import State
from jobs.domain.portfolio import Money, OpenOrder, Portfolio, Purpose, Wish
from jobs.domain.risk import Approved, day_start
from jobs.upbit.wire import Order, OrderRequest, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFill:
    """One fill, with the profit it realized, fees included."""

    price: Decimal
    volume: Decimal
    funds: Decimal
    fee: Decimal
    realized_krw: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOrder:
    """One order from its intent to its end. `seen_price` is the market's price at its intent;
    `reason` says why the venue refused it, by the name `refusal`.
    """

    id: int
    at: datetime
    market: str
    side: Side
    purpose: Purpose
    request: OrderRequest = field(repr=False)
    why: str
    seen_price: Decimal
    signal_id: int | None
    reserved_krw: Decimal
    state: State
    reason: str | None = None
    refusal: str | None = None
    fills: tuple[ReplayFill, ...] = ()

    @property
    def funds(self) -> Decimal:
        """What it moved, fees left out."""
        return sum((fill.funds for fill in self.fills), ZERO)

    @property
    def fee(self) -> Decimal:
        """What it paid."""
        return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def realized_krw(self) -> Decimal:
        """The profit it realized."""
        return sum((fill.realized_krw for fill in self.fills), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """The account's worth at one instant, and all profit so far with its highest value."""

    at: datetime
    cash_krw: Decimal
    positions_krw: Decimal
    pnl_krw: Decimal
    peak_krw: Decimal

    @property
    def total_krw(self) -> Decimal:
        """Cash and positions."""
        return self.cash_krw + self.positions_krw


@dataclass(slots=True)
class ReplayBooks:
    """Orders, positions and equity so far."""

    orders: list[ReplayOrder] = field(default_factory=list)
    positions: dict[str, Holding] = field(default_factory=dict)
    equity: list[EquityPoint] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    """The venue's names of the orders that are open, by their numbers."""

    _made: list[datetime] = field(default_factory=list)
    _last_order: dict[str, datetime] = field(default_factory=dict)
    _exit_refused: dict[str, datetime] = field(default_factory=dict)
    _entries: dict[str, int] = field(default_factory=dict)
    _opened: tuple[datetime, Decimal] | None = None

    @property
    def held(self) -> dict[str, Holding]:
        """Every open position."""
        return {market: each for market, each in self.positions.items() if each.volume > 0}

    def portfolio(
        self, market: str, *, money: Money, prices: Mapping[str, Decimal], now: datetime
    ) -> Portfolio:
        """Everything risk asks before an order in `market`."""
        start = day_start(now)
        books = Books(
            holdings=self.held,
            realized_krw=self._realized,
            peak_krw=self.equity[-1].peak_krw if self.equity else ZERO,
            opened_krw=self._profit_before(start),
            unseen_krw=self._unseen(money.at),
            orders_today=len(self._made) - bisect_left(self._made, start),
            open_orders=tuple(_at_worst(each) for each in self.open_orders()),
            last_order_at=self._last_order.get(market),
            exit_refused_at=self._exit_refused.get(market),
            entries=self._entries.get(market, 0),
        )
        return portfolio_of(books, market, money=money, prices=prices)

    def intend(self, wish: Wish, approved: Approved, price: Decimal, now: datetime) -> ReplayOrder:
        """Write the order that `wish` has become."""
        order = ReplayOrder(
            id=len(self.orders) + 1,
            at=now,
            market=wish.market,
            side=wish.side,
            purpose=wish.purpose,
            request=approved.request,
            why=wish.reason,
            seen_price=price,
            signal_id=None if wish.signal is None else wish.signal.id,
            reserved_krw=approved.reserved_krw,
            state=State.SENT,
        )
        self.orders.append(order)
        self._made.append(now)
        self._last_order[order.market] = now
        return order

    def refused(self, order: ReplayOrder, reason: str, now: datetime) -> None:
        """Write that the venue said no."""
        self.orders[order.id - 1] = replace(order, state=State.REFUSED, reason=reason)
        self._made.remove(order.at)  # it counts in no day
        if order.side == "ask":
            self._exit_refused[order.market] = now

    def accepted(self, order: ReplayOrder, uuid: str) -> None:
        """Write that the venue took it; what became of it is looked at after the pass."""
        self.orders[order.id - 1] = replace(order, state=State.WAIT)
        self.waiting[order.id] = uuid
        if order.side == "ask":
            self._exit_refused.pop(order.market, None)

    def open_orders(self) -> list[ReplayOrder]:
        """Orders that wait, oldest first."""
        return [self.orders[order_id - 1] for order_id in sorted(self.waiting)]

    def look(self, order_id: int, seen: Order) -> bool:
        """Book what the venue shows of an open order; whether that has ended it."""
        if seen.state not in {"done", "cancel"}:
            return False
        del self.waiting[order_id]
        self._settle(self.orders[order_id - 1], seen)
        return True

    def raise_high(self, market: str, price: Decimal) -> None:
        """Remember a price that is the highest since the position was opened."""
        holding = self.positions[market]
        if holding.volume > 0 and holding.high_price < price:
            self.positions[market] = replace(holding, high_price=price)

    def add_equity(self, money: Money, prices: Mapping[str, Decimal]) -> None:
        """Write what the account is worth at `money.at`."""
        holdings = self.held
        valued = prices_of(holdings, prices)
        pnl = profit(holdings, valued, self._realized)
        self.equity.append(
            EquityPoint(
                at=money.at,
                cash_krw=money.total_krw,
                positions_krw=worth(holdings, valued),
                pnl_krw=pnl,
                peak_krw=self._peak(pnl, money.at),
            )
        )

    def _peak(self, pnl: Decimal, at: datetime) -> Decimal:
        """The highest profit that held, after the sample `pnl`."""
        recent = [pnl]
        for point in reversed(self.equity):
            recent.append(point.pnl_krw)
            if point.at <= at - HELD_FOR:
                return risen(self.equity[-1].peak_krw, recent)
        return self.equity[-1].peak_krw if self.equity else ZERO

    @property
    def _realized(self) -> Decimal:
        total = ZERO
        for each in self.positions.values():
            total = EXACT.add(total, each.realized_krw)
        return total

    def _settle(self, order: ReplayOrder, seen: Order) -> None:
        trades = sorted(seen.trades or (), key=lambda trade: (trade.ts, trade.uuid))
        fees = ledger.split_fee(seen.paid_fee, [trade.funds for trade in trades])
        fills = []
        holding = self.positions.get(order.market, Holding())
        for trade, fee in zip(trades, fees, strict=True):
            fill = Fill(
                uuid=trade.uuid,
                side=order.side,
                price=trade.price,
                volume=trade.volume,
                funds=trade.funds,
                fee=fee,
                ts=trade.ts,
            )
            holding, realized = ledger.book(holding, fill)
            fills.append(
                ReplayFill(
                    price=fill.price,
                    volume=fill.volume,
                    funds=fill.funds,
                    fee=fee,
                    realized_krw=realized,
                    at=fill.ts,
                )
            )
        if order.side == "bid" and fills:
            was_held = self.positions.get(order.market, Holding()).volume
            entries = self._entries.get(order.market, 0) if was_held else 0
            self._entries[order.market] = entries + 1
        self.positions[order.market] = holding
        state = State.DONE if seen.state == "done" else State.CANCEL
        self.orders[order.id - 1] = replace(order, state=state, fills=tuple(fills))

    def _unseen(self, since: datetime) -> Decimal:
        """The most that bids can cost which balances of that instant do not show yet."""
        total = ZERO
        for order in reversed(self.orders):
            if order.at < since:
                break
            if order.side == "bid" and order.state is not State.REFUSED:
                total = EXACT.add(total, order.reserved_krw)
        return total

    def _profit_before(self, instant: datetime) -> Decimal:
        """The profit with which the day began that `instant` begins."""
        if self._opened is None or self._opened[0] != instant:
            at = bisect_left(self.equity, instant, key=lambda point: point.at)
            since = self.equity[at - 1].at - HELD_FOR if at else instant
            first = bisect_right(self.equity, since, key=lambda point: point.at)
            last = [point.pnl_krw for point in self.equity[first:at]]
            self._opened = (instant, middle(last))
        return self._opened[1]


def _at_worst(order: ReplayOrder) -> OpenOrder:
    """Nothing of it is filled: with one deep level an order fills whole or not at all."""
    return OpenOrder(
        identifier=order.request.identifier,
        market=order.market,
        side=order.side,
        state=State.WAIT,
        reserved_krw=order.reserved_krw,
        volume=order.request.volume or ZERO,
    )
