"""How many statements each job run may send; whoever needs more must say so here.

They are counted where they leave the process, whatever sent them. What grows with the number of
markets would show at two sizes: the counts are the same for both.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from fixtures.trading import BTC, Trading

from jobs.candles.selection import Selection
from jobs.core.job import Slot
from jobs.domain.settings import Settings
from jobs.market.job import MarketJob
from jobs.signals.job import SignalsJob
from jobs.signals.rule_source import RulesSource
from jobs.store import candles, market_data
from jobs.store.db import Database
from jobs.upbit.absent import AbsentMarkets
from jobs.upbit.lists import Page
from jobs.upbit.wire import Candle, Market, Ticker
from jobs.upkeep import UpkeepJob

NOW = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SLOT = Slot(job="x", scheduled_at=NOW, run_id="r")
FEW, MANY = 2, 40

MARKET_FIRST, MARKET_NEXT = 5, 5
SIGNALS_NEW, SIGNALS_AGAIN = 5, 4
ORDERS_IDLE, ORDERS_ENTRY = 6, 48
UPKEEP = 12


class Exchange:
    """As many markets as wanted, each with a trade in every minute."""

    def __init__(self, count: int) -> None:
        self.names = tuple(f"KRW-M{n}" for n in range(count))
        self.absent = AbsentMarkets(clock=lambda: self.now, all_tickers=self.all_tickers)
        self.now = NOW

    async def tickers(self, markets: Any) -> list[Ticker]:
        one = Decimal(1)
        return [
            Ticker(
                market=each,
                price=one,
                volume_24h=one,
                value_24h=one,
                change_rate=one,
                ts=self.now,
            )
            for each in markets
        ]

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        return await self.tickers(self.names)

    async def markets(self) -> list[Market]:
        return [
            Market(market=each, korean_name=each, english_name=each, warning=False)
            for each in self.names
        ]

    async def candles(
        self, market: str, unit: int, *, to: datetime | None = None, count: int = 200
    ) -> Page[Candle]:
        assert to is not None
        return Page([candle(market, to - n * MINUTE) for n in range(1, count + 1)])


def candle(market: str, ts: datetime) -> Candle:
    value = Decimal(1000 + ts.minute)
    return Candle(
        market=market,
        unit=1,
        ts=ts,
        open=value,
        high=value,
        low=value,
        close=value,
        volume=value,
        value=value,
    )


@pytest.fixture
def sent(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent since the list was last cleared."""
    statements: list[str] = []
    execute, copy = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.copy

    async def spy(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        statements.append(str(query))
        return await execute(self, query, *args, **options)

    def spy_copy(self: Any, statement: Any, *args: Any, **options: Any) -> Any:
        statements.append(str(statement))
        return copy(self, statement, *args, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", spy)
    monkeypatch.setattr(psycopg.AsyncCursor, "copy", spy_copy)
    return statements


def take(sent: list[str], what: str) -> int:
    """How many there were; the pool's own look at a connection, an empty one, does not count."""
    count = sum(bool(each) for each in sent)
    print(f"\nqueries: {what}: {count}")  # noqa: T201 -- bench/data_job_queries.py shows it
    sent.clear()
    return count


@pytest.mark.parametrize("markets", [FEW, MANY])
async def test_the_market_job(database: Database, sent: list[str], markets: int) -> None:
    exchange = Exchange(markets)
    selection = Selection(listing=exchange, clock=lambda: exchange.now, names=exchange.names)
    job = MarketJob(
        client=exchange,  # type: ignore[arg-type]  # as far as the job asks
        db=database,
        clock=lambda: exchange.now,
        selection=selection,
        history=timedelta(minutes=30),
    )
    sent.clear()
    await job.run(SLOT)
    assert take(sent, f"market, first run, {markets} markets") <= MARKET_FIRST
    exchange.now += MINUTE
    await job.run(SLOT)
    assert take(sent, f"market, next run, {markets} markets") <= MARKET_NEXT


@pytest.mark.parametrize("markets", [FEW, MANY])
async def test_the_signals_job(database: Database, sent: list[str], markets: int) -> None:
    exchange = Exchange(markets)
    await market_data.insert(database, await exchange.all_tickers())
    start = NOW.replace(second=0)
    await candles.upsert(
        database,
        [candle(name, start - n * MINUTE) for name in exchange.names for n in range(1, 61)],
    )

    async def names() -> Mapping[str, str]:
        return {name: name for name in exchange.names}

    job = SignalsJob(
        db=database,
        source=RulesSource(),
        source_name="rules",
        markets=names,
        mode="paper",
        clock=lambda: NOW,
    )
    sent.clear()
    assert await job.run(SLOT) == markets
    assert take(sent, f"signals, {markets} markets") <= SIGNALS_NEW
    assert await job.run(SLOT) == 0
    assert take(sent, f"signals again, {markets} markets") <= SIGNALS_AGAIN


async def test_the_orders_job(trading: Trading, sent: list[str]) -> None:
    await trading.run()
    sent.clear()
    await trading.job.run(SLOT)
    assert take(sent, "orders, nothing to do") <= ORDERS_IDLE
    await trading.signal("buy", BTC)
    sent.clear()
    await trading.job.run(SLOT)
    assert (await trading.only_order()).state in ("done", "cancel", "wait")
    assert take(sent, "orders, one purchase to its end") <= ORDERS_ENTRY


async def test_upkeep(database: Database, sent: list[str]) -> None:
    async def current() -> Settings:
        return Settings()

    job = UpkeepJob(db=database, clock=lambda: NOW, settings=current)
    await job.run(SLOT)
    sent.clear()
    await job.run(SLOT)
    assert take(sent, "upkeep") <= UPKEEP
