"""Requests to the running daemon: taken once, in time or never, by the leader alone, answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from daemon.cli import requesting
from daemon.cli.requesting import Order, carry_out
from daemon.config.load import Config, from_mapping
from daemon.requests.queue import Answer, Handler, Refusal, Requests
from jobs.core.errors import Unavailable
from jobs.store import requests as store
from jobs.store.db import Database
from jobs.store.fence import Fence, StaleEpoch
from jobs.store.requests import Address, Request

PAPER = Address(mode="paper", instance="default")
HOLDER = "box:1:default"
PATIENCE_S = 10.0
LOOK_S = 0.02
LEAD = (
    "INSERT INTO leadership (account, epoch, holder) VALUES ('paper:default', 7, 'box:1:default');"
    " INSERT INTO leases (account, epoch, session) VALUES ('paper:default', 7, 's')"
)


@pytest.fixture
def config() -> Config:
    return from_mapping({}, {}, keys=False)


@asynccontextmanager
async def leading(
    db: Database, handlers: Mapping[str, Handler], *, is_listening: bool = True
) -> AsyncIterator[Requests]:
    """A daemon that carries requests out until the block ends."""
    async with db.connection() as connection:
        await connection.execute(LEAD.encode())
    requests = Requests(PAPER, HOLDER, lambda text: text.replace("secret", "***"))
    fenced = Database(
        engine=db.engine,
        checkout=db.checkout,
        pool_stats=db.pool_stats,
        fence=Fence(account="paper:default", epoch=7),
    )
    requests.attach(fenced, 7, handlers)
    task = asyncio.create_task(requests.keep()) if is_listening else None
    try:
        yield requests
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ended(db: Database, number: int) -> Request:
    for _ in range(int(PATIENCE_S / LOOK_S)):
        if (found := await store.get(db, number)).outcome is not None:
            return found
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"request {number} was not answered")


def ask(db: Database, command: str = "echo", *, within_s: float = 5, **arguments: Any) -> Any:
    return store.ask(db, PAPER, command, arguments, by="cli:me", within_s=within_s)


async def echo(arguments: Mapping[str, Any]) -> Answer:
    return {"ok": True, **arguments}


async def test_a_request_is_carried_out_answered_and_audited(database: Database, dsn: str) -> None:
    async with leading(database, {"echo": echo}):
        found = await ended(database, await ask(database, word="hello"))
    assert (found.outcome, found.answer) == ("done", {"ok": True, "word": "hello"})
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT asked_by, taken_by, epoch, taken_at >= asked_at, answered_at >= taken_at"
            " FROM requests"
        ).fetchone()
    assert row == ("cli:me", HOLDER, 7, True, True)


async def test_two_leaders_never_take_the_same_request(database: Database) -> None:
    for _ in range(5):
        await ask(database)
    taken = await asyncio.gather(
        *(store.take(database, PAPER, by=str(n), epoch=n) for n in range(10))
    )
    numbers = [each.id for each in taken if each is not None]
    assert len(numbers) == len(set(numbers)) == 5


async def test_a_request_that_is_too_old_is_never_carried_out(database: Database) -> None:
    number = await ask(database, within_s=0)
    async with leading(database, {"echo": echo}):
        await ended(database, await ask(database))  # the newer one was looked for, and taken
    assert (await store.get(database, number)).taken_at is None


async def test_what_was_withdrawn_is_not_taken_and_what_was_taken_not_withdrawn(
    database: Database,
) -> None:
    first, second = await ask(database), await ask(database)
    assert await store.withdraw(database, first)
    taken = await store.take(database, PAPER, by="me", epoch=1)
    assert taken is not None
    assert taken.id == second
    assert not await store.withdraw(database, second)


@pytest.mark.parametrize(
    "other", [Address(mode="live", instance="default"), Address(mode="paper", instance="second")]
)
async def test_another_account_s_daemon_leaves_it_alone(database: Database, other: Address) -> None:
    await ask(database)
    assert await store.take(database, other, by="me", epoch=1) is None


@pytest.mark.parametrize("instance", ["default", "a%", "a_b", "x:default", "'"])
async def test_only_the_very_instance_leads(database: Database, dsn: str, instance: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(LEAD.encode())
    leader = await store.leader(database, Address(mode="paper", instance=instance))
    assert leader == (HOLDER if instance == "default" else None)


async def test_a_lease_that_nobody_renews_leads_nobody(database: Database, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(LEAD.encode())
        connection.execute("UPDATE leases SET renewed_at = now() - interval '6 seconds'")
    assert await store.leader(database, PAPER) is None


async def test_a_deposed_leader_takes_nothing(database: Database, dsn: str) -> None:
    async with leading(database, {"echo": echo}, is_listening=False) as requests:
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE leadership SET epoch = 8")
        number = await ask(database)
        await requests._take_all()
        assert (await store.get(database, number)).taken_at is None
        with pytest.raises(StaleEpoch):
            await store.take(requests._db or database, PAPER, by="me", epoch=7)


def raising(error: Exception) -> Handler:
    async def handler(arguments: Mapping[str, Any]) -> Answer:
        del arguments
        raise error

    return handler


@pytest.mark.parametrize(
    "error", [Unavailable("the secret is away"), Refusal("no secret order"), ValueError("secret")]
)
async def test_what_goes_wrong_is_answered_masked(database: Database, error: Exception) -> None:
    async with leading(database, {"echo": raising(error)}):
        found = await ended(database, await ask(database))
        assert found.outcome == "failed"
        assert "***" in (found.answer or {})["error"]
        assert (await ended(database, await ask(database, "what"))).answer == {
            "ok": False,
            "error": "this daemon does not know what",
        }


def order(act: Callable[[], None] = lambda: None, why_not: str | None = None) -> Order:
    async def acts(db: Database) -> Answer:
        del db
        act()
        return {"ok": True, "by": "itself"}

    return Order(command="echo", arguments={"by": "daemon"}, act=acts, why_not=why_not)


async def test_the_daemon_is_asked_where_one_leads(database: Database, config: Config) -> None:
    async with leading(database, {"echo": echo}):
        assert (await carry_out(database, config, order()))["by"] == "daemon"
    # the lease of the daemon that has just ended is still fresh: nobody answers


async def test_without_a_daemon_the_command_acts_itself_or_says_why_not(
    database: Database, config: Config
) -> None:
    assert (await carry_out(database, config, order()))["by"] == "itself"
    with pytest.raises(Refusal, match="no daemon runs here, and there are no keys"):
        await carry_out(database, config, order(why_not="there are no keys"))


async def test_a_daemon_that_does_not_answer_is_not_waited_for_and_never_acts_late(
    database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requesting, "TAKEN_WITHIN_S", 0.3)
    async with leading(database, {"echo": echo}, is_listening=False):
        assert (await carry_out(database, config, order()))["by"] == "itself"
        assert await store.take(database, PAPER, by="late", epoch=7) is None


async def test_a_daemon_that_dies_with_the_request_is_said(
    database: Database, config: Config, dsn: str
) -> None:
    async def dies(arguments: Mapping[str, Any]) -> Answer:
        del arguments
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE leases SET renewed_at = now() - interval '1 minute'")
        await asyncio.Event().wait()
        raise AssertionError

    async with leading(database, {"echo": dies}):
        with pytest.raises(Refusal, match="ended before it answered"):
            await carry_out(database, config, order())
