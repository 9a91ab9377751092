"""Queries of `markets`: what the exchange said last of each market that it lists."""

from collections.abc import Collection

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from jobs.store.db import Database
from jobs.store.tables import markets
from jobs.upbit.wire import Market

MARKS = ("english_name", "warning", "cautions")


async def save(db: Database, listed: Collection[Market]) -> None:
    """Make the table say what `listed` says; a market that is listed no more goes."""
    if not listed:
        return
    rows = [
        {
            "market": each.market,
            "english_name": each.english_name,
            "warning": each.warning,
            "cautions": list(each.cautions),
        }
        for each in listed
    ]
    new = insert(markets).values(rows)
    upsert = new.on_conflict_do_update(
        index_elements=["market"],
        set_={name: new.excluded[name] for name in MARKS},
        where=markets.c.warning.is_distinct_from(new.excluded.warning)
        | markets.c.cautions.is_distinct_from(new.excluded.cautions)
        | markets.c.english_name.is_distinct_from(new.excluded.english_name),
    )
    async with db.begin() as tx:
        await tx.execute(
            delete(markets).where(markets.c.market.not_in([r["market"] for r in rows]))
        )
        await tx.execute(upsert)
