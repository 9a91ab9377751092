"""The orders job of a replay: the same steps on the same pure decisions, books and venue in memory.

Shared with the live job: which signals count and in which order (choice.py), exits (exits.py),
every limit and the size (risk.py), matching, fees and refusals (engine.py), fills and positions
(ledger.py), what risk is told (books.py). Not shared, because nothing here can be lost: the order
protocol on the wire, reconciliation and the database. A test holds both jobs' results together.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.backtest.candle_history import Tape
from jobs.backtest.memory_ledger import ReplayBooks, ReplayOrder
from jobs.backtest.simulated_market import ReplayVenue
from jobs.domain import exit_rules
from jobs.domain.due_exits import DUST, DueExit, under_way
from jobs.domain.exit_rules import rests_at_most_s
from jobs.domain.ledger import ZERO, Holding
from jobs.domain.order_book import best_bid
from jobs.domain.portfolio import Money, Rules, SignalFact, Wish
from jobs.domain.risk import Refusal, assess
from jobs.domain.settings import Settings
from jobs.domain.signal_choice import choose
from jobs.matching.engine import VenueError
from jobs.upbit import ticks

EQUITY_EVERY = timedelta(minutes=1)
LOOKED_TWICE = timedelta(milliseconds=500)
"""When the live job has looked twice at what it placed, and knows that it has ended."""

LOOKED_OUT = timedelta(seconds=2)
"""When the live job stops looking, and an order rests."""

Price = Callable[[str], Decimal | None]
"""The price of a market now; None before it has one."""


@dataclass(slots=True, kw_only=True)
class Trader:
    """One account that trades signals. `refusals` counts what risk refused, by limit."""

    venue: ReplayVenue
    settings: Settings
    books: ReplayBooks = field(default_factory=ReplayBooks)
    pending: list[SignalFact] = field(default_factory=list)
    ends: dict[int, tuple[str, str]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    due: dict[str, DueExit] = field(default_factory=dict)

    def hear(self, signals: list[SignalFact]) -> None:
        """Take note of new signals."""
        self.pending = [*reversed(signals), *self.pending]  # newest first, as the table is read

    def run(self, now: datetime, price: Price, recent: Price | None = None) -> None:
        """One pass: what is open, exits, signals, a look at what was placed, worth.

        `recent` is what a market cost a moment before.
        """
        turn = _Turn(trader=self, now=now, price=price, recent=recent or price)
        turn.tend()
        turn.leave()
        turn.enter()
        at = turn.look_after_placing()
        turn.settle()
        if turn.placed or self.is_equity_due(now):
            self.books.add_equity(self.venue.money(at), turn.prices)

    def is_equity_due(self, now: datetime) -> bool:
        """Whether a pass at `now` writes what the account is worth."""
        return not self.books.equity or now - self.books.equity[-1].at >= EQUITY_EVERY

    def mark(self, now: datetime, price: Price) -> None:
        """What a pass does in which nothing can happen: write what the account is worth."""
        prices = {market: price(market) for market in self.books.held}
        known = {market: each for market, each in prices.items() if each is not None}
        self.books.add_equity(self.venue.money(now), known)

    def finish(self, tape: Tape, until: datetime) -> None:
        """Write what the account is worth at the end, at the last closes before it."""

        def last(market: str) -> Decimal | None:
            return tape.reels[market].close_before(until)

        self.mark(until, last)

    def may_leave(self, low: Decimal, high: Decimal, holding: Holding) -> bool:
        """Whether an exit could be due at a price from `low` to `high`."""
        levels = exit_rules.levels(holding, self.settings, high)
        return levels.calls_at(low) or levels.calls_at(high)

    def see_high(self, market: str, price: Decimal, now: datetime) -> None:
        """Remember a new high: as far as last price and best bid are both up."""
        bid = best_bid(self.venue.book(market, price, now))
        self.books.raise_high(market, exit_rules.risen(price, bid))

    def end(self, signal: SignalFact, status: str, reason: str) -> None:
        """Give a signal its end."""
        self.ends[signal.id] = (status, reason)
        self.pending = [each for each in self.pending if each.id != signal.id]


@dataclass(slots=True, kw_only=True)
class _Turn:
    """One pass and what it has learnt."""

    trader: Trader
    now: datetime
    price: Price
    recent: Price
    prices: dict[str, Decimal] = field(default_factory=dict)
    money: Money | None = None
    placed: list[int] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)

    def tend(self) -> None:
        """Let what is open meet the price; cancel what has waited too long."""
        books, venue = self.trader.books, self.trader.venue
        for order in books.open_orders():
            if (price := self.price(order.market)) is not None:
                venue.show(order.market, price, self.now)
        for order in books.open_orders():
            ended = books.look(order.id, venue.order(books.waiting[order.id]))
            if not ended and self._is_overdue(order):
                self._cancel(order)

    def look_after_placing(self) -> datetime:
        """Look at what this pass placed; return when the live job would be done with that."""
        books, venue = self.trader.books, self.trader.venue
        placed = [each for each in self.placed if each in books.waiting]
        if not placed:
            return self.now
        ended = [books.look(each, venue.order(books.waiting[each])) for each in placed]
        return self.now + (LOOKED_TWICE if all(ended) else LOOKED_OUT)

    def _is_overdue(self, order: ReplayOrder) -> bool:
        timeout_s = rests_at_most_s(order.side, self.trader.settings.order_timeout_s)
        return (self.now - order.at).total_seconds() >= timeout_s

    def _cancel(self, order: ReplayOrder) -> None:
        books, venue = self.trader.books, self.trader.venue
        uuid = books.waiting[order.id]
        venue.cancel(uuid, self.now)
        books.look(order.id, venue.order(uuid))

    def leave(self) -> None:
        """Sell what an exit rule says."""
        held = self.trader.books.held
        self._quote(held)
        for market, holding in sorted(held.items()):
            if (price := self.prices.get(market)) is not None:
                self._judge(market, holding, price)

    def _judge(self, market: str, holding: Holding, price: Decimal) -> None:
        trader, due = self.trader, self.trader.due.get(market)
        bid = best_bid(trader.venue.book(market, price, self.now))
        found = exit_rules.decide(holding, price, trader.settings, bid=bid)
        trader.see_high(market, price, self.now)
        if due is not None and due.is_dust:
            if due.held == holding.volume and self._is_dust(market, holding):
                return
            del trader.due[market]
            due = None
        if found is not None:
            due = under_way(due, found, self.now)
        elif due is not None and due.purpose != "exit":
            del trader.due[market]
            due = None
        if due is None:
            return
        for order in trader.books.open_orders():
            if order.market == market and order.side == "bid":
                self._cancel(order)
        self._sell(market, due.progressed(holding.volume), price)

    def settle(self) -> None:
        """After the pass: an exit that is sold is over."""
        due, held = self.trader.due, self.trader.books.held
        for market in [each for each in due if each not in held]:
            del due[market]

    def enter(self) -> None:
        """Act on new signals."""
        trader = self.trader
        if not trader.pending:
            return
        chosen, ended = choose(trader.pending, trader.settings, self.now)
        for each in ended:
            trader.end(each.signal, each.status, each.reason)
        self._quote({signal.market: None for signal in chosen})
        for signal in chosen:
            price = self.prices.get(signal.market)
            if price is None:
                continue
            if signal.action == "sell":
                self._sell_on(signal, price)
            else:
                self._buy(signal, price)

    def _sell_on(self, signal: SignalFact, price: Decimal) -> None:
        market, reason = signal.market, f"signal {signal.id}"
        if market in self.tried:
            return  # a rule sells it in this pass; the signal stays new
        due = self.trader.due.get(market) or DueExit(purpose="exit", reason=reason, since=self.now)
        self._sell(market, replace(due, purpose="exit", reason=reason), price, signal)

    def _quote(self, markets: Mapping[str, object]) -> None:
        for market in markets:
            if market not in self.prices and (price := self.price(market)) is not None:
                self.prices[market] = price

    def _sell(
        self, market: str, due: DueExit, price: Decimal, signal: SignalFact | None = None
    ) -> None:
        trader = self.trader
        self.tried.add(market)
        wish = Wish(
            market=market,
            side="ask",
            purpose=due.purpose,
            identifier=self._name(),
            reason=due.reason,
            signal=signal,
        )
        rules = Rules(
            chance=trader.venue.chance(market),
            price=price,
            book=trader.venue.book(market, price, self.now),
            due=due,
        )
        result = self._place(wish, rules)
        if (holding := trader.books.held.get(market)) is None:
            return
        if not isinstance(result, Refusal):
            sent = result.request.volume or ZERO
            trader.due[market] = due.tried(held=holding.volume, sent=sent, refusal=result.refusal)
        elif result.limit == "dust":
            trader.due[market] = replace(due, held=holding.volume, refusal=DUST)

    def _buy(self, signal: SignalFact, price: Decimal) -> None:
        venue, market = self.trader.venue, signal.market
        rules = Rules(
            chance=venue.chance(market),
            price=price,
            book=venue.book(market, price, self.now),
            recent_price=self.recent(market),
            data_at=self.now,
            reduce_only=self._why_unsold(signal),
        )
        wish = Wish(
            market=market,
            side="bid",
            purpose="entry",
            identifier=self._name(),
            reason=f"signal {signal.id}",
            signal=signal,
        )
        self._place(wish, rules)

    def _why_unsold(self, signal: SignalFact) -> str | None:
        due = self.trader.due.get(signal.market)
        if due is None or due.is_dust:
            return None
        if due.purpose == "exit" and signal.confidence >= self.trader.settings.min_confidence:
            del self.trader.due[signal.market]
            return None
        return f"its {due.purpose} is due and not done"

    def _place(self, wish: Wish, rules: Rules) -> ReplayOrder | Refusal:
        trader = self.trader
        if self.money is None:
            self.money = trader.venue.money(self.now)
        portfolio = trader.books.portfolio(
            wish.market, money=self.money, prices=self.prices, now=self.now
        )
        verdict = assess(wish, portfolio, trader.settings, rules, now=self.now)
        if isinstance(verdict, Refusal):
            self._refused(wish, verdict)
            return verdict
        order = trader.books.intend(wish, verdict, rules.price, self.now)
        self.placed.append(order.id)
        try:
            uuid = trader.venue.place(verdict.request, rules.price, self.now)
        except VenueError as exc:
            reason = f"refused by the venue: {exc.name}"
            trader.books.refused(order, reason, self.now)
            self._close(wish, "refused", reason)
            return replace(order, refusal=exc.name)
        trader.books.accepted(order, uuid)
        self._close(wish, "executed", f"order {verdict.request.identifier}")
        return order

    def _refused(self, wish: Wish, refusal: Refusal) -> None:
        trader = self.trader
        trader.refusals[refusal.limit] += 1
        if refusal.final:
            self._close(wish, "refused", refusal.reason)

    def _close(self, wish: Wish, status: str, reason: str) -> None:
        if wish.signal is not None:
            self.trader.end(wish.signal, status, reason)

    def _is_dust(self, market: str, holding: Holding) -> bool:
        price = best_bid(self.trader.venue.book(market, self.prices[market], self.now))
        return price is not None and holding.value(price) < ticks.min_total(market)

    def _name(self) -> str:
        return f"upd-{len(self.trader.books.orders) + 1:08d}"
