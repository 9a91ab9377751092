"""Queries of `requests`: what people ask the running daemon to do.

Every instant is the database's own, so that no two clocks are compared. A request is taken once,
under the leader's fence; one that nobody took in time is never carried out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Interval, cast, func, insert, literal, select, text, update

from jobs.store.db import Database
from jobs.store.tables import requests

CHANNEL = "requests"

Outcome = Literal["done", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Whose daemon is asked: there is one leader for each account."""

    mode: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `taken_at` None: nobody carries it out yet; `outcome` None: it has not ended."""

    id: int
    command: str
    arguments: Mapping[str, Any]
    asked_by: str
    asked_at: datetime
    taken_at: datetime | None
    taken_by: str | None
    outcome: Outcome | None
    answer: Mapping[str, Any] | None


_COLUMNS = [requests.c[name] for name in Request.__dataclass_fields__]

# the holder of a lease ends with its instance; a live account is a digest of its key. A leader
# renews each second and stops by itself after three without
_LEADER = text(
    "SELECT holder FROM leadership JOIN leases USING (account, epoch)"
    " WHERE account LIKE :mode || ':%' AND right(holder, length(:instance) + 1) = ':' || :instance"
    " AND renewed_at > clock_timestamp() - interval '5 seconds'"
    " ORDER BY renewed_at DESC LIMIT 1"
)


async def leader(db: Database, to: Address) -> str | None:
    """Who leads this account now, None when no daemon does."""
    async with db.begin() as conn:
        found = await conn.execute(_LEADER, {"mode": to.mode, "instance": to.instance})
        return found.scalar()


async def ask(
    db: Database,
    to: Address,
    command: str,
    arguments: Mapping[str, Any],
    *,
    by: str,
    within_s: float,
) -> int:
    """Ask for `command`, to be taken within so many seconds or never; return the request's id."""
    expires_at = func.clock_timestamp() + cast(literal(f"{within_s} seconds"), Interval)
    new = insert(requests).values(
        command=command,
        arguments=dict(arguments),
        mode=to.mode,
        instance=to.instance,
        asked_by=by,
        expires_at=expires_at,
    )
    async with db.begin() as conn:
        return int((await conn.execute(new.returning(requests.c.id))).scalar_one())


async def take(db: Database, to: Address, *, by: str, epoch: int) -> Request | None:
    """Take the oldest request that still counts, None when there is none."""
    waiting = (
        select(requests.c.id)
        .where(
            requests.c.taken_at.is_(None),
            requests.c.outcome.is_(None),
            requests.c.mode == to.mode,
            requests.c.instance == to.instance,
            requests.c.expires_at > func.clock_timestamp(),
        )
        .order_by(requests.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    claim = (
        update(requests)
        .where(requests.c.id == waiting.scalar_subquery())
        .values(taken_at=func.clock_timestamp(), taken_by=by, epoch=epoch)
        .returning(*_COLUMNS)
    )
    async with db.begin() as conn:
        row = (await conn.execute(claim)).mappings().first()
    return None if row is None else Request(**row)


async def answer(db: Database, request_id: int, outcome: Outcome, said: Mapping[str, Any]) -> None:
    """Write down how a request ended; the first ending stays."""
    end = (
        update(requests)
        .where(requests.c.id == request_id, requests.c.outcome.is_(None))
        .values(outcome=outcome, answer=dict(said), answered_at=func.clock_timestamp())
    )
    async with db.begin() as conn:
        await conn.execute(end)


async def withdraw(db: Database, request_id: int) -> bool:
    """Take a request back; False when somebody has it already."""
    back = (
        update(requests)
        .where(
            requests.c.id == request_id,
            requests.c.taken_at.is_(None),
            requests.c.outcome.is_(None),
        )
        .values(outcome="withdrawn", answered_at=func.clock_timestamp())
        .returning(requests.c.id)
    )
    async with db.begin() as conn:
        return (await conn.execute(back)).first() is not None


async def get(db: Database, request_id: int) -> Request:
    """Return one request as it stands."""
    async with db.begin() as conn:
        wanted = select(*_COLUMNS).where(requests.c.id == request_id)
        return Request(**(await conn.execute(wanted)).mappings().one())
