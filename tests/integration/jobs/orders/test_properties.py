"""Random histories of trading: the books' invariants hold, and no order is beyond a limit.

Signals, prices, thin books, lost answers, restarts, deaths, changed settings and midnights come in
any order. `make properties` tries many more of them than the suite does.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from fixtures.postgres import SMALL_POOL
from fixtures.trading import BTC, START_KRW, Killed, Trading, Trouble, trading_on
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from daemon.postgres.pool import open_database
from jobs.core.errors import JobError
from jobs.domain import risk
from jobs.domain.halt import HaltLevel
from jobs.domain.order_states import OPEN
from jobs.domain.risk import day_start
from jobs.domain.settings import Settings, parse_value
from jobs.store import equity as equity_store
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.store.orders import OrderRow
from jobs.store.tables import fills, orders, signals
from jobs.upbit.ticks import round_price

EXAMPLES = int(os.environ.get("UPBITD_EXAMPLES", "6"))
STEPS = 18
MARKETS = (BTC, "KRW-ETH", "KRW-XRP")
FEES_KRW = Decimal(2000)
"""How far an unknown order's fee may keep the books from what the venue holds already."""
TROUBLES: tuple[Trouble | None, ...] = (
    *("never_arrived", "lost_answer", "late", "burnt", "not_sent", "rate_limited", "banned"),
    *("refused", "duplicated", "unauthorized_later", "unavailable"),
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "max_open_positions": (0, 1, 2, 5),
    "max_orders_per_day": (0, 1, 3, 50),
    "max_position_krw": (5_000, 100_000, 1_000_000),
    "position_size_pct": (1, 10, 50),
    "cooldown_s": (0, 60, 600),
    "min_confidence": ("0.5", "0.9"),
    "daily_loss_limit_krw": (0, 1_000, 100_000),
    "max_drawdown_pct": (0, 1, 20),
    "stop_loss_pct": (0, 3),
    "take_profit_pct": (0, 3),
    "trailing_stop_pct": (0, 2),
    "entry_order": ("limit", "market", "best"),
    "entry_time_in_force": ("auto", "ioc", "fok", "post_only"),
    "exit_order": ("limit", "market", "best"),
    "max_spread_pct": (0, 1),
    "max_entry_deviation_pct": (0, 1),
    "max_exit_slippage_pct": (1, 3, 30),
    "entries_per_position": (1, 2, 5),
    "halted": ("none", "entries", "all"),
}


@dataclass
class Tried:
    """What the machine has done, for people."""

    examples: int = 0
    steps: int = 0
    orders: int = 0
    killed: int = 0
    ends: dict[str, int] = field(default_factory=dict)


class TradingHistory(RuleBasedStateMachine):
    """One account through anything that may happen to it."""

    database: ClassVar[Database]
    runner: ClassVar[asyncio.Runner]
    tried: ClassVar[Tried]

    @initialize()
    def begin(self) -> None:
        self.tried.examples += 1
        self.trading = self.runner.run(self._opened())
        self.known: set[int] = set()

    async def _opened(self) -> Trading:
        trading = trading_on(self.database)
        await trading.wipe()
        await trading.set(cooldown_s=0)
        return trading

    # -- what may happen -------------------------------------------------------------------------

    @rule(
        market=st.sampled_from(MARKETS),
        action=st.sampled_from(["buy", "buy", "buy", "sell", "hold"]),
        confidence=st.sampled_from(["0.7", "0.95"]),
    )
    def signal(self, market: str, action: str, confidence: str) -> None:
        self._do(self._signal_and_run(market, action, confidence))

    @rule(after_s=st.sampled_from([1, 10, 61, 600]))
    def time_passes(self, after_s: int) -> None:
        self._do(self._run(after_s))

    @rule(after_s=st.sampled_from([-1, 1]))
    def midnight_in_korea(self, after_s: int) -> None:
        """To a second before or after the next one."""
        clock = self.trading.clock
        ahead = day_start(clock.now + timedelta(days=1, seconds=2)) - clock.now
        clock.now += ahead + timedelta(seconds=after_s)
        self._do(self._run(0))

    @rule(
        market=st.sampled_from(MARKETS),
        percent=st.sampled_from([-15, -4, -1, 1, 4, 15]),
        depth=st.sampled_from(["0.0001", "0.01", "1000"]),
    )
    def the_market_moves(self, market: str, percent: int, depth: str) -> None:
        venue = self.trading.venue
        price = round_price(market, venue.price[market] * (100 + percent) / 100, "down")
        venue.quote(price, market, Decimal(depth))

    @rule(trouble=st.sampled_from(TROUBLES))
    def the_next_answer_goes_wrong(self, trouble: Trouble) -> None:
        self.trading.venue.troubles = [trouble]

    @rule()
    def the_process_is_restarted(self) -> None:
        self.trading.restarted()

    @rule(
        market=st.sampled_from(MARKETS),
        number=st.integers(1, 25),
        side=st.sampled_from(["before", "after"]),
    )
    def the_process_dies(self, market: str, number: int, side: Any) -> None:
        self.trading.db.revive((number, side))
        self._do(self._signal_and_run(market, "buy", "0.95"))
        self.trading.db.revive()
        self.trading.restarted()

    @rule()
    def the_venue_cancels(self) -> None:
        engine = self.trading.venue.engine
        for ticket in list(engine.tickets(is_open=True)):
            engine.cancel_at_once(ticket.uuid, now=self.trading.clock())

    @rule(data=st.data(), key=st.sampled_from(sorted(CHOICES)))
    def a_setting_changes(self, data: st.DataObject, key: str) -> None:
        value = data.draw(st.sampled_from(CHOICES[key]))
        checked = parse_value(key, str(value))
        self.runner.run(settings_store.write(self.database, key, checked, "test"))

    # -- doing it --------------------------------------------------------------------------------

    def _do(self, step: Any) -> None:
        self.tried.steps += 1
        self.runner.run(step)

    async def _signal_and_run(self, market: str, action: str, confidence: str) -> None:
        await self.trading.signal(action, market, confidence=confidence)
        await self._run(1)

    async def _run(self, after_s: int) -> None:
        try:
            with suppress(JobError):
                await self.trading.run(after_s=after_s)
        except Killed:
            self.tried.killed += 1
        await self._judge_new_orders()

    # -- what must hold --------------------------------------------------------------------------

    async def _judge_new_orders(self) -> None:
        """Every order that is new, by the settings in force and by what is open beside it."""
        async with self.database.begin() as conn:
            in_force = await settings_store.read(conn)
        rows = await self.trading.orders()
        for row in rows:
            if row.id not in self.known:
                self.known.add(row.id)
                self.tried.orders += 1
                assert len(row.identifier) <= 32
                if row.side == "bid":
                    await self._judge_purchase(row, rows, in_force)

    async def _judge_purchase(
        self, row: OrderRow, rows: list[OrderRow], in_force: Settings
    ) -> None:
        assert in_force.halted is HaltLevel.NONE
        cost = row.reserved_krw / Decimal("1.0005")
        assert cost <= in_force.max_position_krw
        assert cost >= 5000
        before = [each for each in rows if each.id < row.id]
        same_market = [each for each in before if each.market == row.market]
        start = day_start(row.created_at)
        taken_today = [e for e in before if e.created_at >= start and e.state != "refused"]
        assert len(taken_today) < in_force.max_orders_per_day
        met = [e for e in same_market if not _is_given_up(e)]
        if met:
            pause_s = (row.created_at - met[-1].created_at).total_seconds()
            assert pause_s >= in_force.cooldown_s
        async with self.database.begin() as conn:
            held = await position_store.held(conn, "live")
            wanted = select(signals.c.confidence).where(signals.c.id == row.signal_id)
            assert (await conn.execute(wanted)).scalar_one() >= in_force.min_confidence
            await self._judge_loss(conn, row, in_force)
            await self._judge_entries(conn, row, in_force)
        others = {m for m, h in held.items() if h.value(self.trading.venue.price[m]) >= 5000}
        others |= {e.market for e in before if e.side == "bid" and e.state in OPEN}
        assert len(others - {row.market}) < in_force.max_open_positions or row.market in others

    async def _judge_entries(self, conn: Any, row: OrderRow, in_force: Settings) -> None:
        """Recounted from the fills of the market, the order's own left out."""
        statement = (
            select(fills.c.order_id, fills.c.volume, orders.c.side)
            .join(orders, orders.c.id == fills.c.order_id)
            .where(orders.c.market == row.market, orders.c.id != row.id)
            .order_by(fills.c.id)
        )
        held, entries = Decimal(0), set[int]()
        for fill in await conn.execute(statement):
            if fill.side == "ask":
                held -= fill.volume
            else:
                entries = {fill.order_id} | (entries if held else set())
                held += fill.volume
        is_held = held * self.trading.venue.price[row.market] >= 5000
        assert not is_held or len(entries) < in_force.entries_per_position

    async def _judge_loss(self, conn: Any, row: OrderRow, in_force: Settings) -> None:
        """By what the venue holds, not by our books."""
        limit = in_force.daily_loss_limit_krw
        opened = await equity_store.opened_krw(conn, "live", day_start(row.created_at))
        venue = self.trading.venue
        coins = (venue.total(m.partition("-")[2]) * venue.price[m] for m in MARKETS)
        profit = venue.total("KRW") + sum(coins, Decimal(0)) - START_KRW
        loss = opened - profit
        assert not limit or loss < limit + FEES_KRW, f"entry after a loss of {loss} today"

    @precondition(lambda self: hasattr(self, "trading"))
    @invariant()
    def positions_are_the_sum_of_their_fills(self) -> None:
        async def look() -> None:
            async with self.database.begin() as conn:
                assert await position_store.ledger_differences(conn, "live") == {}
                held = await position_store.held(conn, "live")
            assert all(holding.volume > 0 for holding in held.values())

        self.runner.run(look())

    @precondition(lambda self: hasattr(self, "trading"))
    @invariant()
    def nothing_is_sent_twice_and_no_sale_exceeds_what_is_held(self) -> None:
        names = [post.identifier for post in self.trading.venue.posts]
        assert len(set(names)) == len(names)
        reasons = [row.reason or "" for row in self.runner.run(self.trading.orders())]
        assert not [reason for reason in reasons if "insufficient_funds_ask" in reason]

    def teardown(self) -> None:
        """In the end everything is known: cash, positions and fees are the venue's, exactly."""
        if hasattr(self, "trading"):
            self.runner.run(self._settle())

    async def _settle(self) -> None:
        await self.trading.set(halted=True)
        self.trading.venue.troubles = []
        self.trading.restarted()
        for _ in range(12):
            with suppress(JobError):
                await self.trading.run(after_s=61)
            async with self.database.begin() as conn:
                if not await order_store.unfinished(conn, "live"):
                    break
        await self.trading.assert_books_agree()
        for row in await self.trading.orders():
            self.tried.ends[row.state] = self.tried.ends.get(row.state, 0) + 1


def _is_given_up(row: OrderRow) -> bool:
    return row.state == "refused" and (row.reason or "").startswith("never ")


@pytest.fixture
def machine(dsn: str) -> Iterator[type[TradingHistory]]:
    """The machine on a database of its own, on one loop for all histories."""
    with asyncio.Runner() as runner:
        opened = open_database(dsn, SMALL_POOL)
        TradingHistory.database = runner.run(opened.__aenter__())
        TradingHistory.runner, TradingHistory.tried = runner, Tried()
        yield TradingHistory
        runner.run(opened.__aexit__(None, None, None))


@pytest.mark.timeout(0 if "UPBITD_EXAMPLES" in os.environ else 300)
def test_invariants_hold_in_any_history(
    machine: type[TradingHistory], capsys: pytest.CaptureFixture[str]
) -> None:
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize="UPBITD_EXAMPLES" not in os.environ,  # six at random may hold no order at all
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
    tried = machine.tried
    assert tried.examples >= EXAMPLES
    assert tried.orders > 0
    with capsys.disabled():
        print(f"\n{tried}")  # noqa: T201 - what was tried is the figure


def test_the_machine_sees_an_order_beyond_a_limit(
    machine: type[TradingHistory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A risk check that forgets the day's count must be found out."""
    lax = tuple(check for check in risk._ENTRY if check.__name__ != "_orders_today")
    monkeypatch.setattr(risk, "_ENTRY", lax)
    history = machine()
    history.begin()
    history.runner.run(history.trading.set(max_orders_per_day=1))
    history.signal(BTC, "buy", "0.95")
    with pytest.raises(AssertionError):
        history.signal("KRW-ETH", "buy", "0.95")
