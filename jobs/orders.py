"""The orders job: one pass over everything that can change the account.

1. what is open: recover, resolve, follow (every few minutes as part of a reconciliation)
2. exits: stop-loss, take-profit, trailing stop, without asking anybody
3. new signals: risk, intent, one POST
4. a short look at what was just placed
5. what the account is worth

One market's trouble never stops the others: it is kept, and raised when everything was tried.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.errors import JobError, Transient
from jobs.spec import Incident, Sleep, Slot
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.orders import OrderRow
from jobs.store.settings import Settings
from jobs.trading import exits
from jobs.trading.choice import choose
from jobs.trading.clearance import Clearance
from jobs.trading.desk import Desk
from jobs.trading.follow import cancel, tend
from jobs.trading.intents import refused_as, reserve, send, withdraw
from jobs.trading.ledger import ZERO, Holding
from jobs.trading.portfolio import Money, Purpose, Rules, SignalFact, Wish
from jobs.trading.reconcile import Standing, look_for_missing, reconcile
from jobs.trading.risk import Refusal
from jobs.trading.states import OPEN, State
from jobs.trading.view import MarketView
from jobs.upbit import ticks

ALERTED = frozenset({"daily_loss_limit_krw", "max_drawdown_pct", "max_orders_per_day"})
"""Limits that a person hears of when they stop an entry."""

SLACK = timedelta(minutes=10)
"""How long a signal that is too old may still wait for its end."""

LOOKS_AFTER_PLACING_S = (0.2, 0.3, 0.5, 1.0)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What one process has said already, so that it does not say it every ten seconds.

    `dust` holds the volume of a remainder too small to sell.
    """

    dust: dict[str, Decimal] = field(default_factory=dict)


async def _any_market(_: str) -> None:
    """No market is barred from entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersJob:
    """Trades what the newest signals and the exit rules ask for, within every limit in force.

    `standing` is shared with whoever reconciles at start; `settings` gives the rules in force
    (default: the database), `why_no_entry` why a market takes no new exposure, if it takes none.
    Safe to run again after any failure, and after any crash.
    """

    desk: Desk
    view: MarketView
    sleep: Sleep
    standing: Standing = field(default_factory=Standing)
    memory: Memory = field(default_factory=Memory)
    clearance: Clearance = field(default_factory=Clearance)
    reconcile_every: timedelta = timedelta(minutes=5)
    equity_every: timedelta = timedelta(minutes=1)
    settings: Callable[[], Awaitable[Settings]] | None = None
    why_no_entry: Callable[[str], Awaitable[str | None]] = _any_market

    async def run(self, slot: Slot) -> int:
        """Do one pass; return how many rows it wrote. Raises the first trouble, transient first."""
        work = _Pass(job=self, settings=await self._settings_in_force(), run_id=slot.run_id)
        steps = (
            work.tend_open,
            work.leave,
            work.enter,
            work.look_after_placing,
            work.keep_equity,
        )
        for step in steps:
            with work.keeping_bugs():
                await step()
        work.raise_first()
        return work.rows

    async def _settings_in_force(self) -> Settings:
        """The rules of this pass; what is placed obeys those that its own transaction reads."""
        if self.settings is not None:
            return self.desk.in_force(await self.settings())
        async with self.desk.db.begin() as conn:
            settings = await settings_store.read(conn, fallback=Settings())
        return self.desk.in_force(settings)


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One run of the job and what it has met so far."""

    job: OrdersJob
    settings: Settings
    run_id: str
    rows: int = 0
    placed: list[OrderRow] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    prices: dict[str, Decimal] = field(default_factory=dict)
    money: Money | None = None

    @contextmanager
    def keeping(self, market: str | None = None) -> Iterator[None]:
        """Keep a failure of the block for the end, so that the rest is still tried."""
        try:
            with self.keeping_bugs(market):
                yield
        except JobError as exc:
            self.errors.append(exc)
            logger.bind(
                event="order.trouble",
                market=market,
                error_type=type(exc).__name__,
                error=str(exc),
            ).warning("A step of the orders job failed")

    @contextmanager
    def keeping_bugs(self, market: str | None = None) -> Iterator[None]:
        """Keep what nobody expected for the end as well; failures that we understand pass.

        One answer that no reader was written for ended every pass before the exits of all markets.
        """
        try:
            yield
        except JobError:
            raise
        except Exception as exc:  # noqa: BLE001 - the boundary between one market or step and the rest
            self.errors.append(exc)
            logger.bind(event="job.bug", market=market).exception(
                "A step of the orders job raised what it should not"
            )

    def raise_first(self) -> None:
        """Raise what was kept: the first transient trouble, else the first of all."""
        passing = [error for error in self.errors if isinstance(error, Transient)]
        for error in (*passing, *self.errors):
            raise error

    # -- 1: what is open ---------------------------------------------------------------------

    async def tend_open(self) -> None:
        """Take every open order as far as evidence goes, and reconcile when that is due."""
        desk, standing = self.job.desk, self.job.standing
        timeout_s = self.settings.order_timeout_s
        due = (
            standing.report is None
            or standing.is_due
            or desk.clock() - standing.report.checked_at >= self.job.reconcile_every
        )
        if due:
            with self.keeping():
                report = await reconcile(
                    desk, standing, timeout_s=timeout_s, deep=standing.report is None
                )
                self.rows += report.rows
                return
        async with desk.db.begin() as conn:
            unfinished = await order_store.unfinished(conn, desk.mode)
        for order in unfinished:
            with self.keeping(order.market):
                self.rows += await tend(desk, order, timeout_s=timeout_s)

    # -- 2: exits ----------------------------------------------------------------------------

    async def leave(self) -> None:
        """Sell what an exit rule says, whatever signals say."""
        desk, view = self.job.desk, self.job.view
        async with desk.db.begin() as conn:
            holdings = await position_store.held(conn, desk.mode)
        with self.keeping():
            self.prices.update(await view.prices(holdings))
            await self._raise_highs(holdings)
        unpriced = holdings.keys() - self.prices.keys()
        self.prices.update(view.fresh(await view.stored(unpriced)))
        for market, holding in holdings.items():
            if (price := self.prices.get(market)) is not None:
                with self.keeping(market):
                    await self._leave(market, holding, price)

    async def _raise_highs(self, holdings: Mapping[str, Holding]) -> None:
        """Remember new highs: of prices that the exchange gave in this pass, of no others.

        A high is for good: one that never was sells by its trailing stop at the true price.
        """
        desk = self.job.desk
        highs = {market: self.prices[market] for market in holdings if market in self.prices}
        async with desk.db.begin() as conn:
            for market, price in highs.items():
                await position_store.raise_high(conn, desk.mode, market, price)

    async def _leave(self, market: str, holding: Holding, price: Decimal) -> None:
        found = exits.decide(holding, price, self.settings)
        if found is None or self._is_known_dust(market, holding, price):
            return
        if await self._is_gone(market):
            return
        await self._cancel_bids(market)
        await self._sell(market, found.kind, found.reason, price)

    async def _cancel_bids(self, market: str) -> None:
        """No bid may buy back what an exit sells."""
        desk = self.job.desk
        async with desk.db.begin() as conn:
            unfinished = await order_store.unfinished(conn, desk.mode)
        for order in unfinished:
            waits = order.state is State.WAIT and order.cancel_requested_at is None
            if waits and order.market == market and order.side == "bid":
                with self.keeping(market):
                    self.rows += await cancel(desk, order)

    async def _sell(
        self,
        market: str,
        purpose: Purpose,
        reason: str,
        price: Decimal,
        signal: SignalFact | None = None,
    ) -> None:
        desk = self.job.desk
        if await self.job.clearance.why_paused(desk, market) is not None:
            return
        rules = Rules(
            chance=await self.job.view.exit_chance(market),
            price=price,
            ticks=await self.job.view.ticks_of(market),
        )
        wish = Wish(
            market=market,
            side="ask",
            purpose=purpose,
            identifier=desk.name_order(desk.clock()),
            reason=reason,
            signal=signal,
        )
        with self.keeping(market):
            await self._know_money()
        unknown = Money(free_krw=ZERO, total_krw=ZERO, at=desk.clock())  # a sale needs none
        await self._place(wish, rules, self.money or unknown)

    def _is_known_dust(self, market: str, holding: Holding, price: Decimal) -> bool:
        """Whether this remainder was found too small to sell before, and still is."""
        was_dust = self.job.memory.dust.get(market) == holding.volume
        return was_dust and holding.value(price) < ticks.min_total(market)

    # -- 3: signals --------------------------------------------------------------------------

    async def enter(self) -> None:
        """Act on new signals: sales first, then purchases, the most confident first."""
        signals = await self._actionable()
        markets = {signal.market for signal in signals}
        buying = {signal.market for signal in signals if signal.action == "buy"}
        view = self.job.view
        with self.keeping():
            self.prices.update(await view.prices(markets - self.prices.keys()))
        stored = await view.stored(markets)
        self.prices = {**view.fresh(stored), **self.prices}
        asks: dict[str, Decimal] = {}
        with self.keeping():
            asks = await view.best_asks(buying)
        for signal in signals:
            with self.keeping(signal.market):
                if signal.action == "sell":
                    await self._sell_on(signal)
                else:
                    snapshot = stored.get(signal.market)
                    data_at = None if snapshot is None else snapshot.ts
                    await self._buy_on(signal, asks.get(signal.market), data_at)

    async def _actionable(self) -> list[SignalFact]:
        """The newest new signal of each market, as far as it asks for an order; others end here."""
        desk = self.job.desk
        async with desk.db.begin() as conn:
            new = await self._new_signals(conn)
            chosen, ended = choose(new, self.settings, desk.clock())
            for each in ended:
                await order_store.close_signal(
                    conn, each.signal.id, each.status, each.reason, is_twin=desk.is_twin
                )
        self.rows += len(ended)
        return chosen

    async def _new_signals(self, conn: AsyncConnection) -> list[SignalFact]:
        """What nobody has acted on; a twin looks no further back than signals live and a bit."""
        desk = self.job.desk
        if not desk.is_twin:
            return await order_store.new_signals(conn)
        lives = timedelta(seconds=2 * self.settings.signal_max_age_s) + SLACK
        return await order_store.new_for_twin(conn, desk.clock() - lives)

    async def _sell_on(self, signal: SignalFact) -> None:
        if (price := self.prices.get(signal.market)) is not None:
            await self._sell(signal.market, "exit", f"signal {signal.id}", price, signal)

    async def _buy_on(
        self, signal: SignalFact, best_ask: Decimal | None, data_at: datetime | None
    ) -> None:
        desk, view, market = self.job.desk, self.job.view, signal.market
        money, price = await self._know_money(), self.prices.get(market)
        if price is None:
            return  # why there is none was kept; the signal stays new
        rules = Rules(
            chance=await view.chance(market),
            price=price,
            best_ask=best_ask,
            data_at=data_at,
            data_max_age_s=view.data_max_age_s,
            ticks=await view.ticks_of(market),
            reduce_only=self.job.standing.reduce_only(market)
            or await self.job.clearance.why_paused(desk, market)
            or await self.job.why_no_entry(market),
        )
        wish = Wish(
            market=market,
            side="bid",
            purpose="entry",
            identifier=desk.name_order(desk.clock()),
            reason=f"signal {signal.id}",
            signal=signal,
        )
        await self._place(wish, rules, money)

    async def _know_money(self) -> Money:
        if self.money is None:
            self.money = await self.job.view.money()
        return self.money

    async def _place(self, wish: Wish, rules: Rules, money: Money) -> None:
        desk = self.job.desk
        result = await reserve(desk, wish, rules, money=money, prices=self.prices)
        if isinstance(result, Refusal):
            await self._refused(wish, result)
            return
        if wish.side == "bid":
            for limit in sorted(ALERTED):
                await desk.notifier.resolve(f"risk_limit_hit:{limit}")
        self.rows += 1
        if await self._is_cleared(result):
            order = await send(desk, result)
            self.job.clearance.learn(order.market, refused_as(order), desk.clock())
            self.rows += 1
            self.placed.append(order)

    async def _is_cleared(self, intent: OrderRow) -> bool:
        """Whether the market is known to take orders; withdraws the intent when it does not."""
        desk = self.job.desk
        try:
            fault = await self.job.clearance.first_fault(desk, intent)
        except JobError as exc:
            await withdraw(desk, intent, f"its test was not answered: {exc}")
            raise
        if fault is not None:
            await withdraw(desk, intent, fault)
            self.rows += 1
        return fault is None

    async def _refused(self, wish: Wish, refusal: Refusal) -> None:
        """Remember dust, and tell a person of the limits that stop trading as a whole."""
        if refusal.limit == "dust" and (held := await self._volume(wish.market)) is not None:
            self.job.memory.dust[wish.market] = held
        if refusal.limit in ALERTED:
            key = f"risk_limit_hit:{refusal.limit}"
            await self._notify(key, refusal.reason, wish.market)

    async def _is_gone(self, market: str) -> bool:
        """Whether the venue has nothing of what is held there: then there is nothing to sell."""
        desk, missing = self.job.desk, set[str]()
        with self.keeping(market):
            missing = await look_for_missing(desk, self.job.standing, await self._know_money())
        return market in missing and self.money is not None and self.money.total(market) == ZERO

    async def _volume(self, market: str) -> Decimal | None:
        desk = self.job.desk
        async with desk.db.begin() as conn:
            holding = (await position_store.held(conn, desk.mode)).get(market)
        return None if holding is None else holding.volume

    async def _notify(self, incident: str, message: str, market: str) -> None:
        await self.job.desk.notifier.notify(
            Incident(
                kind="risk_limit_hit",
                severity="warning",
                incident=incident,
                title="A risk limit stops entries",
                message=message,
                job="orders",
                run_id=self.run_id,
                market=market,
            )
        )

    # -- 4: what was just placed -------------------------------------------------------------

    async def look_after_placing(self) -> None:
        """Look a few times, two seconds at most: most orders end at once."""
        placed = {order.id for order in self.placed if order.state in OPEN}
        for pause_s in LOOKS_AFTER_PLACING_S:
            if not placed:
                return
            await self.job.sleep(pause_s)
            placed = await self._look_at(placed)

    async def _look_at(self, placed: set[int]) -> set[int]:
        desk = self.job.desk
        async with desk.db.begin() as conn:
            unfinished = await order_store.unfinished(conn, desk.mode)
        mine = [order for order in unfinished if order.id in placed]
        for order in mine:
            with self.keeping(order.market):
                self.rows += await tend(desk, order, timeout_s=self.settings.order_timeout_s)
        return {order.id for order in mine}

    # -- 5: worth ----------------------------------------------------------------------------

    async def keep_equity(self) -> None:
        """Store what the account is worth, after orders and else every now and then."""
        desk, view = self.job.desk, self.job.view
        async with desk.db.begin() as conn:
            newest = await position_store.newest_equity(conn, desk.mode)
        is_due = newest is None or desk.clock() - newest.ts >= self.job.equity_every
        if not (is_due or self.placed):
            return
        with self.keeping():
            money = await view.money()
            async with desk.db.begin() as conn:
                missing = await position_store.add_equity(
                    conn, desk.mode, money=money, prices=self.prices
                )
            self.rows += 1
            if missing:
                await look_for_missing(desk, self.job.standing, money)
