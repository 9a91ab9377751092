"""The paper account's rows: balances, orders, and identifiers that are used up.

Whoever changes them holds the account's KRW row until the end of the transaction. Every change
rewrites that row, so that its `xmin` (the transaction that wrote it) tells a stale reader.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Text, cast, column, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.tables import paper_balances, paper_orders
from jobs.upbit.wire import Account

REFUSED = "refused"
"""The state of a row that only keeps an identifier of a refused order from being used again."""

_VERSION = cast(column("xmin"), Text)
_KRW = paper_balances.c.currency == "KRW"
_MARKET = paper_orders.c.body["market"].astext


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One order; `body` is what the engine wrote about it."""

    uuid: str
    identifier: str | None
    state: str
    body: dict[str, object]
    created_at: datetime


async def lock(conn: AsyncConnection, *, start_krw: Decimal) -> str:
    """Hold the account until the transaction ends, and return its version.

    An account that does not exist yet is opened with `start_krw`.
    """
    held = select(_VERSION).select_from(paper_balances).where(_KRW).with_for_update()
    version = (await conn.execute(held)).scalar()
    if version is None:
        opening = {"currency": "KRW", "balance": start_krw, "locked": 0}
        await conn.execute(insert(paper_balances).values(opening).on_conflict_do_nothing())
        version = (await conn.execute(held)).scalar_one()
    return str(version)


async def balances(conn: AsyncConnection) -> list[Account]:
    """Every currency the account ever held, in the order of their names."""
    query = select(paper_balances).order_by(paper_balances.c.currency)
    return [
        Account(
            currency=row.currency,
            balance=row.balance,
            locked=row.locked,
            avg_buy_price=row.avg_buy_price,
        )
        for row in await conn.execute(query)
    ]


async def open_bodies(conn: AsyncConnection) -> list[dict[str, object]]:
    """The orders that wait, oldest first."""
    query = (
        select(paper_orders.c.body)
        .where(paper_orders.c.state == "wait")
        .order_by(paper_orders.c.created_at)
    )
    return list((await conn.execute(query)).scalars())


async def open_markets(conn: AsyncConnection) -> list[str]:
    """The markets that have waiting orders."""
    query = select(_MARKET).where(paper_orders.c.state == "wait").distinct().order_by(_MARKET)
    return list((await conn.execute(query)).scalars())


async def identifiers(conn: AsyncConnection) -> list[str]:
    """Every identifier that was ever used."""
    query = select(paper_orders.c.identifier).where(paper_orders.c.identifier.is_not(None))
    return [str(each) for each in (await conn.execute(query)).scalars()]


async def body(
    conn: AsyncConnection, *, uuid: str | None, identifier: str | None
) -> dict[str, object] | None:
    """One order by uuid (which wins) or identifier; None when there is none by that name."""
    by_name = (
        paper_orders.c.identifier == identifier if uuid is None else paper_orders.c.uuid == uuid
    )
    query = select(paper_orders.c.body).where(by_name, paper_orders.c.state != REFUSED)
    return (await conn.execute(query)).scalar()


async def closed_bodies(
    conn: AsyncConnection, *, market: str, start: datetime
) -> list[dict[str, object]]:
    """The finished orders of `market` created since `start`, oldest first."""
    query = (
        select(paper_orders.c.body)
        .where(
            paper_orders.c.state.in_(("done", "cancel")),
            paper_orders.c.created_at >= start,
            paper_orders.c.body["market"].astext == market,
        )
        .order_by(paper_orders.c.created_at)
    )
    return list((await conn.execute(query)).scalars())


async def save(conn: AsyncConnection, accounts: Iterable[Account], rows: Sequence[PaperRow]) -> str:
    """Store balances and orders in their newest state; return the account's new version."""
    for account in accounts:
        await conn.execute(_upsert_account(account))
    for row in rows:
        await conn.execute(_upsert_order(row))
    touch = update(paper_balances).where(_KRW).values(locked=paper_balances.c.locked)
    return str((await conn.execute(touch.returning(_VERSION))).scalar_one())


def _upsert_account(account: Account) -> Insert:
    values = {
        "balance": account.balance,
        "locked": account.locked,
        "avg_buy_price": account.avg_buy_price,
    }
    new = insert(paper_balances).values(currency=account.currency, **values)
    return new.on_conflict_do_update(index_elements=["currency"], set_=values)


def _upsert_order(row: PaperRow) -> Insert:
    values = {"state": row.state, "body": row.body}
    new = insert(paper_orders).values(
        uuid=row.uuid, identifier=row.identifier, created_at=row.created_at, **values
    )
    return new.on_conflict_do_update(index_elements=["uuid"], set_=values)
