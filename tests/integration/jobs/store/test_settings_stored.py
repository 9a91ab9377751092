"""Settings in a real database: exact, audited, and heard of whoever changes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import event

from daemon.postgres.pool import PoolOptions, open_database
from jobs.cache.listener import listen
from jobs.cache.settings_cache import CHANNEL, SettingsCache
from jobs.core.errors import BadData, Unavailable
from jobs.domain.halt import HaltLevel
from jobs.domain.settings import Settings
from jobs.store import settings
from jobs.store.db import Database

if TYPE_CHECKING:
    from loguru import Record

HOUR_S = 3600.0


async def read(database: Database, fallback: Settings | None = None) -> Settings:
    async with database.begin() as connection:
        return await settings.read(connection, fallback=fallback)


def by_hand(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def queries(database: Database) -> list[str]:
    """Every statement that SQLAlchemy sends."""
    sent: list[str] = []
    event.listen(
        database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: sent.append(statement),
    )
    return sent


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_empty_table_means_the_defaults(database: Database) -> None:
    assert await read(database) == Settings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stop_loss_pct", Decimal("0.1")),
        ("max_position_krw", Decimal("123456789.123456789123456789")),
        ("cooldown_s", 0),
        ("entry_order", "market"),
        ("halted", "entries"),
    ],
)
async def test_what_is_written_is_read_to_the_last_digit(
    database: Database, key: str, value: object
) -> None:
    assert await settings.write(database, key, value, "me")
    assert getattr(await read(database), key) == value
    assert not await settings.write(database, key, value, "me")


async def test_a_change_is_stored_with_who_and_audited(database: Database, dsn: str) -> None:
    await settings.write(database, "cooldown_s", 1, "me")
    await settings.write(database, "cooldown_s", 2, "you")
    await settings.write(database, "cooldown_s", 2, "nobody: nothing changed")
    assert by_hand(dsn, "SELECT key, value, updated_by FROM settings") == [("cooldown_s", 2, "you")]
    audit = by_hand(dsn, "SELECT key, old, new, changed_by FROM settings_audit ORDER BY id")
    assert audit == [("cooldown_s", None, 1, "me"), ("cooldown_s", 1, 2, "you")]


async def test_what_is_not_allowed_never_reaches_the_table(database: Database, dsn: str) -> None:
    for key, value in (("cooldown_s", -1), ("halted", "true"), ("no_such_key", 1)):
        with pytest.raises(ValueError, match=key):
            await settings.write(database, key, value, "me")
    assert by_hand(dsn, "SELECT * FROM settings") == []


DEEP = ["[" * depth + "]" * depth for depth in (900, 3000)]
WORDS = ['"five"', "true", "null", "[1]", "{}", "-1", "1e400", "1e100000", '"NaN"']


@pytest.mark.parametrize("bad", [*WORDS, *DEEP], ids=range(len(WORDS) + len(DEEP)))
async def test_garbage_in_the_table_is_named(database: Database, dsn: str, bad: str) -> None:
    with psycopg.connect(dsn) as connection:
        insert = "INSERT INTO settings (key, value) VALUES ('stop_loss_pct', %s::jsonb)"
        connection.execute(insert, (bad,))
    with pytest.raises(BadData, match="stop_loss_pct"):
        await read(database)


async def test_a_bad_row_keeps_the_last_good_value_of_its_key_alone(
    database: Database, dsn: str, log_records: "list[Record]"
) -> None:
    cache = SettingsCache(database, HOUR_S)
    await settings.write(database, "stop_loss_pct", Decimal(7), "me")
    assert (await cache.current()).stop_loss_pct == 7
    by_hand(dsn, "UPDATE settings SET value = '\"many\"'")
    by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('cooldown_s', '5')")
    cache.invalidate()
    assert await cache.current() == Settings(stop_loss_pct=Decimal(7), cooldown_s=5)
    bad = [r for r in log_records if r["extra"].get("event") == "settings.bad"]
    assert [record["extra"]["key"] for record in bad] == ["stop_loss_pct"]


async def test_a_switch_that_cannot_be_read_counts_as_halted(database: Database, dsn: str) -> None:
    by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('halted', '\"perhaps\"')")
    for fallback in (None, Settings()):
        halt = (await read(database, fallback=fallback)).halt
        assert (halt.level, halt.by) == (HaltLevel.ALL, "postgres")
        assert halt.reason == 'the setting is damaged ("perhaps")'


@pytest.mark.parametrize(("old", "level"), [("true", HaltLevel.ALL), ("false", HaltLevel.NONE)])
async def test_a_halt_of_an_earlier_release_is_read(
    database: Database, dsn: str, old: str, level: HaltLevel
) -> None:
    with psycopg.connect(dsn) as connection:
        insert = "INSERT INTO settings (key, value) VALUES ('halted', %s::jsonb)"
        connection.execute(insert, (old,))
    assert (await read(database)).halted is level


async def test_a_halt_knows_who_since_when_and_why(database: Database, dsn: str) -> None:
    await settings.write(database, "halted", "all", "cli:me", reason="maintenance")
    halt = (await read(database)).halt
    assert (halt.level, halt.by, halt.reason) == (HaltLevel.ALL, "cli:me", "maintenance")
    assert halt.since is not None
    by_hand(dsn, "UPDATE settings SET value = '\"entries\"'")
    changed = (await read(database)).halt
    assert (changed.level, changed.reason) == (HaltLevel.ENTRIES, None)


async def test_a_key_of_another_release_is_left_alone(database: Database, dsn: str) -> None:
    by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('of_the_future', '1')")
    assert await read(database) == Settings()


async def test_settings_are_read_once_until_their_time_is_up(
    database: Database, dsn: str, queries: list[str]
) -> None:
    time = Time()
    cache = SettingsCache(database, HOUR_S, monotonic=time)
    for _ in range(100):
        await cache.current()
    assert len(queries) == 1
    by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('cooldown_s', '5')")
    time.now += HOUR_S - 0.001
    assert (await cache.current()).cooldown_s == 60
    time.now += 0.001
    assert cache.stats.entries == 0
    assert (await cache.current()).cooldown_s == 5
    assert len(queries) == 2
    stats = cache.stats
    assert (stats.cache, stats.tier, stats.entries) == ("settings", "process", 1)
    assert (stats.hits, stats.misses) == (100, 2)


async def test_many_who_miss_at_once_ask_once(database: Database, queries: list[str]) -> None:
    cache = SettingsCache(database, HOUR_S)
    assert set(await asyncio.gather(*(cache.current() for _ in range(20)))) == {Settings()}
    assert len(queries) == 1


async def test_what_was_read_before_a_change_is_not_kept_after_it(database: Database) -> None:
    cache = SettingsCache(database, HOUR_S)
    reading = asyncio.ensure_future(cache.current())
    await asyncio.sleep(0)
    cache.invalidate()
    await settings.write(database, "cooldown_s", 5, "me")
    await reading
    assert (await cache.current()).cooldown_s == 5


async def test_a_database_that_is_away_is_noticed_only_when_it_is_needed(dsn: str) -> None:
    time = Time()
    async with open_database(dsn, PoolOptions(pool_min=1, pool_max=1)) as database:
        cache = SettingsCache(database, HOUR_S, monotonic=time)
        await cache.current()
    assert await cache.current() == Settings()
    time.now += HOUR_S
    with pytest.raises(Unavailable):
        await cache.current()


class Listened(SettingsCache):
    """A cache that tells when it was told something."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, HOUR_S)
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def invalidate(self) -> None:
        super().invalidate()
        self.told.put_nowait("invalidate")

    def deafen(self) -> None:
        super().deafen()
        self.told.put_nowait("deafen")

    def hear(self) -> None:
        super().hear()
        self.told.put_nowait("hear")

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(30):
            while await self.told.get() != wanted:
                pass


@asynccontextmanager
async def listening(dsn: str, cache: Listened) -> AsyncIterator[None]:
    async def at_once(_wait_s: float) -> None:
        await asyncio.sleep(0)

    task = asyncio.ensure_future(listen(dsn, {CHANNEL: cache}, sleep=at_once))
    try:
        await cache.until("hear")
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_change_by_anybody_is_heard_at_once(
    database: Database, dsn: str, log_records: "list[Record]"
) -> None:
    cache = Listened(database)
    async with listening(dsn, cache):
        assert (await cache.current()).halted is HaltLevel.NONE
        by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('halted', 'true')")
        await cache.until("invalidate")
        assert (await cache.current()).halted is HaltLevel.ALL
        await settings.write(database, "halted", False, "me")
        await cache.until("invalidate")
        assert (await cache.current()).halted is HaltLevel.NONE
        by_hand(dsn, "DELETE FROM settings")
        await cache.until("invalidate")
    changed = [r["extra"] for r in log_records if r["extra"].get("event") == "settings.changed"]
    assert [extra["key"] for extra in changed] == ["halted"] * 3


async def test_a_listener_that_is_cut_off_flushes_and_comes_back(
    database: Database, dsn: str
) -> None:
    cache = Listened(database)
    async with listening(dsn, cache):
        await cache.current()
        by_hand(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'upbitd-settings'",
        )
        await cache.until("deafen")
        await cache.until("hear")
        by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('halted', 'true')")
        await cache.until("invalidate")
        assert (await cache.current()).halted is HaltLevel.ALL


async def test_nothing_is_served_from_memory_while_nobody_listens(
    database: Database, queries: list[str]
) -> None:
    cache = SettingsCache(database, HOUR_S)
    cache.deafen()
    for _ in range(3):
        await cache.current()
    assert len(queries) == 3
    cache.hear()
    for _ in range(3):
        await cache.current()
    assert len(queries) == 4


async def test_a_silent_connection_is_tried_and_kept(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cache.listener.PING_EVERY_S", 0.0)
    cache = Listened(database)
    async with listening(dsn, cache):
        by_hand(dsn, "INSERT INTO settings (key, value) VALUES ('halted', 'true')")
        await cache.until("invalidate")
    assert (await cache.current()).halted is HaltLevel.ALL


async def test_a_listener_without_a_server_keeps_trying_and_serves_nothing(
    database: Database, queries: list[str]
) -> None:
    cache = SettingsCache(database, HOUR_S)
    tries = asyncio.Semaphore(0)

    async def sleep(_wait_s: float) -> None:
        tries.release()
        await asyncio.sleep(0)

    task = asyncio.ensure_future(
        listen("postgresql://127.0.0.1:1/x", {CHANNEL: cache}, sleep=sleep)
    )
    for _ in range(3):
        await tries.acquire()
    await cache.current()
    await cache.current()
    assert len(queries) == 2
    task.cancel()
    await asyncio.wait([task])
