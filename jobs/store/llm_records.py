"""Queries of `llm_calls`: one call as it stands, with the signals that were made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import select

from jobs.store.db import Database
from jobs.store.tables import llm_calls, signals


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSignal:
    """One signal that came from a call."""

    id: int
    market: str
    action: str
    confidence: Decimal
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """One row of `llm_calls` and its signals, by market.

    `prompt` is the canonical JSON of everything that was asked, "" once its retention is over;
    `answer` the body as it came, None when none came. Costs in USD.
    """

    id: int
    model: str
    model_version: str | None
    prompt_hash: str
    prompt: str
    answer: str | None
    tokens_in: int
    tokens_out: int
    tokens_thought: int
    tokens_cached: int
    cost_usd: Decimal
    cost_known: bool
    reserved_usd: Decimal
    verdicts: Mapping[str, str]
    latency_ms: int | None
    outcome: str
    error: str | None
    day: date
    created_at: datetime
    settled_at: datetime | None
    signals: tuple[StoredSignal, ...]


async def find(db: Database, call_id: int) -> StoredCall | None:
    """Return the call with this id, None when there is none."""
    call = select(llm_calls).where(llm_calls.c.id == call_id)
    made = (
        select(*(signals.c[name] for name in StoredSignal.__slots__))
        .where(signals.c.llm_call_id == call_id)
        .order_by(signals.c.market)
    )
    async with db.begin() as tx:
        row = (await tx.execute(call)).mappings().first()
        if row is None:
            return None
        found = tuple(StoredSignal(**each) for each in (await tx.execute(made)).mappings())
    return StoredCall(**row, signals=found)
