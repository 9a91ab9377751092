"""Market snapshots in a real database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jobs.store import market_data
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.upbit.wire import Ticker

NOW = datetime(2026, 3, 31, 12, 0, 0, 123456, tzinfo=UTC)
BTC = Ticker(
    market="KRW-BTC",
    price=Decimal(142000000),
    volume_24h=Decimal("1234.12345678"),
    value_24h=Decimal("175000000000.5"),
    change_rate=Decimal("-0.0123"),
    ts=NOW,
)
ETH = replace(BTC, market="KRW-ETH", price=Decimal("0.00001"))


async def test_snapshots_come_back_as_they_were_taken(database: Database) -> None:
    ids = await market_data.insert(database, [BTC, ETH])
    assert ids.keys() == {"KRW-BTC", "KRW-ETH"}
    found = await market_data.latest(database, ["KRW-BTC", "KRW-ETH", "KRW-NONE"])
    assert found.keys() == ids.keys()
    assert found["KRW-BTC"] == Snapshot(
        id=ids["KRW-BTC"],
        market="KRW-BTC",
        ts=NOW,
        price=BTC.price,
        volume_24h=BTC.volume_24h,
        value_24h=BTC.value_24h,
        change_rate=BTC.change_rate,
    )
    assert found["KRW-ETH"].price == ETH.price


async def test_the_latest_is_the_newest_by_its_own_time(database: Database) -> None:
    newer = await market_data.insert(database, [BTC])
    older = await market_data.insert(database, [replace(BTC, ts=NOW - timedelta(seconds=1))])
    assert older != newer
    found = await market_data.latest(database, ["KRW-BTC"])
    assert found["KRW-BTC"].id == newer["KRW-BTC"]


async def test_nothing_is_stored_and_found_for_nothing(database: Database) -> None:
    assert await market_data.insert(database, []) == {}
    assert await market_data.latest(database, []) == {}
