"""Signals are stored once for a source, a market and a candle."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.store import market_data, signals
from jobs.store.db import Database
from jobs.store.signals import NewSignal
from jobs.upbit.wire import Ticker

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
async def signal(database: Database) -> NewSignal:
    """A signal ready to be stored, with the snapshot it points to."""
    ticker = Ticker(
        market="KRW-BTC",
        price=Decimal(1),
        volume_24h=Decimal(1),
        value_24h=Decimal(1),
        change_rate=Decimal(0),
        ts=NOW,
    )
    ids = await market_data.insert(database, [ticker])
    return NewSignal(
        market_data_id=ids["KRW-BTC"],
        market="KRW-BTC",
        action="hold",
        confidence=Decimal("0.5"),
        reason="Quiet.",
        source="rules",
        model="rules-1",
        llm_call_id=None,
        candle_ts=NOW,
        created_at=NOW,
    )


async def store(database: Database, *rows: NewSignal) -> dict[str, int]:
    async with database.begin() as tx:
        return await signals.insert_new(tx, rows)


async def test_a_second_signal_for_the_same_candle_changes_nothing(
    database: Database, signal: NewSignal
) -> None:
    assert set(await store(database, signal)) == {"KRW-BTC"}
    assert await store(database, replace(signal, action="buy")) == {}
    assert set(await store(database, replace(signal, source="gemini"))) == {"KRW-BTC"}
    assert await store(database) == {}


async def test_only_the_very_candle_and_source_count_as_decided(
    database: Database, signal: NewSignal
) -> None:
    await store(database, signal)

    async def decided(source: str, at: datetime) -> set[str]:
        asked = {"KRW-BTC": at, "KRW-ETH": at}
        return set(await signals.already_decided(database, source, asked))

    assert await decided("rules", NOW) == {"KRW-BTC"}
    assert await decided("rules", NOW + timedelta(minutes=1)) == set()
    assert await decided("gemini", NOW) == set()
    assert await signals.already_decided(database, "rules", {}) == frozenset()
