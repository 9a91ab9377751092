"""The few facts that health asks the database for, each one indexed row or sum away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain.due_exits import DueExit
from jobs.domain.settings import Settings
from jobs.store import due_exits, reconciliations
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.store.reconciliations import Reconciliation
from jobs.store.tables import llm_calls, orders, signals

OPEN_STATES = ("intent", "sent", "unknown", "wait")
GOOD_CALLS = ("ok", "partial")
RECENT_CALLS = 10


# what two lists of the exchange agree on, as jobs/market/delisting.py told
_DELISTED = text(
    "SELECT market FROM positions WHERE mode = :mode AND volume > 0 AND EXISTS ("
    "SELECT FROM alerts WHERE incident = 'market_gone:' || market AND resolved_at IS NULL)"
    " ORDER BY market"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalVital:
    """The newest signal."""

    at: datetime
    market: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderVital:
    """One order; `since` is the instant of its newest change."""

    id: int
    market: str
    side: str
    state: str
    created_at: datetime
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedExit:
    """An exit that is due since `since` and not done in the time that it has."""

    market: str
    purpose: str
    cause: str | None
    since: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderVitals:
    """The newest order, those that are not final, and what signals asked for since.

    `blocked` are exits that were told as blocked; `settings` says how long orders and signals may
    wait. `demand` counts buy and sell signals since the newest order that were neither executed nor
    refused; `waiting_since` is the oldest of them that is still new. `delisted` are
    held markets that the exchange does not list.
    """

    latest: OrderVital | None
    open: Sequence[OrderVital]
    demand: int
    demand_since: datetime | None
    waiting_since: datetime | None
    settings: Settings
    blocked: Sequence[BlockedExit] = ()
    reconciliation: Reconciliation | None = None
    delisted: Sequence[str] = ()


async def latest_signal(db: Database) -> SignalVital | None:
    """Return the newest signal, whatever its source."""
    newest = (
        select(signals.c.created_at, signals.c.market, signals.c.action)
        .order_by(signals.c.created_at.desc())
        .limit(1)
    )
    async with db.begin() as tx:
        row = (await tx.execute(newest)).first()
    return None if row is None else SignalVital(at=row[0], market=row[1], action=row[2])


async def order_vitals(db: Database, mode: str) -> OrderVitals:
    """Return what health must know of the orders of `mode`."""
    ours = select(
        orders.c.id,
        orders.c.market,
        orders.c.side,
        orders.c.state,
        orders.c.created_at,
        orders.c.updated_at.label("since"),
    ).where(orders.c.mode == mode)
    newest = ours.order_by(orders.c.created_at.desc()).limit(1)
    waiting = ours.where(orders.c.state.in_(OPEN_STATES)).order_by(orders.c.created_at)
    async with db.begin() as tx:
        latest = (await tx.execute(newest)).mappings().first()
        open_ones = (await tx.execute(waiting)).mappings().all()
        since = None if latest is None else latest["created_at"]
        demand, demand_since, waiting_since = await _demand(tx, since)
        reconciliation = await reconciliations.newest(tx, mode)
        due = await due_exits.read(tx, mode)
        settings = await settings_store.read(tx, fallback=Settings())
        delisted = (await tx.execute(_DELISTED, {"mode": mode})).scalars().all()
    return OrderVitals(
        latest=None if latest is None else OrderVital(**latest),
        open=[OrderVital(**each) for each in open_ones],
        demand=demand,
        demand_since=demand_since,
        waiting_since=waiting_since,
        settings=settings,
        blocked=_blocked(due),
        reconciliation=reconciliation,
        delisted=delisted,
    )


def _blocked(due: Mapping[str, DueExit]) -> list[BlockedExit]:
    return [
        BlockedExit(
            market=market,
            purpose=each.purpose,
            cause=each.cause,
            since=each.since,
            attempts=each.attempts,
        )
        for market, each in sorted(due.items())
        if each.blocked_at is not None
    ]


async def _demand(
    tx: AsyncConnection, since: datetime | None
) -> tuple[int, datetime | None, datetime | None]:
    new = signals.c.status == "new"
    query = select(
        func.count(),
        func.min(signals.c.created_at),
        func.min(signals.c.created_at).filter(new),
    ).where(signals.c.action.in_(("buy", "sell")), signals.c.status.in_(("new", "expired")))
    if since is not None:
        query = query.where(signals.c.created_at > since)
    count, first_at, waiting_since = (await tx.execute(query)).one()
    return count, first_at, waiting_since


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVitals:
    """The newest finished model call, how many failed in a row, and the day's spending in USD.

    Spending counts reservations that are not settled at their worst case.
    """

    at: datetime | None
    outcome: str | None
    error: str | None
    failures: int
    spent_usd: Decimal
    dearest_usd: Decimal


async def model_vitals(db: Database, day: date) -> ModelVitals:
    """Return what health must know of the model; `day` is the budget's (KST) date."""
    unsettled = llm_calls.c.outcome == "reserved"
    recent = (
        select(llm_calls.c.created_at, llm_calls.c.outcome, llm_calls.c.error)
        .where(~unsettled)
        .order_by(llm_calls.c.created_at.desc())
        .limit(RECENT_CALLS)
    )
    sums = select(
        func.coalesce(func.sum(llm_calls.c.cost_usd).filter(~unsettled), 0)
        + func.coalesce(func.sum(llm_calls.c.reserved_usd).filter(unsettled), 0),
        func.coalesce(func.max(llm_calls.c.reserved_usd), 0),
    ).where(llm_calls.c.day == day)
    async with db.begin() as tx:
        calls = (await tx.execute(recent)).all()
        spent, dearest = (await tx.execute(sums)).one()
    failures = next((n for n, call in enumerate(calls) if call.outcome in GOOD_CALLS), len(calls))
    newest = calls[0] if calls else None
    return ModelVitals(
        at=newest.created_at if newest else None,
        outcome=newest.outcome if newest else None,
        error=newest.error if newest else None,
        failures=failures,
        spent_usd=Decimal(spent),
        dearest_usd=Decimal(dearest),
    )
