"""Queries of the health port's page: a few newest rows of each kind, each by its index.

All of them read one snapshot of the database and are meant to be asked every few seconds.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

from jobs.store.db import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One job: its newest slot with an outcome, and its finished runs since an instant."""

    name: str
    scheduled_at: datetime | None
    outcome: str | None
    reason: str | None
    duration_s: float | None
    runs: int
    ok: int
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalLine:
    """One signal."""

    id: int
    at: datetime
    market: str
    action: str
    confidence: Decimal
    reason: str
    status: str
    status_reason: str | None
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One order, with the number of its fills."""

    id: int
    at: datetime
    market: str
    side: str
    ord_type: str
    purpose: str
    price: Decimal | None
    volume: Decimal | None
    state: str
    reason: str | None
    executed_volume: Decimal
    executed_funds: Decimal
    paid_fee: Decimal
    fills: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLine:
    """One open position; `marks` is what the exchange warns of in its market."""

    market: str
    volume: Decimal
    avg_price: Decimal
    opened_at: datetime | None
    marks: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityLine:
    """Cash plus positions at one instant."""

    ts: datetime
    total_krw: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """The sums of one budget day's model calls."""

    spent_usd: Decimal
    reserved_usd: Decimal
    calls: int
    tokens_in: int
    tokens_out: int
    tokens_thought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to read: whose rows, how many, and from when on."""

    mode: str
    jobs: Sequence[str]
    day: date
    since: datetime
    rows: int = 10
    points: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The rows of the page, as of one snapshot of the database."""

    jobs: Sequence[JobLine]
    signals: Sequence[SignalLine]
    orders: Sequence[OrderLine]
    positions: Sequence[PositionLine]
    equity: Sequence[EquityLine]
    cost: CostLine


# a run is what was tried: skipped and cancelled slots say nothing about success
JOBS: Final = """
SELECT wanted.name, last.scheduled_at, last.outcome, last.reason, last.duration_s,
       span.runs, span.ok, span.p95_s
FROM unnest(%(jobs)s::text[]) WITH ORDINALITY AS wanted (name, place)
LEFT JOIN LATERAL (
    SELECT scheduled_at, outcome, duration_s,
           CASE WHEN outcome <> 'ok' THEN coalesce(error_type || ': ' || error, reason) END
               AS reason
    FROM job_runs WHERE job = wanted.name AND outcome IS NOT NULL
    ORDER BY scheduled_at DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, count(*) FILTER (WHERE outcome = 'ok') AS ok,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_s) AS p95_s
    FROM job_runs
    WHERE job = wanted.name AND scheduled_at >= %(since)s
      AND outcome IN ('ok', 'failed', 'timeout', 'deferred')
) AS span
ORDER BY wanted.place
"""

# a paper twin's end stands behind the own one
SIGNALS: Final = """
SELECT id, created_at AS at, market, action, confidence, reason, status,
       nullif(concat_ws('; ', status_reason, 'paper twin: ' || shadow_status
                        || coalesce(' (' || shadow_reason || ')', '')), '') AS status_reason, model
FROM signals ORDER BY created_at DESC, id DESC LIMIT %(rows)s
"""

ORDERS: Final = """
SELECT id, created_at AS at, market, side, ord_type, purpose, price, volume, state, reason,
       executed_volume, executed_funds, paid_fee,
       (SELECT count(*) FROM fills WHERE fills.order_id = orders.id) AS fills
FROM orders WHERE mode = %(mode)s ORDER BY created_at DESC, id DESC LIMIT %(rows)s
"""

POSITIONS: Final = """
SELECT market, volume, avg_price, opened_at,
       (SELECT nullif(concat_ws(', ', CASE WHEN warning THEN 'WARNING' END,
                                (SELECT string_agg(mark, ', ')
                                 FROM jsonb_array_elements_text(cautions) AS mark)), '')
        FROM markets WHERE markets.market = positions.market) AS marks
FROM positions WHERE mode = %(mode)s AND volume > 0 ORDER BY market
"""

# the newest row of each of so many equal parts, and the very first row
EQUITY: Final = """
SELECT DISTINCT ON (part) ts, total_krw
FROM (
    SELECT ts, cash_krw + positions_krw AS total_krw,
           CASE WHEN row_number() OVER w > 1 THEN ntile(%(points)s) OVER w ELSE 0 END AS part
    FROM equity WHERE mode = %(mode)s AND ts >= %(since)s
    WINDOW w AS (ORDER BY ts)
) AS parts
ORDER BY part, ts DESC
"""

COST: Final = """
SELECT coalesce(sum(cost_usd) FILTER (WHERE outcome <> 'reserved'), 0) AS spent_usd,
       coalesce(sum(reserved_usd) FILTER (WHERE outcome = 'reserved'), 0) AS reserved_usd,
       count(*) AS calls,
       coalesce(sum(tokens_in), 0) AS tokens_in,
       coalesce(sum(tokens_out), 0) AS tokens_out,
       coalesce(sum(tokens_thought), 0) AS tokens_thought
FROM llm_calls WHERE day = %(day)s
"""


async def lines(db: Database, wanted: Wanted) -> Lines:
    """Return the rows of the page. Raises Unavailable while the database is away."""
    given = {
        "mode": wanted.mode,
        "jobs": list(wanted.jobs),
        "day": wanted.day,
        "since": wanted.since,
        "rows": wanted.rows,
        "points": wanted.points,
    }
    async with db.connection() as connection, _one_snapshot(connection):
        [cost] = await _all(connection, COST, given, CostLine)
        return Lines(
            jobs=await _all(connection, JOBS, given, JobLine),
            signals=await _all(connection, SIGNALS, given, SignalLine),
            orders=await _all(connection, ORDERS, given, OrderLine),
            positions=await _all(connection, POSITIONS, given, PositionLine),
            equity=await _all(connection, EQUITY, given, EquityLine),
            cost=cost,
        )


@asynccontextmanager
async def _one_snapshot(connection: AsyncConnection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def _all(
    connection: AsyncConnection, query: str, given: Mapping[str, object], kind: type[T]
) -> list[T]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query.encode(), given)
        return await cursor.fetchall()
