"""Queries of `llm_calls`: the day's model budget, and the record of every call.

A call's worst case is reserved before anything is sent and settled afterwards. What was reserved
and never settled (the process died, the database was away) counts at its worst case for ever.
Days are Korean days.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import BudgetExhausted
from jobs.store.db import Database
from jobs.store.tables import llm_calls

KST = ZoneInfo("Asia/Seoul")
LOCK = 0x6C6C6D  # "llm": the first half of the advisory lock's key, the day is the second
ANSWERED = ("ok", "partial", "rejected")

Outcome = Literal["ok", "partial", "rejected", "refused", "timeout", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """A call that is about to be made. `reserved_usd` is the most it can cost."""

    model: str
    prompt_hash: str
    prompt: str
    reserved_usd: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a call. `cost_known` False marks an estimate or the dearest price.

    `verdicts` says per market what was made of the answer; `answer` is the body as it came,
    `response_id` the name that Gemini gave it.
    """

    outcome: Outcome
    cost_usd: Decimal
    cost_known: bool = True
    model_version: str | None = None
    answer: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    tokens_cached: int = 0
    latency_ms: int | None = None
    error: str | None = None
    response_id: str | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """One Korean day's calls of one model version, and what they cost or may have cost."""

    day: date
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    tokens_thought: int
    cost_usd: Decimal


# a reservation that was never settled counts whole
COUNTED = case(
    (llm_calls.c.outcome == "reserved", llm_calls.c.reserved_usd), else_=llm_calls.c.cost_usd
)


def day_of(at: datetime) -> date:
    """The Korean day of an instant, to which a call's cost belongs."""
    return at.astimezone(KST).date()


async def spent_usd(connection: AsyncConnection, day: date) -> Decimal:
    """What the day's calls cost, open reservations at their worst case."""
    total = select(func.coalesce(func.sum(COUNTED), 0)).where(llm_calls.c.day == day)
    return Decimal((await connection.execute(total)).scalar_one())


async def reserve(db: Database, call: NewCall, *, budget_usd: Decimal) -> int:
    """Reserve the call's worst case and return its id.

    Raises BudgetExhausted, and writes nothing, when the day would go over `budget_usd`. Concurrent
    callers queue on the day's lock, so that together they cannot overshoot either.
    """
    day = day_of(call.at)
    async with db.begin() as tx:
        await tx.execute(select(func.pg_advisory_xact_lock(LOCK, day.toordinal())))
        # READ COMMITTED: this statement sees what the lock's former holders committed
        spent = await spent_usd(tx, day)
        if spent + call.reserved_usd > budget_usd:
            raise BudgetExhausted(
                "the day's model budget does not cover this call",
                budget_usd=budget_usd,
                spent_usd=spent,
                worst_case_usd=call.reserved_usd,
                day=day.isoformat(),
            )
        row = (
            insert(llm_calls)
            .values(
                model=call.model,
                prompt_hash=call.prompt_hash,
                prompt=call.prompt,
                reserved_usd=call.reserved_usd,
                outcome="reserved",
                day=day,
                created_at=call.at,
            )
            .returning(llm_calls.c.id)
        )
        return int((await tx.execute(row)).scalar_one())


async def settle(
    connection: AsyncConnection, call_id: int, settlement: Settlement, at: datetime
) -> bool:
    """Close the reservation; False when it was closed already, and then nothing changes."""
    change = (
        update(llm_calls)
        .where(llm_calls.c.id == call_id, llm_calls.c.outcome == "reserved")
        .values(
            outcome=settlement.outcome,
            cost_usd=settlement.cost_usd,
            cost_known=settlement.cost_known,
            model_version=settlement.model_version,
            answer=settlement.answer,
            tokens_in=settlement.tokens_in,
            tokens_out=settlement.tokens_out,
            tokens_thought=settlement.tokens_thought,
            tokens_cached=settlement.tokens_cached,
            latency_ms=settlement.latency_ms,
            error=settlement.error,
            verdicts=dict(settlement.verdicts),
            settled_at=at,
        )
        .returning(llm_calls.c.id)
    )
    return (await connection.execute(change)).first() is not None


async def last_answer(
    db: Database, prompt_hash: str, *, now: datetime, within: timedelta
) -> Outcome | None:
    """What became of this very input when it was answered in the last `within`; None: never."""
    found = (
        select(llm_calls.c.outcome)
        .where(
            llm_calls.c.created_at > now - within,
            llm_calls.c.prompt_hash == prompt_hash,
            llm_calls.c.outcome.in_(ANSWERED),
        )
        .order_by(llm_calls.c.created_at.desc())
        .limit(1)
    )
    async with db.begin() as tx:
        outcome: Outcome | None = (await tx.execute(found)).scalar_one_or_none()
    return outcome


async def cost_per_day(db: Database, since: date) -> list[DayCost]:
    """Calls, tokens and cost per Korean day and answering model from `since` on, newest first."""
    who = func.coalesce(llm_calls.c.model_version, llm_calls.c.model)
    table = (
        select(
            llm_calls.c.day,
            who.label("model"),
            func.count().label("calls"),
            func.sum(llm_calls.c.tokens_in).label("tokens_in"),
            func.sum(llm_calls.c.tokens_out).label("tokens_out"),
            func.sum(llm_calls.c.tokens_thought).label("tokens_thought"),
            func.sum(COUNTED).label("cost_usd"),
        )
        .where(llm_calls.c.day >= since)
        .group_by(llm_calls.c.day, who)
        .order_by(llm_calls.c.day.desc(), who)
    )
    async with db.begin() as tx:
        return [DayCost(**row) for row in (await tx.execute(table)).mappings()]
