"""The newest comparison of venue and tables, as health and the doctor tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.tables import reconciliations


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the newest one found; `runs` counts all of them. Nothing in `mismatches`: it fits."""

    checked_at: datetime
    open_ours: int
    open_foreign: int
    unknown: int
    mismatches: Sequence[str]
    runs: int = 1


async def save(conn: AsyncConnection, mode: str, found: Reconciliation) -> None:
    """Put `found` in the place of the one before."""
    values = {
        "checked_at": found.checked_at,
        "open_ours": found.open_ours,
        "open_foreign": found.open_foreign,
        "unknown": found.unknown,
        "mismatches": list(found.mismatches),
    }
    new = insert(reconciliations).values(mode=mode, **values)
    newer = {**values, "runs": reconciliations.c.runs + 1}
    await conn.execute(new.on_conflict_do_update(index_elements=["mode"], set_=newer))


async def newest(conn: AsyncConnection, mode: str) -> Reconciliation | None:
    """The newest reconciliation of `mode`, by whatever process; None before the first."""
    wanted = select(*(reconciliations.c[name] for name in Reconciliation.__slots__))
    row = (await conn.execute(wanted.where(reconciliations.c.mode == mode))).one_or_none()
    return None if row is None else Reconciliation(**row._mapping)
