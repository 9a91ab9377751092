"""The day's model budget: never overshot, whoever asks at once and whatever dies."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from jobs.core.errors import BudgetExhausted
from jobs.store import llm_calls
from jobs.store.db import Database
from jobs.store.llm_calls import NewCall, Settlement

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
DAY = date(2026, 11, 20)
BUDGET = Decimal("1.00")
CALL = NewCall(
    model="gemini-3.5-flash-lite",
    prompt_hash="a" * 64,
    prompt="{}",
    reserved_usd=Decimal("0.03"),
    at=NOW,
)
DONE = Settlement(
    outcome="ok",
    cost_usd=Decimal("0.002"),
    model_version="gemini-3.8-flash",
    answer='{"candidates":[]}',
    tokens_in=1000,
    tokens_out=200,
    tokens_thought=50,
    tokens_cached=10,
    latency_ms=812,
    verdicts={"KRW-BTC": "buy"},
)


async def settle(database: Database, call_id: int, settlement: Settlement = DONE) -> bool:
    async with database.begin() as tx:
        return await llm_calls.settle(tx, call_id, settlement, NOW + timedelta(seconds=1))


async def spent(database: Database, day: date = DAY) -> Decimal:
    async with database.begin() as tx:
        return await llm_calls.spent_usd(tx, day)


async def test_a_reservation_counts_whole_and_a_settlement_its_cost(database: Database) -> None:
    assert await spent(database) == 0
    call_id = await llm_calls.reserve(database, CALL, budget_usd=BUDGET)
    assert await spent(database) == Decimal("0.03")
    assert await settle(database, call_id)
    assert await spent(database) == Decimal("0.002")


async def test_a_call_is_settled_once(database: Database) -> None:
    call_id = await llm_calls.reserve(database, CALL, budget_usd=BUDGET)
    assert await settle(database, call_id)
    assert not await settle(database, call_id, replace(DONE, cost_usd=Decimal(9)))
    assert await spent(database) == Decimal("0.002")


async def test_what_was_said_is_kept_whole(database: Database, dsn: str) -> None:
    call_id = await llm_calls.reserve(database, CALL, budget_usd=BUDGET)
    await settle(database, call_id)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT model, model_version, prompt_hash, prompt, answer, tokens_in, tokens_out,"
            " tokens_thought, tokens_cached, cost_usd, cost_known, reserved_usd, latency_ms,"
            " outcome, verdicts, day, created_at, settled_at FROM llm_calls"
        ).fetchone()
    assert row == (
        "gemini-3.5-flash-lite",
        "gemini-3.8-flash",
        "a" * 64,
        "{}",
        '{"candidates":[]}',
        1000,
        200,
        50,
        10,
        Decimal("0.002"),
        True,
        Decimal("0.03"),
        812,
        "ok",
        {"KRW-BTC": "buy"},
        DAY,
        NOW,
        NOW + timedelta(seconds=1),
    )


async def test_a_call_beyond_the_budget_is_refused_and_leaves_nothing(database: Database) -> None:
    budget = Decimal("0.05")
    await llm_calls.reserve(database, CALL, budget_usd=budget)
    with pytest.raises(BudgetExhausted, match=r"0\.03") as caught:
        await llm_calls.reserve(database, CALL, budget_usd=budget)
    assert caught.value.context["day"] == "2026-11-20"
    assert await spent(database) == Decimal("0.03")


async def test_the_budget_may_be_used_to_the_last_cent(database: Database) -> None:
    for _ in range(2):
        await llm_calls.reserve(database, CALL, budget_usd=Decimal("0.06"))
    with pytest.raises(BudgetExhausted):
        await llm_calls.reserve(database, CALL, budget_usd=Decimal("0.06"))


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (datetime(2026, 11, 20, 14, 59, 59, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 20, 15, 0, 0, tzinfo=UTC), date(2026, 11, 21)),
    ],
)
async def test_days_are_korean(database: Database, at: datetime, day: date) -> None:
    await llm_calls.reserve(database, replace(CALL, at=at), budget_usd=BUDGET)
    assert await spent(database, day) == Decimal("0.03")


async def test_yesterday_s_spending_does_not_count_today(database: Database) -> None:
    before = replace(CALL, at=NOW - timedelta(days=1))
    await llm_calls.reserve(database, before, budget_usd=Decimal("0.03"))
    await llm_calls.reserve(database, CALL, budget_usd=Decimal("0.03"))


async def test_fifty_callers_at_once_do_not_overshoot(database: Database) -> None:
    async def call(number: int) -> bool:
        try:
            call_id = await llm_calls.reserve(database, CALL, budget_usd=Decimal("0.50"))
        except BudgetExhausted:
            return False
        if number % 3:  # every third one dies before it can settle
            await settle(database, call_id, replace(DONE, cost_usd=Decimal("0.029")))
        return True

    made = await asyncio.gather(*(call(number) for number in range(50)))
    assert 16 <= sum(made) <= 17  # 0.50 / 0.03 and, with cheaper settlements, one more
    assert await spent(database) <= Decimal("0.50")


async def test_the_last_answer_to_the_same_input_is_found(database: Database) -> None:
    async def last(prompt_hash: str = CALL.prompt_hash, hours: int = 1) -> str | None:
        return await llm_calls.last_answer(
            database,
            prompt_hash,
            now=NOW + timedelta(minutes=30),
            within=timedelta(hours=hours),
        )

    assert await last() is None
    call_id = await llm_calls.reserve(database, CALL, budget_usd=BUDGET)
    assert await last() is None  # nobody knows what became of it
    await settle(database, call_id)
    assert await last() == "ok"
    assert await last("b" * 64) is None
    assert await last(hours=0) is None


@pytest.mark.parametrize("outcome", ["failed", "timeout", "refused", "cancelled"])
async def test_a_call_without_an_answer_may_be_repeated(
    database: Database, outcome: llm_calls.Outcome
) -> None:
    call_id = await llm_calls.reserve(database, CALL, budget_usd=BUDGET)
    await settle(database, call_id, replace(DONE, outcome=outcome))
    found = await llm_calls.last_answer(
        database, CALL.prompt_hash, now=NOW, within=timedelta(hours=1)
    )
    assert found is None


async def test_cost_is_told_by_day_and_by_who_answered(database: Database) -> None:
    for settlement in (DONE, DONE, replace(DONE, model_version=None)):
        await settle(
            database, await llm_calls.reserve(database, CALL, budget_usd=BUDGET), settlement
        )
    await llm_calls.reserve(database, replace(CALL, at=NOW + timedelta(days=1)), budget_usd=BUDGET)
    told = await llm_calls.cost_per_day(database, DAY)
    assert [(each.day, each.model, each.calls, each.cost_usd) for each in told] == [
        (DAY + timedelta(days=1), "gemini-3.5-flash-lite", 1, Decimal("0.03")),
        (DAY, "gemini-3.5-flash-lite", 1, Decimal("0.002")),
        (DAY, "gemini-3.8-flash", 2, Decimal("0.004")),
    ]
    assert (told[2].tokens_in, told[2].tokens_out, told[2].tokens_thought) == (2000, 400, 100)
    assert await llm_calls.cost_per_day(database, DAY + timedelta(days=2)) == []
