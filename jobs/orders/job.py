"""The orders job: one pass over everything that can change the account.

1. what is open: recover, resolve, follow (every few minutes as part of a reconciliation)
2. exits: stop-loss, take-profit, trailing stop, without asking anybody
3. new signals: risk, intent, one POST
4. a short look at what was just placed, and at exits that are not done
5. what the account is worth

One market's trouble never stops the others: it is kept, and raised when everything was tried.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import JobError, Transient
from jobs.core.job import Incident, Sleep, Slot
from jobs.domain.ledger import ZERO
from jobs.domain.order_states import OPEN
from jobs.domain.portfolio import Money, Rules, SignalFact, Wish
from jobs.domain.risk import Refusal
from jobs.domain.settings import Settings
from jobs.domain.signal_choice import choose
from jobs.orders.account import TradingAccount
from jobs.orders.barred_bids import WhyNoEntry, cancel_barred
from jobs.orders.exit_run import ExitRun, Look
from jobs.orders.market_gate import Clearance
from jobs.orders.placement import refused_as, reserve, send, withdraw
from jobs.orders.quotes import MarketView
from jobs.orders.reconcile import Standing, look_for_missing, reconcile
from jobs.orders.tracking import tend
from jobs.store import equity as equity_store
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.market_data import Snapshot
from jobs.store.orders import OrderRow

ALERTED = frozenset({"daily_loss_limit_krw", "max_drawdown_pct", "max_orders_per_day"})
"""Limits that a person hears of when they stop an entry."""

ANEW = "`upbitd drawdown` shows from which profit it counts; `upbitd drawdown restart` begins anew"
"""Nothing else ends a drawdown but its recovery."""

SLACK = timedelta(minutes=10)
"""How long a signal that is too old may still wait for its end."""

LOOKS_AFTER_PLACING_S = (0.2, 0.3, 0.5, 1.0)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What one process has said already, so that it does not say it every ten seconds.

    `looks` are the prices that the pass before saw.
    """

    looks: dict[str, Look] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersJob:
    """Trades what the newest signals and the exit rules ask for, within every limit in force.

    `standing` is shared with whoever reconciles at start; `settings` gives the rules in force
    (default: the database), `why_no_entry` why a market takes no new exposure, if it takes none.
    Safe to run again after any failure, and after any crash.
    """

    desk: TradingAccount
    view: MarketView
    sleep: Sleep
    standing: Standing = field(default_factory=Standing)
    memory: Memory = field(default_factory=Memory)
    clearance: Clearance = field(default_factory=Clearance)
    reconcile_every: timedelta = timedelta(minutes=5)
    equity_every: timedelta = timedelta(minutes=1)
    settings: Callable[[], Awaitable[Settings]] | None = None
    why_no_entry: WhyNoEntry | None = None

    async def run(self, slot: Slot) -> int:
        """Do one pass; return how many rows it wrote. Raises the first trouble, transient first."""
        work = _Pass(job=self, settings=await self._settings_in_force(), run_id=slot.run_id)
        steps = (
            work.tend_open,
            work.leave,
            work.drop_barred,
            work.enter,
            work.look_after_placing,
            work.exits.settle,
            work.keep_equity,
        )
        for step in steps:
            with work.keeping_bugs():
                await step()
        work.raise_first()
        return work.rows + work.exits.rows

    async def _settings_in_force(self) -> Settings:
        """The rules of this pass; what is placed obeys those that its own transaction reads."""
        if self.settings is not None:
            return self.desk.in_force(await self.settings())
        async with self.desk.db.begin() as conn:
            settings = await settings_store.read(conn, fallback=Settings())
        return self.desk.in_force(settings)


@dataclass(kw_only=True)
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

    @property
    def values(self) -> dict[str, Decimal]:
        """What each market is worth: a delisted one at the last price that was stored of it."""
        return {**self.exits.last_known, **self.prices}

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

    @cached_property
    def exits(self) -> ExitRun:
        """The exits of this pass."""
        job = self.job
        return ExitRun(
            desk=job.desk,
            view=job.view,
            clearance=job.clearance,
            settings=self.settings,
            run_id=self.run_id,
            looks=job.memory.looks,
            keeping=self.keeping,
            place=self._place_sale,
            is_gone=self._is_gone,
        )

    async def leave(self) -> None:
        """Sell what an exit rule says, whatever signals say."""
        await self.exits.look(self.prices)
        await self.exits.run()

    async def _place_sale(self, wish: Wish, rules: Rules) -> OrderRow | Refusal:
        with self.keeping(wish.market):
            await self._know_money()
        unknown = Money(free_krw=ZERO, total_krw=ZERO, at=self.job.desk.clock())  # needs none
        return await self._place(wish, rules, self.money or unknown)

    async def drop_barred(self) -> None:
        """Cancel entries that wait where none may be made any more."""
        if (why := self.job.why_no_entry) is not None:
            with self.keeping():
                self.rows += await cancel_barred(self.job.desk, why, self.keeping)

    async def _why_barred(self, market: str) -> str | None:
        return None if (why := self.job.why_no_entry) is None else await why(market)

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
        with self.keeping():
            self.exits.books.update(await view.books(markets - self.exits.books.keys()))
        recent = await view.recent({m: snap for m, snap in stored.items() if m in buying})
        for signal in signals:
            with self.keeping(signal.market):
                if signal.action == "sell":
                    await self._sell_on(signal)
                else:
                    await self._buy_on(signal, stored.get(signal.market), recent.get(signal.market))

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
            await self.exits.on_signal(signal, price)

    async def _buy_on(
        self, signal: SignalFact, snapshot: Snapshot | None, recent: Decimal | None
    ) -> None:
        desk, view, market = self.job.desk, self.job.view, signal.market
        money, price = await self._know_money(), self.prices.get(market)
        if price is None:
            return  # why there is none was kept; the signal stays new
        rules = Rules(
            chance=await view.chance(market),
            price=price,
            book=self.exits.books.get(market),
            recent_price=recent,
            data_at=None if snapshot is None else snapshot.ts,
            data_max_age_s=view.data_max_age_s,
            ticks=await view.ticks_of(market),
            reduce_only=self.job.standing.reduce_only(market)
            or await self.exits.why_unsold(signal)
            or await self.job.clearance.why_paused(desk, market),
            barred=await self._why_barred(market),
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

    async def _place(self, wish: Wish, rules: Rules, money: Money) -> OrderRow | Refusal:
        desk = self.job.desk
        result = await reserve(desk, wish, rules, money=money, prices=self.values)
        if isinstance(result, Refusal):
            await self._refused(wish, result)
            return result
        if wish.side == "bid":
            for limit in sorted(ALERTED):
                await desk.notifier.resolve(f"risk_limit_hit:{limit}")
        self.rows += 1
        if await self._is_cleared(result):
            result = await send(desk, result)
            self.job.clearance.learn(result.market, refused_as(result), desk.clock())
            self.rows += 1
            self.placed.append(result)
        return result

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
        """Tell a person of the limits that stop trading as a whole."""
        if refusal.limit in ALERTED:
            key = f"risk_limit_hit:{refusal.limit}"
            await self._notify(key, refusal.reason, wish.market)

    async def _is_gone(self, market: str) -> bool:
        """Whether the venue has nothing of what is held there: then there is nothing to sell."""
        desk, missing = self.job.desk, set[str]()
        with self.keeping(market):
            missing = await look_for_missing(desk, self.job.standing, await self._know_money())
        return market in missing and self.money is not None and self.money.total(market) == ZERO

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
                advice=ANEW if incident.endswith("max_drawdown_pct") else None,
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
            newest = await equity_store.newest(conn, desk.mode)
        is_due = newest is None or desk.clock() - newest.ts >= self.job.equity_every
        if not (is_due or self.placed):
            return
        with self.keeping():
            money = await view.money()
            async with desk.db.begin() as conn:
                missing = await position_store.add_equity(
                    conn, desk.mode, money=money, prices=self.values
                )
            self.rows += 1
            if missing:
                await look_for_missing(desk, self.job.standing, money)
