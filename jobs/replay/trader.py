"""The orders job of a replay: the same steps on the same pure decisions, books and venue in memory.

Shared with the live job: which signals count and in which order (choice.py), exits (exits.py),
every limit and the size (risk.py), matching, fees and refusals (engine.py), fills and positions
(ledger.py), what risk is told (books.py). Not shared, because nothing here can be lost: the order
protocol on the wire, reconciliation and the database. A test holds both jobs' results together.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.replay.books import ReplayBooks, ReplayOrder
from jobs.replay.tape import Tape
from jobs.replay.venue import ReplayVenue
from jobs.store.settings import Settings
from jobs.trading import exits
from jobs.trading.choice import choose
from jobs.trading.engine import VenueError
from jobs.trading.ledger import Holding
from jobs.trading.portfolio import Money, Purpose, Rules, SignalFact, Wish
from jobs.trading.risk import Refusal, assess
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
    _dust: dict[str, Decimal] = field(default_factory=dict)

    def hear(self, signals: list[SignalFact]) -> None:
        """Take note of new signals."""
        self.pending = [*reversed(signals), *self.pending]  # newest first, as the table is read

    def run(self, now: datetime, price: Price) -> None:
        """One pass: what is open, exits, signals, a look at what was placed, worth."""
        turn = _Turn(trader=self, now=now, price=price)
        turn.tend()
        turn.leave()
        turn.enter()
        at = turn.look_after_placing()
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
        levels = exits.levels(holding, self.settings, high)
        return levels.calls_at(low) or levels.calls_at(high)

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
    prices: dict[str, Decimal] = field(default_factory=dict)
    money: Money | None = None
    placed: list[int] = field(default_factory=list)

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
        timeout_s = self.trader.settings.order_timeout_s
        return (self.now - order.at).total_seconds() >= timeout_s

    def _cancel(self, order: ReplayOrder) -> None:
        books, venue = self.trader.books, self.trader.venue
        uuid = books.waiting[order.id]
        venue.cancel(uuid, self.now)
        books.look(order.id, venue.order(uuid))

    def leave(self) -> None:
        """Sell what an exit rule says."""
        trader, held = self.trader, self.trader.books.held
        self._quote(held)
        for market, holding in sorted(held.items()):
            if (price := self.prices.get(market)) is None:
                continue
            found = exits.decide(holding, price, trader.settings)
            trader.books.raise_high(market, price)
            if found is None or self._is_known_dust(market, holding, price):
                continue
            for order in trader.books.open_orders():
                if order.market == market and order.side == "bid":
                    self._cancel(order)
            self._sell(market, found.kind, found.reason, price)

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
                self._sell(signal.market, "exit", f"signal {signal.id}", price, signal)
            else:
                self._buy(signal, price)

    def _quote(self, markets: Mapping[str, object]) -> None:
        for market in markets:
            if market not in self.prices and (price := self.price(market)) is not None:
                self.prices[market] = price

    def _sell(
        self,
        market: str,
        purpose: Purpose,
        reason: str,
        price: Decimal,
        signal: SignalFact | None = None,
    ) -> None:
        wish = Wish(
            market=market,
            side="ask",
            purpose=purpose,
            identifier=self._name(),
            reason=reason,
            signal=signal,
        )
        self._place(wish, Rules(chance=self.trader.venue.chance(market), price=price))

    def _buy(self, signal: SignalFact, price: Decimal) -> None:
        venue, market = self.trader.venue, signal.market
        rules = Rules(
            chance=venue.chance(market),
            price=price,
            best_ask=venue.book(market, price, self.now).units[0].ask_price,
            data_at=self.now,
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

    def _place(self, wish: Wish, rules: Rules) -> None:
        trader = self.trader
        if self.money is None:
            self.money = trader.venue.money(self.now)
        portfolio = trader.books.portfolio(
            wish.market, money=self.money, prices=self.prices, now=self.now
        )
        verdict = assess(wish, portfolio, trader.settings, rules, now=self.now)
        if isinstance(verdict, Refusal):
            self._refused(wish, verdict)
            return
        order = trader.books.intend(wish, verdict, rules.price, self.now)
        self.placed.append(order.id)
        try:
            uuid = trader.venue.place(verdict.request, rules.price, self.now)
        except VenueError as exc:
            reason = f"refused by the venue: {exc.name}"
            trader.books.refused(order, reason, self.now)
            self._close(wish, "refused", reason)
            return
        trader.books.accepted(order, uuid)
        self._close(wish, "executed", f"order {verdict.request.identifier}")

    def _refused(self, wish: Wish, refusal: Refusal) -> None:
        trader = self.trader
        trader.refusals[refusal.limit] += 1
        if refusal.limit == "dust":
            trader._dust[wish.market] = trader.books.positions[wish.market].volume
        if refusal.final:
            self._close(wish, "refused", refusal.reason)

    def _close(self, wish: Wish, status: str, reason: str) -> None:
        if wish.signal is not None:
            self.trader.end(wish.signal, status, reason)

    def _is_known_dust(self, market: str, holding: Holding, price: Decimal) -> bool:
        was_dust = self.trader._dust.get(market) == holding.volume
        return was_dust and holding.value(price) < ticks.min_total(market)

    def _name(self) -> str:
        return f"upd-{len(self.trader.books.orders) + 1:08d}"
