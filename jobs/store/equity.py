"""Queries on what the account was worth, minute by minute, and on where a drawdown begins."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.domain import accounting
from jobs.domain.accounting import HELD_FOR
from jobs.domain.ledger import ZERO
from jobs.domain.portfolio import Mode, drawdown_pct
from jobs.store.tables import drawdown_restarts, equity


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityRow:
    """The account's worth at one instant.

    `pnl_krw` is all profit of the daemon's trades so far, realized and not, `peak_krw` the highest
    that held until then; deposits and withdrawals change neither.
    """

    ts: datetime
    cash_krw: Decimal
    positions_krw: Decimal
    pnl_krw: Decimal
    peak_krw: Decimal

    @property
    def drawdown_pct(self) -> Decimal:
        """How far the profit is under its peak."""
        return drawdown_pct(
            pnl_krw=self.pnl_krw,
            peak_krw=self.peak_krw,
            equity_krw=self.cash_krw + self.positions_krw,
        )


_COLUMNS = [equity.c[name] for name in EquityRow.__dataclass_fields__]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Who had the drawdown begin anew, and from which profit."""

    restarted_at: datetime
    restarted_by: str
    peak_before_krw: Decimal
    peak_after_krw: Decimal
    drawdown_before_pct: Decimal


async def newest(conn: AsyncConnection, mode: Mode) -> EquityRow | None:
    """The newest row."""
    statement = select(*_COLUMNS).where(equity.c.mode == mode).order_by(equity.c.ts.desc()).limit(1)
    row = (await conn.execute(statement)).one_or_none()
    return None if row is None else EquityRow(**row._mapping)


async def opened_krw(conn: AsyncConnection, mode: Mode, start: datetime) -> Decimal:
    """The profit with which the day began that `start` begins: the middle of its last samples."""
    last = (
        select(func.max(equity.c.ts)).where(equity.c.mode == mode, equity.c.ts < start)
    ).scalar_subquery()
    statement = select(equity.c.pnl_krw).where(
        equity.c.mode == mode, equity.c.ts < start, equity.c.ts > last - HELD_FOR
    )
    return accounting.middle((await conn.execute(statement)).scalars().all())


async def add(
    conn: AsyncConnection,
    mode: Mode,
    *,
    at: datetime,
    cash_krw: Decimal,
    positions_krw: Decimal,
    pnl_krw: Decimal,
) -> None:
    """Store what the account is worth now; its highest profit rises once a higher one has held."""
    recent = await _recent(conn, mode, at)
    has_held = bool(recent) and recent[0].ts <= at - HELD_FOR
    profits = [*(each.pnl_krw for each in recent), pnl_krw] if has_held else []
    statement = upsert(equity).values(
        mode=mode,
        ts=at,
        cash_krw=cash_krw,
        positions_krw=positions_krw,
        pnl_krw=pnl_krw,
        peak_krw=accounting.risen(recent[-1].peak_krw if recent else ZERO, profits),
    )
    await conn.execute(statement.on_conflict_do_nothing())


async def restart_drawdown(
    conn: AsyncConnection, mode: Mode, *, by: str, at: datetime
) -> Restart | None:
    """Have the drawdown count from the profit of the last minutes on, in the name of `by`.

    None when there is nothing to restart: nothing was measured, or the profit is at its peak.
    """
    if (row := await newest(conn, mode)) is None:
        return None
    recent = await _recent(conn, mode, row.ts)
    before = recent[-1]
    base = min(each.pnl_krw for each in recent)
    if base >= before.peak_krw:
        return None
    made = Restart(
        restarted_at=at,
        restarted_by=by,
        peak_before_krw=before.peak_krw,
        peak_after_krw=base,
        drawdown_before_pct=before.drawdown_pct,
    )
    newest_row = (equity.c.mode == mode) & (equity.c.ts == before.ts)
    await conn.execute(update(equity).where(newest_row).values(peak_krw=base))
    values = {name: getattr(made, name) for name in Restart.__dataclass_fields__}
    await conn.execute(insert(drawdown_restarts).values(mode=mode, **values))
    return made


async def last_restart(conn: AsyncConnection, mode: Mode) -> Restart | None:
    """The newest restart of the drawdown."""
    names = [drawdown_restarts.c[name] for name in Restart.__dataclass_fields__]
    statement = (
        select(*names)
        .where(drawdown_restarts.c.mode == mode)
        .order_by(drawdown_restarts.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(statement)).one_or_none()
    return None if row is None else Restart(**row._mapping)


async def _recent(conn: AsyncConnection, mode: Mode, at: datetime) -> list[EquityRow]:
    """The rows since the newest one that is at least `HELD_FOR` old, all there are without one;
    nobody else changes them until the transaction ends.
    """
    since = (
        select(func.coalesce(func.max(equity.c.ts), literal_column("'-infinity'::timestamptz")))
        .where(equity.c.mode == mode, equity.c.ts <= at - HELD_FOR)
        .scalar_subquery()
    )
    statement = (
        select(*_COLUMNS)
        .where(equity.c.mode == mode, equity.c.ts >= since)
        .order_by(equity.c.ts)
        .with_for_update()
    )
    return [EquityRow(**row._mapping) for row in await conn.execute(statement)]
