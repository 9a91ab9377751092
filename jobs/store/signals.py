"""Queries of `signals`: decisions linked to the snapshot and the model call they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.db import Database
from jobs.store.tables import signals

Action = Literal["buy", "sell", "hold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSignal:
    """A decision about one market as of the candle that began at `candle_ts`."""

    market_data_id: int
    market: str
    action: Action
    confidence: Decimal
    reason: str
    source: str
    model: str
    llm_call_id: int | None
    candle_ts: datetime
    created_at: datetime


async def insert_new(connection: AsyncConnection, rows: Sequence[NewSignal]) -> dict[str, int]:
    """Store signals and return their ids by market.

    A market that already has one from this source for this candle keeps it and is left out.
    """
    if not rows:
        return {}
    new = (
        insert(signals)
        .values([_columns(row) for row in rows])
        .on_conflict_do_nothing(index_elements=["source", "market", "candle_ts"])
        .returning(signals.c.market, signals.c.id)
    )
    return {row.market: row.id for row in await connection.execute(new)}


async def already_decided(
    db: Database, source: str, candles: Mapping[str, datetime]
) -> frozenset[str]:
    """The markets that have a signal from `source` for the candle that `candles` names."""
    if not candles:
        return frozenset()
    found = select(signals.c.market).where(
        signals.c.source == source,
        tuple_(signals.c.market, signals.c.candle_ts).in_(list(candles.items())),
    )
    async with db.begin() as tx:
        return frozenset((await tx.execute(found)).scalars())


def _columns(row: NewSignal) -> dict[str, object]:
    return {name: getattr(row, name) for name in NewSignal.__slots__}
