"""The facts that risk is judged by: what is wanted, what is held, what the market allows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from jobs.domain.due_exits import DueExit
from jobs.domain.ledger import EXACT, ZERO, Holding
from jobs.domain.order_states import State
from jobs.upbit.ticks import StatedTicks
from jobs.upbit.wire import Chance, Orderbook, Side

Mode = Literal["paper", "live"]
Purpose = Literal[
    "entry", "exit", "stop_loss", "take_profit", "trailing_stop", "flatten", "foreign"
]
"""Why there is an order; `foreign`: others sold coins of the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFact:
    """What a signal says, as far as trading asks."""

    id: int
    market: str
    action: str
    confidence: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An order somebody wants: a signal (`signal` set), an exit rule or a person."""

    market: str
    side: Side
    purpose: Purpose
    identifier: str
    reason: str
    signal: SignalFact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the market allows and shows now.

    `price` is the last trade's, `recent_price` what it was a moment before (the last minute's
    close), `book` its order book (None: not known), `data_at` when its newest stored snapshot was
    taken. `reduce_only` says why it takes no new exposure now, `barred` why none at all (not
    chosen, excluded, warned), `due` how an exit has fared so far, `ticks` are the price steps that
    the venue stated.
    """

    chance: Chance
    price: Decimal
    book: Orderbook | None = None
    recent_price: Decimal | None = None
    due: DueExit | None = None
    data_at: datetime | None = None
    data_max_age_s: float = 180.0
    reduce_only: str | None = None
    barred: str | None = None
    ticks: StatedTicks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The venue's balances at the instant `at`: free, and with what orders lock, by currency.

    None: not asked. Once they were asked, a currency without a row is one of which there is none:
    the venue lists no empty balances. Of those in `unread` it has an amount that nobody can read.
    """

    free_krw: Decimal
    total_krw: Decimal
    at: datetime
    free_volumes: Mapping[str, Decimal] | None = None
    total_volumes: Mapping[str, Decimal] | None = None
    unread: frozenset[str] = frozenset()

    def free(self, market: str) -> Decimal | None:
        """How much of the market's coin may be sold; None when that was not asked."""
        return self._of(self.free_volumes, market)

    def total(self, market: str) -> Decimal | None:
        """How much of the market's coin there is; None when that was not asked."""
        return self._of(self.total_volumes, market)

    def _of(self, volumes: Mapping[str, Decimal] | None, market: str) -> Decimal | None:
        coin = market.partition("-")[2]
        if volumes is None or coin in self.unread:
            return None
        return volumes.get(coin, ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that may still change the account, at its worst case.

    `reserved_krw` is the most that a bid can still cost, `volume` the most an ask can still sell.
    """

    identifier: str
    market: str
    side: Side
    state: State
    reserved_krw: Decimal
    volume: Decimal

    @property
    def is_unknown(self) -> bool:
        """Whether nobody has said that the venue has it."""
        return self.state is not State.WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """The daemon's account as one transaction saw it.

    `cash_krw` is free and promised to no order. `last_order_at` and `exit_refused_at` are of the
    wish's market, and so are `entries`, the purchases that its position has had so far.
    `free_volume` is what the venue would let it sell there (None: not asked).
    Markets without a price are valued at cost. `holdings` are no more than what the venue has,
    `missing` is what the books hold beyond that.
    """

    cash_krw: Decimal
    equity_krw: Decimal
    day_loss_krw: Decimal
    drawdown_pct: Decimal
    orders_today: int
    holdings: Mapping[str, Holding]
    prices: Mapping[str, Decimal]
    open_orders: tuple[OpenOrder, ...]
    last_order_at: datetime | None = None
    exit_refused_at: datetime | None = None
    free_volume: Decimal | None = None
    missing: Mapping[str, Decimal] = field(default_factory=dict)
    entries: int = 0

    def held_krw(self, market: str) -> Decimal:
        """What the holding in `market` is worth."""
        holding = self.holdings.get(market)
        if holding is None:
            return ZERO
        return holding.value(self.prices.get(market, holding.avg_price))

    def exposure_krw(self, market: str) -> Decimal:
        """Holding plus open bids of `market`, as if every bid filled."""
        bids = (o.reserved_krw for o in self.open_orders if o.market == market and o.side == "bid")
        return EXACT.add(self.held_krw(market), sum(bids, ZERO))

    def taken_markets(self, least_krw: Decimal) -> frozenset[str]:
        """Markets with an open bid or a holding worth at least `least_krw`; dust takes no place."""
        held = {market for market in self.holdings if self.held_krw(market) >= least_krw}
        return frozenset(held | {o.market for o in self.open_orders if o.side == "bid"})

    def sellable(self, market: str) -> Decimal:
        """Held, not already in an open ask, and not more than the venue would let go."""
        holding = self.holdings.get(market)
        if holding is None:
            return ZERO
        asks = (o.volume for o in self.open_orders if o.market == market and o.side == "ask")
        left = holding.volume - sum(asks, ZERO)
        return left if self.free_volume is None else min(left, self.free_volume)

    def why_unsellable(self, market: str) -> str:
        """Why nothing of `market` can be sold when `sellable` says so."""
        if (missing := self.missing.get(market)) is not None:
            return f"the exchange does not have {missing:f} of what the books hold in {market}"
        holding, free = self.holdings.get(market), self.free_volume
        asks = [o for o in self.open_orders if o.market == market and o.side == "ask"]
        if holding is not None and free is not None and not asks and free < holding.volume:
            return f"{holding.volume - free:f} are locked by orders that are not the daemon's"
        for order in asks:
            return f"order {order.identifier} sells it already and is {order.state}"
        return "nothing is held that is not already being sold"


def drawdown_pct(*, pnl_krw: Decimal, peak_krw: Decimal, equity_krw: Decimal) -> Decimal:
    """How far profit is under its peak, in per cent of what the account would be worth there.

    Measured on profit, so that deposits and withdrawals move nothing. 0 at the peak.
    """
    fall = max(peak_krw, pnl_krw) - pnl_krw
    if not fall:
        return ZERO
    top = equity_krw + fall
    return Decimal(100) if top <= fall else fall / top * 100
