"""The replay and the real jobs on a real Postgres do the same, order by order and won by won.

The real SignalsJob and OrdersJob trade a paper account against the recording's prices, minute by
minute; then the replay plays the same minutes. Its source is an oracle that hashes everything it is
shown, so that the smallest difference in what the two show would change what is traded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.oracle import Oracle
from fixtures.trading import Alerts, HandClock
from sqlalchemy import select

from jobs.backtest.candle_history import Tape
from jobs.backtest.recordings import read_files
from jobs.backtest.run import Plan, play
from jobs.backtest.signal_feed import SourceFeed, snapshot
from jobs.backtest.simulated_market import book_at
from jobs.backtest.trader import Trader
from jobs.core.job import Slot
from jobs.domain.settings import SPECS, Settings
from jobs.matching.rules import Rules
from jobs.orders.account import TradingAccount
from jobs.orders.job import OrdersJob
from jobs.orders.paper_exchange import PaperExchange
from jobs.orders.quotes import MarketView
from jobs.signals.job import SignalsJob
from jobs.store import candles as candle_store
from jobs.store import market_data, tables
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.upbit.wire import Orderbook, Ticker

DATA = Path(__file__).parents[4] / "sandbox" / "data"
MARKETS = ("KRW-BTC", "KRW-DOGE", "KRW-ETH", "KRW-SOL", "KRW-XRP")
BEGIN = datetime(2025, 9, 22, 5, 45, tzinfo=UTC)
HISTORY = timedelta(hours=6)
MINUTE = timedelta(minutes=1)
SLIPPAGE = Decimal(3)

NERVOUS = Settings(
    stop_loss_pct=Decimal("0.4"),
    take_profit_pct=Decimal("0.5"),
    trailing_stop_pct=Decimal("0.3"),
    max_open_positions=4,
    max_orders_per_day=45,
    daily_loss_limit_krw=Decimal(160_000),
    position_size_pct=Decimal(30),
    max_position_krw=Decimal(2_500_000),
)


@dataclass(frozen=True, kw_only=True)
class TapeQuotes:
    """The venue's public side: what the tape shows at the clock's instant."""

    tape: Tape
    clock: HandClock

    async def tickers(self, markets: Sequence[str]) -> list[Ticker]:
        return [_ticker(self.tape, market, self._price(market), self.clock()) for market in markets]

    async def orderbooks(self, markets: Sequence[str]) -> list[Orderbook]:
        now = self.clock()
        return [book_at(market, self._price(market), SLIPPAGE, now) for market in markets]

    def _price(self, market: str) -> Decimal:
        # a look shortly after a pass sees the price of the pass, as the replay does
        now = self.clock().replace(microsecond=0)
        price = self.tape.price(market, now)
        assert price is not None
        return price


def _ticker(tape: Tape, market: str, price: Decimal, now: datetime) -> Ticker:
    seen = snapshot(tape, market, now)
    return Ticker(
        market=market,
        price=price,
        volume_24h=seen.volume_24h,
        value_24h=seen.value_24h,
        change_rate=seen.change_rate,
        ts=now,
    )


@dataclass(kw_only=True)
class Live:
    """The real jobs, driven by hand."""

    db: Database
    tape: Tape
    clock: HandClock
    signals: SignalsJob
    orders: OrdersJob

    async def minute(self, begin: datetime) -> None:
        """One minute as the scheduler would run it."""
        await self.order(begin)
        await self.collect(begin + timedelta(seconds=2))
        if not begin.minute % 5:
            self.clock.now = begin + timedelta(seconds=5)
            await self.signals.run(self.slot("signals"))
        for second in (10, 20, 30, 40, 50):
            await self.order(begin + timedelta(seconds=second))

    async def order(self, at: datetime) -> None:
        self.clock.now = at
        await self.orders.run(self.slot("orders"))

    async def collect(self, at: datetime) -> None:
        """What the market job stores: the candle that just ended, and a snapshot."""
        self.clock.now = at
        new = [self.tape.window(market, 2, at) for market in MARKETS]
        await candle_store.upsert(self.db, [candle for window in new for candle in window])
        price = {market: snapshot(self.tape, market, at).price for market in MARKETS}
        await market_data.insert(
            self.db, [_ticker(self.tape, market, price[market], at) for market in MARKETS]
        )

    def slot(self, job: str) -> Slot:
        return Slot(job=job, scheduled_at=self.clock(), run_id=str(self.clock()))

    async def rows(self, table: Any) -> list[dict[str, Any]]:
        async with self.db.begin() as conn:
            return [dict(row) for row in (await conn.execute(select(table))).mappings()]


async def opened(db: Database, tape: Tape, settings: Settings, rules: Rules) -> Live:
    """The jobs on an empty database that knows the past."""
    clock = HandClock()
    clock.now = BEGIN
    quotes = TapeQuotes(tape=tape, clock=clock)
    exchange = PaperExchange(db, quotes, clock=clock, rules=rules)
    desk = TradingAccount(db=db, exchange=exchange, clock=clock, notifier=Alerts(), mode="paper")
    view = MarketView(db=db, exchange=exchange, quotes=quotes, clock=clock)
    for key in SPECS:
        await settings_store.write(db, key, getattr(settings, key), "test")
    known = [candle for market in MARKETS for candle in tape.window(market, 400, BEGIN)]
    await candle_store.upsert(db, known)

    async def markets() -> dict[str, str]:
        return {market: market.lower() for market in MARKETS}

    return Live(
        db=db,
        tape=tape,
        clock=clock,
        orders=OrdersJob(desk=desk, view=view, sleep=clock.sleep),
        signals=SignalsJob(
            db=db,
            source=Oracle(),
            source_name="oracle",
            markets=markets,
            mode="paper",
            clock=clock,
        ),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("changes", "minutes"),
    [
        ({}, 40),
        ({"entry_order": "market", "entries_per_position": 3, "position_size_pct": 10}, 20),
        ({"max_entry_deviation_pct": Decimal("0.02"), "max_spread_pct": Decimal("0.07")}, 30),
        ({"entry_order": "best", "exit_order": "best"}, 12),
        ({"entry_time_in_force": "post_only", "exit_order": "limit", "order_timeout_s": 40}, 25),
    ],
    ids=["limit", "market", "collar", "best", "resting"],
)
async def test_every_order_fill_position_and_won_is_the_same(
    database: Database, changes: dict[str, Any], minutes: int
) -> None:
    settings = replace(NERVOUS, **changes)
    until = BEGIN + minutes * MINUTE
    tape = Tape(read_files(DATA, MARKETS, since=BEGIN - HISTORY, until=until))
    # one market takes limit orders alone: its exits find that form
    rules = Rules(order_types={"KRW-XRP": frozenset({"limit"})})
    live = await opened(database, tape, settings, rules)
    for number in range(minutes):
        await live.minute(BEGIN + number * MINUTE)

    names = {market: market.lower() for market in MARKETS}
    feed = SourceFeed(tape=tape, source=Oracle(), names=names)
    plan = Plan(since=BEGIN, until=until, settings=settings, slippage_bps=SLIPPAGE, rules=rules)
    trader = await play(tape, plan, feed)

    assert len(trader.books.orders) >= minutes // 6, "too quiet to prove anything"
    if "max_spread_pct" in changes:
        assert {"max_spread_pct", "max_entry_deviation_pct"} <= set(trader.refusals)
    if "order_timeout_s" in changes:
        assert {"done", "cancel"} <= {order.state.value for order in trader.books.orders}
    assert _signals_of(feed, trader) == await _live_signals(live)
    assert _orders_of(trader) == await _live_orders(live)
    assert _fills_of(trader) == await _live_fills(live)
    assert _positions_of(trader) == await _live_positions(live)
    assert _equity_of(trader) == await _live_equity(live)


def _signals_of(feed: SourceFeed, trader: Trader) -> list[tuple[Any, ...]]:
    return sorted(
        (
            each.signal.created_at,
            each.candle_ts,
            each.signal.market,
            each.signal.action,
            each.signal.confidence,
            *_told(trader.ends.get(each.signal.id, ("new", None))),
        )
        for each in feed.said
    )


async def _live_signals(live: Live) -> list[tuple[Any, ...]]:
    return sorted(
        (
            row["created_at"],
            row["candle_ts"],
            row["market"],
            row["action"],
            row["confidence"],
            *_told((row["status"], row["status_reason"])),
        )
        for row in await live.rows(tables.signals)
    )


def _told(end: tuple[str, str | None]) -> tuple[str, str | None]:
    """An end without the order's name, which is random live."""
    status, reason = end
    return status, "order" if status == "executed" else reason


def _orders_of(trader: Trader) -> list[tuple[Any, ...]]:
    return sorted(
        (
            order.at,
            order.market,
            order.side,
            order.request.ord_type,
            order.purpose,
            str(order.request.price),
            str(order.request.volume),
            order.reserved_krw,
            order.state.value,
            order.signal_id or 0,
            order.funds,
            order.fee,
        )
        for order in trader.books.orders
    )


async def _live_orders(live: Live) -> list[tuple[Any, ...]]:
    return sorted(
        (
            row["created_at"],
            row["market"],
            row["side"],
            row["ord_type"],
            row["purpose"],
            str(row["price"]),
            str(row["volume"]),
            row["reserved_krw"],
            row["state"],
            row["signal_id"] or 0,
            row["executed_funds"],
            row["paid_fee"],
        )
        for row in await live.rows(tables.orders)
    )


def _fills_of(trader: Trader) -> list[tuple[Any, ...]]:
    return sorted(
        (fill.at, fill.price, fill.volume, fill.funds, fill.fee, fill.realized_krw)
        for order in trader.books.orders
        for fill in order.fills
    )


async def _live_fills(live: Live) -> list[tuple[Any, ...]]:
    return sorted(
        (
            row["ts"],
            row["price"],
            row["volume"],
            row["funds"],
            row["fee"],
            row["realized_krw"],
        )
        for row in await live.rows(tables.fills)
    )


def _positions_of(trader: Trader) -> dict[str, tuple[Any, ...]]:
    return {
        market: (held.volume, held.avg_price, held.realized_krw, held.high_price, held.opened_at)
        for market, held in trader.books.positions.items()
    }


async def _live_positions(live: Live) -> dict[str, tuple[Any, ...]]:
    return {
        row["market"]: (
            row["volume"],
            row["avg_price"],
            row["realized_krw"],
            row["high_price"],
            row["opened_at"],
        )
        for row in await live.rows(tables.positions)
    }


def _equity_of(trader: Trader) -> list[tuple[Any, ...]]:
    return [
        (point.at, point.cash_krw, point.positions_krw, point.pnl_krw, point.peak_krw)
        for point in trader.books.equity
    ]


async def _live_equity(live: Live) -> list[tuple[Any, ...]]:
    rows = sorted(await live.rows(tables.equity), key=lambda row: row["ts"])
    return [
        (row["ts"], row["cash_krw"], row["positions_krw"], row["pnl_krw"], row["peak_krw"])
        for row in rows
    ]
