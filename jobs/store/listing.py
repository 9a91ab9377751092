"""The listings of the command line: newest first, filtered, a page at a time.

Pages go by key (the instant and the id of the last row seen), so that a later page costs what the
first one costs. Every query has an index for each of its filters.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    and_,
    false,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.selectable import LateralFromClause

from jobs.store.db import Database
from jobs.store.tables import (
    alert_deliveries,
    alerts,
    due_exits,
    job_runs,
    market_data,
    markets,
    orders,
    positions,
)
from jobs.store.tables import signals as signals_table
from jobs.upbit.ticks import min_total

LEAST_KRW = min_total("KRW-BTC")
"""The exchange's smallest order in won."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which rows: at most `limit`, none older than `since`, only those after `before` in order.

    `before` is the id of the last row of the page before this one.
    """

    limit: int = 20
    since: datetime | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """One order."""

    id: int
    created_at: datetime
    market: str
    side: str
    ord_type: str
    purpose: str
    state: str
    price: Decimal | None
    volume: Decimal | None
    executed_volume: Decimal
    executed_funds: Decimal
    paid_fee: Decimal
    identifier: str
    uuid: str | None
    signal_id: int | None
    reason: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """One signal."""

    id: int
    created_at: datetime
    market: str
    action: str
    confidence: Decimal
    status: str
    status_reason: str | None
    shadow_status: str | None
    shadow_reason: str | None
    reason: str
    source: str
    model: str
    market_data_id: int
    llm_call_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """One position at the newest stored price of its market, None where there is none.

    `unrealized_krw` is what selling everything at that price would win, before fees. `warning` and
    `cautions` are the exchange's marks, as it listed the market last. `exit_due` says what asks for
    its sale and why that is not done; `is_dust`: the exchange takes no order worth so little.
    """

    market: str
    volume: Decimal
    avg_price: Decimal
    last_price: Decimal | None
    unrealized_krw: Decimal | None
    realized_krw: Decimal
    opened_at: datetime | None
    updated_at: datetime
    warning: bool
    cautions: list[str]
    exit_due: str | None
    is_dust: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRow:
    """One due slot of one job; `outcome` is None while its run goes on."""

    job: str
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    reason: str | None
    attempts: int
    duration_s: float
    waited_s: float
    api_calls: int
    rows: int
    cost_usd: Decimal
    error_type: str | None
    error: str | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """One alert; `waiting` hooks have not taken it yet, and `last_error` is why one did not."""

    id: int
    created_at: datetime
    kind: str
    severity: str
    incident: str
    title: str
    message: str
    occurrences: int
    last_at: datetime
    resolved_at: datetime | None
    delivered_at: datetime | None
    waiting: int
    last_error: str | None


async def list_orders(
    db: Database, page: Page, *, mode: str, market: str | None = None, state: str | None = None
) -> list[OrderRow]:
    """Return orders of `mode`."""
    return [
        OrderRow(**row._mapping) for row in await _all(db, order_query(page, mode, market, state))
    ]


def order_query(
    page: Page, mode: str, market: str | None = None, state: str | None = None
) -> Select[Any]:
    """The query behind `list_orders`."""
    query = select(*_columns(orders, OrderRow)).where(orders.c.mode == mode)
    if market is not None:
        query = query.where(orders.c.market == market)
    if state is not None:
        query = query.where(orders.c.state == state)
    return _page(query, orders, page)


async def list_signals(
    db: Database, page: Page, *, market: str | None = None, status: str | None = None
) -> list[SignalRow]:
    """Return signals of every source."""
    query = signal_query(page, market, status)
    return [SignalRow(**row._mapping) for row in await _all(db, query)]


def signal_query(page: Page, market: str | None = None, status: str | None = None) -> Select[Any]:
    """The query behind `list_signals`."""
    query = select(*_columns(signals_table, SignalRow))
    if market is not None:
        query = query.where(signals_table.c.market == market)
    if status is not None:
        query = query.where(signals_table.c.status == status)
    return _page(query, signals_table, page)


async def list_positions(
    db: Database, page: Page, *, mode: str, market: str | None = None, closed: bool = False
) -> list[PositionRow]:
    """Return the positions of `mode`; with `closed` also those that are empty now.

    `page.since` means the last change; there is one position a market and no next page.
    """
    rows = await _all(db, position_query(page, mode, market, closed=closed))
    return [PositionRow(**row._mapping) for row in rows]


def position_query(
    page: Page, mode: str, market: str | None = None, *, closed: bool = False
) -> Select[Any]:
    """The query behind `list_positions`: one index row of market data for each position."""
    c, last = positions.c, _last_price()
    query = (
        select(
            c.market,
            c.volume,
            c.avg_price,
            last.c.price.label("last_price"),
            (c.volume * (last.c.price - c.avg_price)).label("unrealized_krw"),
            c.realized_krw,
            c.opened_at,
            c.updated_at,
            func.coalesce(markets.c.warning, false()).label("warning"),
            func.coalesce(markets.c.cautions, literal_column("'[]'::jsonb")).label("cautions"),
            func.nullif(func.concat_ws(": ", due_exits.c.purpose, due_exits.c.cause), "").label(
                "exit_due"
            ),
            func.coalesce(and_(c.volume > 0, c.volume * last.c.price < LEAST_KRW), false()).label(
                "is_dust"
            ),
        )
        .select_from(
            positions.outerjoin(last, true())
            .outerjoin(markets, markets.c.market == c.market)
            .outerjoin(due_exits, and_(due_exits.c.mode == c.mode, due_exits.c.market == c.market))
        )
        .where(c.mode == mode)
        .order_by(c.opened_at.desc().nulls_last(), c.market)
        .limit(page.limit)
    )
    if market is not None:
        query = query.where(c.market == market)
    if page.since is not None:
        query = query.where(c.updated_at >= page.since)
    return query if closed else query.where(c.volume > 0)


def _last_price() -> LateralFromClause:
    """The newest stored price of a position's market."""
    return (
        select(market_data.c.price)
        .where(market_data.c.market == positions.c.market)
        .order_by(market_data.c.ts.desc())
        .limit(1)
        .lateral("last")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPage:
    """Which slots: at most `limit`, none older than `since`, only those before an instant."""

    limit: int = 20
    since: datetime | None = None
    before: datetime | None = None


async def list_slots(
    db: Database, page: SlotPage, *, job: str | None = None, outcome: str | None = None
) -> list[SlotRow]:
    """Return slots by the instant they were due."""
    return [SlotRow(**row._mapping) for row in await _all(db, slot_query(page, job, outcome))]


def slot_query(page: SlotPage, job: str | None = None, outcome: str | None = None) -> Select[Any]:
    """The query behind `list_slots`."""
    c = job_runs.c
    query = select(*_columns(job_runs, SlotRow))
    if job is not None:
        query = query.where(c.job == job)
    if outcome is not None:
        query = query.where(c.outcome == outcome)
    if page.since is not None:
        query = query.where(c.scheduled_at >= page.since)
    if page.before is not None:
        query = query.where(c.scheduled_at < page.before)
    return query.order_by(c.scheduled_at.desc(), c.job).limit(page.limit)


async def list_alerts(
    db: Database,
    page: Page,
    *,
    kind: str | None = None,
    severity: str | None = None,
    open_only: bool = False,
) -> list[AlertRow]:
    """Return alerts with how far their delivery is."""
    rows = await _all(db, alert_query(page, kind, severity, open_only=open_only))
    return [AlertRow(**row._mapping) for row in rows]


def alert_query(
    page: Page, kind: str | None = None, severity: str | None = None, *, open_only: bool = False
) -> Select[Any]:
    """The query behind `list_alerts`."""
    c, d = alerts.c, alert_deliveries.c
    told = (
        select(
            func.count().filter(d.delivered_at.is_(None)).label("waiting"),
            func.max(d.last_error).label("last_error"),
        )
        .where(d.alert_id == c.id)
        .lateral("told")
    )
    query = select(
        c.id,
        c.created_at,
        c.kind,
        c.severity,
        c.incident,
        c.body["title"].astext.label("title"),
        c.body["message"].astext.label("message"),
        c.occurrences,
        c.last_at,
        c.resolved_at,
        c.delivered_at,
        told.c.waiting,
        told.c.last_error,
    ).select_from(alerts.join(told, true()))
    if kind is not None:
        query = query.where(c.kind == kind)
    if severity is not None:
        query = query.where(c.severity == severity)
    if open_only:
        query = query.where(c.resolved_at.is_(None))
    return _page(query, alerts, page)


def _columns(table: Any, row: type) -> list[Any]:
    return [table.c[name] for name in row.__slots__]  # type: ignore[attr-defined]  # a slots dataclass


def _page(query: Select[Any], table: Any, page: Page) -> Select[Any]:
    """Newest first; the key of a page is the creation instant and id of the last row seen."""
    c = table.c
    if page.since is not None:
        query = query.where(c.created_at >= page.since)
    if page.before is not None:
        seen = table.alias("seen")
        last = select(seen.c.created_at).where(seen.c.id == page.before).scalar_subquery()
        query = query.where(
            # the plain comparison is what the index can use
            and_(
                c.created_at <= last,
                tuple_(c.created_at, c.id) < tuple_(last, literal(page.before)),
            )
        )
    return query.order_by(c.created_at.desc(), c.id.desc()).limit(page.limit)


async def _all(db: Database, query: Select[Any]) -> list[Row[Any]]:
    async with db.begin() as tx:
        return list((await tx.execute(query)).all())
