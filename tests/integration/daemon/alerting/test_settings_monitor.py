"""Changes that risk more are told once, whoever made them and however."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.trading import Alerts
from sqlalchemy import text

from daemon.alerting.outbox import Origin, Outbox
from daemon.alerting.settings_monitor import SettingsWatch
from jobs.store import settings
from jobs.store.db import Database

INSERT = "INSERT INTO settings (key, value) VALUES"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def heard() -> Alerts:
    return Alerts()


@pytest.fixture
def watch(database: Database, heard: Alerts) -> SettingsWatch:
    return SettingsWatch(
        db=database, notifier=heard, clock=now, is_live=True, is_leader=lambda: True
    )


async def by_hand(db: Database, statement: str) -> None:
    async with db.begin() as conn:
        await conn.execute(text(statement))


async def test_a_looser_setting_is_told_with_who_and_what(
    watch: SettingsWatch, database: Database, heard: Alerts
) -> None:
    await settings.write(database, "max_position_krw", 2_000_000, "cli:upbitd (sudo: alice)")
    await settings.write(database, "stop_loss_pct", 4, "cli:x")
    await watch.look()
    await watch.look()
    (told,) = heard.told
    assert (told.kind, told.severity, told.is_event) == ("setting_loosened", "warning", True)
    said = "cli:upbitd (sudo: alice) changed max_position_krw from 1000000 to 2000000"
    assert said in told.message


async def test_psql_counts_like_a_command(
    watch: SettingsWatch, database: Database, heard: Alerts
) -> None:
    await by_hand(database, f"{INSERT} ('daily_loss_limit_krw', '0')")
    await watch.look()
    await by_hand(database, "UPDATE settings SET value = '50000'")
    await by_hand(database, "DELETE FROM settings")  # back to the default, which is more
    await watch.look()
    assert [each.title for each in heard.told] == ["daily_loss_limit_krw risks more now"] * 2


@pytest.mark.parametrize("halted", ["all", "entries"])
async def test_a_resume_is_told(
    watch: SettingsWatch, database: Database, heard: Alerts, halted: str
) -> None:
    await settings.write(database, "halted", halted, "cli:x", reason="why")
    await watch.look()
    assert heard.told == []
    await settings.write(database, "halted", "none", "cli:y")
    await watch.look()
    assert [(each.kind, each.message.split(" at ")[0]) for each in heard.told] == [
        ("resumed", f"cli:y changed halted from {halted} to none")
    ]


async def test_what_was_changed_while_nobody_watched_is_told_once(
    watch: SettingsWatch, database: Database
) -> None:
    outbox = Outbox(
        database,
        [],
        Origin(host="h", instance="i"),
        dedupe=timedelta(minutes=15),
        clock=now,
    )
    await settings.write(database, "cooldown_s", 0, "cli:x")
    for _ in range(2):  # two processes, one after the other
        await replace(watch, notifier=outbox, _seen=set(), _told=None).look()
    async with database.begin() as conn:
        stored = (await conn.execute(text("SELECT kind, resolved_at FROM alerts"))).all()
    ((kind, resolved_at),) = stored
    assert kind == "setting_loosened"
    assert resolved_at is not None  # an event: nothing will recover from it


async def test_damaged_rows_stop_nothing(
    watch: SettingsWatch, database: Database, heard: Alerts
) -> None:
    await by_hand(database, f"{INSERT} ('max_position_krw', '\"x\"')")
    await by_hand(database, f"{INSERT} ('unknown', '1')")
    await by_hand(database, f"{INSERT} ('halted', '\"x\"')")
    await by_hand(database, "UPDATE settings SET value = '1e12' WHERE key = 'max_position_krw'")
    await watch.look()
    assert [each.title for each in heard.told] == ["max_position_krw risks more now"]


async def test_a_standby_leaves_it_to_the_leader(watch: SettingsWatch, heard: Alerts) -> None:
    class Over(Exception):
        """The test has seen enough."""

    async def once(_: float) -> None:
        raise Over

    standby = replace(watch, is_leader=lambda: False, db=None)  # type: ignore[arg-type]
    with pytest.raises(Over):
        await standby.keep(sleep=once)
