"""The doctor on orders: how the newest comparison ended, and what nobody has answered for."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.trading import BTC, Trading

from daemon.config.load import Config, from_mapping
from daemon.doctor.orders import orders
from jobs.orders.reconcile import reconcile
from jobs.store.db import Database
from jobs.store.vitals import order_vitals


@pytest.fixture
def config(dsn: str, tmp_path: Path) -> Config:
    raw = {
        "database": {"url": dsn},
        "trading": {"mode": "live"},
        "daemon": {"state_dir": str(tmp_path)},
    }
    return from_mapping(raw, {}, keys=False)


async def said(config: Config) -> list[tuple[str, str]]:
    return [(each.level, each.said) for each in await orders(config)]


async def test_before_the_first_comparison_that_is_said(config: Config, database: Database) -> None:
    assert await said(config) == [
        ("note", "never reconciled; the daemon does it when it starts"),
    ]


async def test_a_comparison_that_fits_is_good_and_stands_in_health(
    config: Config, trading: Trading
) -> None:
    trading.clock.now = datetime.now(UTC)
    await reconcile(trading.desk, trading.job.standing, timeout_s=60)
    await reconcile(trading.desk, trading.job.standing, timeout_s=60)
    ((level, text),) = await said(config)
    assert level == "ok"
    assert text.endswith("s ago: 0 open, 0 of others, 0 unknown")
    found = (await order_vitals(trading.db, "live")).reconciliation
    assert found is not None
    assert (found.runs, found.checked_at) == (2, trading.clock.now)
    assert (await order_vitals(trading.db, "paper")).reconciliation is None


async def test_a_mismatch_and_an_unanswered_order_are_named(
    config: Config, trading: Trading
) -> None:
    await trading.signal("buy")
    await trading.run()
    coins = trading.venue.engine.ledger
    coins.credit("BTC", -trading.venue.total("BTC"))
    trading.venue.troubles = ["hang"]
    await reconcile(trading.desk, trading.job.standing, timeout_s=60)
    found = await orders(config)
    (fault,) = [each for each in found if each.level == "fault"]
    assert f"{BTC}: the books hold" in fault.said
    assert f"upbitd positions settle {BTC}" in fault.mend


async def test_an_unknown_order_is_a_warning_with_its_command(
    config: Config, trading: Trading
) -> None:
    trading.venue.troubles = ["never_arrived"]
    await trading.signal("buy")
    await trading.run()
    order = await trading.only_order()
    (warned,) = [each for each in await orders(config) if each.level == "warning"]
    assert order.identifier in warned.said
    assert f"upbitd explain {order.identifier}" in warned.mend


async def test_a_halt_file_is_told(config: Config, database: Database, tmp_path: Path) -> None:
    (tmp_path / "HALT").touch()
    level, text = (await said(config))[0]
    assert (level, text) == ("warning", f"trading is halted by {tmp_path / 'HALT'}")


async def test_without_a_database_nothing_is_known(tmp_path: Path) -> None:
    raw = {"daemon": {"state_dir": str(tmp_path)}}
    assert await said(from_mapping(raw, {}, keys=False)) == [
        ("note", "not known without the database"),
    ]
