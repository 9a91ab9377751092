"""Carries out exits: one rule for everything that is to be sold, until it is sold.

What an exit rule or a signal asks for is written down as due (table `due_exits`), tried in every
pass in a form that goes a step further each time, and ended by the sale. What is not done after two
attempts or one minute is told to a person (`exit_blocked`) and shown by `/health`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from jobs.domain import exit_rules
from jobs.domain.due_exits import DUST, DueExit, under_way
from jobs.domain.ledger import ZERO, Holding
from jobs.domain.order_book import best_bid
from jobs.domain.order_states import State
from jobs.domain.portfolio import Rules, SignalFact, Wish
from jobs.domain.risk import Refusal
from jobs.domain.settings import Settings
from jobs.orders import exit_alerts
from jobs.orders.account import TradingAccount
from jobs.orders.foreign import why_locked
from jobs.orders.market_gate import Clearance
from jobs.orders.placement import refused_as
from jobs.orders.quotes import MarketView
from jobs.orders.tracking import cancel
from jobs.store import due_exits as due_store
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.orders import NEVER_SENT, OrderRow
from jobs.upbit import ticks
from jobs.upbit.wire import Orderbook

Place = Callable[[Wish, Rules], Awaitable[OrderRow | Refusal]]
NOT_ITS_FAULT = frozenset({"halted", "signal", "signal_max_age_s", "min_confidence"})
"""Refusals that say nothing of the sale itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A price that was seen at an instant; `is_asked`: the exchange gave it in this very pass.

    `before` is the price of the look at another instant that came before it.
    """

    price: Decimal
    at: datetime
    is_asked: bool
    before: Decimal | None = None


@dataclass(slots=True, kw_only=True)
class ExitRun:
    """The exits of one pass. `looks` are the prices that the pass before saw, by market; `is_gone`
    says whether the exchange has none of what the books hold in a market. `last_known` are stored
    prices of holdings that have none now, however old: they value and decide nothing.
    """

    desk: TradingAccount
    view: MarketView
    clearance: Clearance
    settings: Settings
    run_id: str
    looks: dict[str, Look]
    keeping: Callable[[str | None], AbstractContextManager[None]]
    place: Place
    is_gone: Callable[[str], Awaitable[bool]]
    rows: int = 0
    holdings: dict[str, Holding] = field(default_factory=dict)
    due: dict[str, DueExit] = field(default_factory=dict)
    books: dict[str, Orderbook] = field(default_factory=dict)
    last_known: dict[str, Decimal] = field(default_factory=dict)
    _seen: dict[str, Look] = field(default_factory=dict)
    _tried: set[str] = field(default_factory=set)

    async def look(self, prices: dict[str, Decimal]) -> None:
        """Learn what is held, what is due and what the markets show; adds to `prices`."""
        desk, view, now = self.desk, self.view, self.desk.clock()
        async with desk.db.begin() as conn:
            self.holdings = await position_store.held(conn, desk.mode)
            self.due = await due_store.read(conn, desk.mode)
        with self.keeping(None):
            prices.update(await view.prices(self.holdings))
            asked = {market: prices[market] for market in self.holdings if market in prices}
            self._seen |= {m: Look(price=p, at=now, is_asked=True) for m, p in asked.items()}
            self.books.update(await view.books(self.holdings))
        stored = await view.stored(self.holdings.keys() - prices.keys())
        self.last_known = {market: snapshot.price for market, snapshot in stored.items()}
        prices.update(fresh := view.fresh(stored))
        for market, price in fresh.items():
            self._seen[market] = Look(price=price, at=stored[market].ts, is_asked=False)

    async def run(self) -> None:
        """Sell what a rule asks for, and what is due since an earlier pass."""
        for market in [each for each in self.due if each not in self.holdings]:
            with self.keeping(market):
                await self.end(market)
        for market, holding in self.holdings.items():
            if (seen := self._seen.get(market)) is not None:
                with self.keeping(market):
                    await self._judge(market, holding, seen)
        seen_before = dict(self.looks)
        self.looks.clear()
        for market, seen in self._seen.items():
            self.looks[market] = replace(seen, before=_before(seen_before.get(market), seen))

    async def on_signal(self, signal: SignalFact, price: Decimal) -> None:
        """Sell because a signal says so; what one order does not sell stays due."""
        market, now = signal.market, self.desk.clock()
        if market in self._tried:
            return  # a rule sells it in this pass; the signal stays new
        reason = f"signal {signal.id}"
        due = self.due.get(market) or DueExit(purpose="exit", reason=reason, since=now)
        await self._sell(market, replace(due, purpose="exit", reason=reason), price, signal)

    async def why_unsold(self, signal: SignalFact) -> str | None:
        """Why nothing is bought in the market of `signal` now; a later opinion to buy ends an
        earlier one to sell.
        """
        if (due := self.due.get(signal.market)) is None or due.is_dust:
            return None
        if due.purpose == "exit" and signal.confidence >= self.settings.min_confidence:
            await self.end(signal.market)
            return None
        return f"its {due.purpose} is due and not done"

    async def settle(self) -> None:
        """After the pass: end what is sold, and tell a person of what is not done in time."""
        if not self.due:
            return
        desk, is_halted = self.desk, self.settings.halt.level.stops("ask")
        async with desk.db.begin() as conn:
            self.holdings = await position_store.held(conn, desk.mode)
        for market, due in list(self.due.items()):
            with self.keeping(market):
                if (holding := self.holdings.get(market)) is None:
                    await self.end(market)
                elif self._is_dust(market, holding):
                    await self._left_dust(market, due, holding)
                elif due.is_overdue(desk.clock()) and not is_halted:
                    await self._blocked(market, due.progressed(holding.volume))

    async def end(self, market: str) -> None:
        """The exit of `market` is over: sold, or asked for no longer."""
        desk = self.desk
        await desk.notifier.resolve(exit_alerts.key(market))
        async with desk.db.begin() as conn:
            await due_store.remove(conn, desk.mode, market)
        self.due.pop(market, None)

    # -- inside ------------------------------------------------------------------------------

    async def _judge(self, market: str, holding: Holding, seen: Look) -> None:
        second = self._second(market, seen)
        found = None
        if second is not None:
            found = exit_rules.decide(holding, seen.price, self.settings, bid=second)
            await self._raise_high(market, holding, seen, second)
        due = self.due.get(market)
        if due is not None and due.is_dust:
            if due.held == holding.volume and self._is_dust(market, holding):
                return
            await self.end(market)
            due = None
        if found is not None:
            due = under_way(due, found, self.desk.clock())
        elif due is not None and due.purpose != "exit" and second is not None:
            await self.end(market)
            due = None
        if due is not None and await self.is_gone(market):
            await self.end(market)  # the exchange has none of it, as `reconcile_mismatch` tells
        elif due is not None:
            await self._cancel_bids(market)
            await self._sell(market, due.progressed(holding.volume), seen.price)

    def _second(self, market: str, seen: Look) -> Decimal | None:
        """What stands beside the last price, so that it decides nothing alone: the best bid, or
        the price of the look before.
        """
        if (bid := best_bid(self.books.get(market))) is not None:
            return bid
        return _before(self.looks.get(market), seen)

    async def _raise_high(self, market: str, holding: Holding, seen: Look, second: Decimal) -> None:
        high = exit_rules.risen(seen.price, second)
        if seen.is_asked and high > holding.high_price:
            async with self.desk.db.begin() as conn:
                await position_store.raise_high(conn, self.desk.mode, market, high)

    async def _cancel_bids(self, market: str) -> None:
        """No bid may buy back what an exit sells."""
        desk = self.desk
        async with desk.db.begin() as conn:
            unfinished = await order_store.unfinished(conn, desk.mode)
        for order in unfinished:
            waits = order.state is State.WAIT and order.cancel_requested_at is None
            if waits and order.market == market and order.side == "bid":
                with self.keeping(market):
                    self.rows += await cancel(desk, order)

    async def _sell(
        self, market: str, due: DueExit, price: Decimal, signal: SignalFact | None = None
    ) -> None:
        desk = self.desk
        self._tried.add(market)
        if due.is_overdue(desk.clock()) and not self.settings.halt.level.stops("ask"):
            due = await self._blocked(market, due)  # the pass before may not have come so far
        try:
            if (why := await self.clearance.why_paused(desk, market)) is not None:
                await self._not_now(market, due, why)
                return
            rules = Rules(
                chance=await self.view.exit_chance(market),
                price=price,
                book=self.books.get(market),
                due=due,
                ticks=await self.view.ticks_of(market),
            )
            result = await self.place(self._wish(market, due, signal), rules)
        except Exception as exc:  # whatever it is: the exit stays due, and says why
            await self._not_now(market, due, f"{type(exc).__name__}: {exc}")
            raise
        if isinstance(result, Refusal):
            await self._refused(market, due, result)
        elif (result.reason or "").startswith(NEVER_SENT):
            await self._not_now(market, due, result.reason or NEVER_SENT)
        else:
            held = self.holdings[market].volume
            refusal = refused_as(result)
            tried = due.tried(held=held, sent=result.volume or ZERO, refusal=refusal)
            await self._save(market, replace(tried, cause=exit_alerts.cause_of(result, refusal)))

    def _wish(self, market: str, due: DueExit, signal: SignalFact | None) -> Wish:
        desk = self.desk
        return Wish(
            market=market,
            side="ask",
            purpose=due.purpose,
            identifier=desk.name_order(desk.clock()),
            reason=due.reason,
            signal=signal,
        )

    async def _refused(self, market: str, due: DueExit, refusal: Refusal) -> None:
        holding = self.holdings.get(market)
        if refusal.limit in NOT_ITS_FAULT or holding is None:
            return
        if refusal.limit == "dust":
            await self._left_dust(market, due, holding)
        elif refusal.limit != "exit_retry":  # else the cause is why it was refused
            await self._not_now(market, due, await self._cause(market, refusal))

    async def _cause(self, market: str, refusal: Refusal) -> str:
        """Why it was refused; for coins that are not free the orders of others that lock them."""
        locked = None
        if refusal.limit == "holding":
            with self.keeping(market):
                locked = await why_locked(self.desk, market)
        return locked or refusal.reason

    async def _not_now(self, market: str, due: DueExit, cause: str) -> None:
        """Remember why the sale could not be tried."""
        if market in self.holdings:
            await self._save(market, replace(due, cause=cause))

    async def _save(self, market: str, due: DueExit) -> None:
        if self.due.get(market) == due:
            return
        async with self.desk.db.begin() as conn:
            await due_store.save(conn, self.desk.mode, market, due)
        self.due[market] = due

    def _is_dust(self, market: str, holding: Holding) -> bool:
        """Whether the exchange would not take what is held as an order, for its worth."""
        seen = self._seen.get(market)
        price = best_bid(self.books.get(market)) or (None if seen is None else seen.price)
        return price is not None and holding.value(price) < ticks.min_total(market)

    async def _left_dust(self, market: str, due: DueExit, holding: Holding) -> None:
        """What is left cannot be sold by anybody: said once, and no exit that is under way."""
        if due.is_dust and due.held == holding.volume:
            return
        await self.desk.notifier.notify(exit_alerts.dust(market, holding.volume, self.run_id))
        cause = "what is left is worth less than the exchange's minimum"
        await self._save(
            market,
            replace(due, held=holding.volume, refusal=DUST, cause=cause, blocked_at=None),
        )

    async def _blocked(self, market: str, due: DueExit) -> DueExit:
        """A person hears of it, once for each cause; health says it until it is sold."""
        if due.blocked_at is not None and due.told == due.cause:
            return due
        desk = self.desk
        async with desk.db.begin() as conn:
            newest = await order_store.newest_sale(conn, desk.mode, market)
        incident = exit_alerts.blocked(market, due, newest, at=desk.clock())
        await desk.notifier.notify(replace(incident, run_id=self.run_id))
        due = replace(due, blocked_at=due.blocked_at or desk.clock(), told=due.cause)
        await self._save(market, due)
        return due


def _before(last: Look | None, seen: Look) -> Decimal | None:
    """The price of the newest look at another instant than `seen`.

    While the exchange gives no prices every pass sees the same stored one: what the passes before
    saw still stands beside it, else a ban from quotation would switch every stop off.
    """
    if last is None:
        return None
    return last.before if last.at == seen.at else last.price
