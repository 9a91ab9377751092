"""Transactions on a real Postgres: serializable work is repeated until it fits."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Transient, Unavailable
from jobs.store.db import SERIALIZABLE_ATTEMPTS, Database

ON_CALL = text("SELECT count(*) FROM gates WHERE reason = 'on call'")


async def test_serializable_work_returns_its_result_committed(database: Database) -> None:
    async def work(connection: AsyncConnection) -> str:
        await connection.execute(text("INSERT INTO gates VALUES ('a', now(), 's', 'r')"))
        shown = await connection.execute(text("SHOW transaction_isolation"))
        return str(shown.scalar_one())

    assert await database.serializable(work) == "serializable"
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM gates"))).scalar_one() == 1
        shown = await connection.execute(text("SHOW transaction_isolation"))
        assert shown.scalar_one() == "read committed"


async def test_of_two_that_would_break_a_rule_together_one_starts_over(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(
            text("INSERT INTO gates SELECT n, now(), 's', 'on call' FROM unnest('{a,b}'::text[]) n")
        )
    both_have_looked = asyncio.Barrier(2)
    looks = 0

    async def leave(connection: AsyncConnection, name: str) -> bool:
        nonlocal looks
        left = (await connection.execute(ON_CALL)).scalar_one()
        looks += 1
        if looks <= 2:
            await both_have_looked.wait()
        if left < 2:
            return False
        await connection.execute(text("DELETE FROM gates WHERE name = :name"), {"name": name})
        return True

    left = await asyncio.gather(
        database.serializable(lambda connection: leave(connection, "a")),
        database.serializable(lambda connection: leave(connection, "b")),
    )
    assert sorted(left) == [False, True]
    assert looks == 3


async def test_conflicts_without_end_are_transient(database: Database) -> None:
    attempts = 0

    async def conflict(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        raising = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"
        await connection.execute(text(raising))

    with pytest.raises(Transient) as caught:
        await database.serializable(conflict)
    assert attempts == SERIALIZABLE_ATTEMPTS
    assert not isinstance(caught.value, Unavailable)


async def test_a_violated_constraint_is_no_reason_to_try_again(database: Database) -> None:
    attempts = 0

    async def twice(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        for _ in range(2):
            await connection.execute(text("INSERT INTO gates VALUES ('a', now(), 's', 'r')"))

    with pytest.raises(IntegrityError):
        await database.serializable(twice)
    assert attempts == 1


async def test_a_lost_session_inside_serializable_work_is_unavailable(database: Database) -> None:
    async def end(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Unavailable):
        await database.serializable(end)
