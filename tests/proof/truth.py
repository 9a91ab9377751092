"""The venue's own ledger against the tables: nothing doubled, nothing lost, no digit off."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from jobs.domain.order_states import FINAL, State
from jobs.store import order_events
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.db import Database
from jobs.store.orders import OrderRow
from jobs.store.tables import orders

Ledger = dict[str, Any]


class Wrong(Exception):
    """Venue and tables differ; `outcome` says in which way."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The venue's ledger of one account, the bodies of all orders it was sent, and our tables."""

    ledger: Ledger
    posted: Sequence[str]
    rows: Sequence[OrderRow]


async def read_rows(db: Database) -> list[OrderRow]:
    """Every order of the tables, oldest first."""
    async with db.begin() as conn:
        ids = (await conn.execute(select(orders.c.id).order_by(orders.c.id))).scalars().all()
        return [await order_store.lock(conn, each) for each in ids]


async def compare(db: Database, facts: Facts, *, is_over: bool) -> None:
    """Raise Wrong for the first difference. `is_over`: every order must have its end."""
    theirs = {order["identifier"]: order for order in facts.ledger["orders"]}
    _check_sendings(facts)
    _check_existence(facts.rows, theirs, is_over=is_over)
    _check_signals(facts.rows)
    await _check_overlap(db, facts.rows)
    for row in facts.rows:
        if row.state in FINAL and row.identifier in theirs:
            await _check_same(db, row, theirs[row.identifier])
    if is_over:
        await _check_positions(db, facts.ledger)


def _check_sendings(facts: Facts) -> None:
    names = Counter(json.loads(body).get("identifier") for body in facts.posted)
    again = [str(name) for name, count in names.items() if count > 1]
    if again:
        raise Wrong("doubled", f"sent again: {', '.join(again)}")


def _check_existence(rows: Sequence[OrderRow], theirs: Ledger, *, is_over: bool) -> None:
    known = {row.identifier for row in rows}
    for name in theirs.keys() - known:
        raise Wrong("doubled", f"{name} is at the venue, and no row knows it")
    for row in rows:
        is_there = row.identifier in theirs
        if row.state is State.REFUSED and is_there:
            raise Wrong("lost", f"{row.identifier} is given up ({row.reason}), and at the venue")
        if row.state in {State.WAIT, State.DONE, State.CANCEL} and not is_there:
            raise Wrong("lost", f"{row.identifier} is {row.state} here, and not at the venue")
        if is_over and row.state not in FINAL:
            raise Wrong("lost", f"{row.identifier} has no end")


def _check_signals(rows: Sequence[OrderRow]) -> None:
    live = Counter(row.signal_id for row in rows if row.state is not State.REFUSED)
    live.pop(None, None)
    if any(count > 1 for count in live.values()):
        raise Wrong("doubled", f"orders by signal: {dict(live)}")


async def _check_overlap(db: Database, rows: Sequence[OrderRow]) -> None:
    """No order of a market begins before the one before it has its end.

    A sale into a thin book is a part of the position: while nobody has said what became of it, the
    rest may be sold, and both together are never more than was held.
    """
    ended: dict[str, datetime] = {}
    before: OrderRow | None = None
    for row in rows:
        if row.created_at < ended.get(row.market, row.created_at) and not _shares(before, row):
            raise Wrong("doubled", f"{row.identifier} began before the order before it ended")
        async with db.begin() as conn:
            events = await order_events.events(conn, row.id)
        at = [event.at for event in events if event.to_state in {s.value for s in FINAL}]
        ended[row.market] = at[-1] if at else datetime.max.replace(tzinfo=row.created_at.tzinfo)
        before = row
    bought = sum((row.executed_volume for row in rows if row.side == "bid"), Decimal(0))
    selling = [row for row in rows if row.side == "ask" and row.state is not State.REFUSED]
    asked = (row.executed_volume if row.state in FINAL else row.volume for row in selling)
    if (total := sum((each or Decimal(0) for each in asked), Decimal(0))) > bought:
        raise Wrong("doubled", f"sales of {total} where {bought} were bought")


def _shares(before: OrderRow | None, row: OrderRow) -> bool:
    """Whether both are sales: of what is held, each a part."""
    return before is not None and before.side == "ask" and row.side == "ask"


async def _check_same(db: Database, row: OrderRow, order: Ledger) -> None:
    pairs = (
        ("uuid", row.uuid, order["uuid"]),
        ("state", row.state, order["state"]),
        ("volume", row.executed_volume, Decimal(order["executed_volume"])),
        ("fee", row.paid_fee, Decimal(order["paid_fee"])),
    )
    for name, ours, its in pairs:
        if ours != its:
            raise Wrong("differ", f"{name} of {row.identifier} is {ours}, at the venue {its}")
    async with db.begin() as conn:
        stored = [each.fill for each in await position_store.fills_of(conn, row.id)]
    fills = sorted((f.uuid, f.price, f.volume, f.funds, f.fee) for f in stored)
    names = ("price", "volume", "funds", "fee")
    at_venue = sorted((f["uuid"], *(Decimal(f[name]) for name in names)) for f in order["fills"])
    if fills != at_venue:
        raise Wrong("differ", f"fills of {row.identifier} are {fills}, at the venue {at_venue}")


async def _check_positions(db: Database, ledger: Ledger) -> None:
    async with db.begin() as conn:
        held = await position_store.held(conn, "live")
        off = await position_store.ledger_differences(conn, "live")
    if off:
        raise Wrong("differ", f"positions are off their fills by {off}")
    ours = {market: holding.volume for market, holding in held.items()}
    theirs = {
        f"KRW-{each['currency']}": Decimal(each["balance"]) + Decimal(each["locked"])
        for each in ledger["accounts"]
        if each["currency"] != "KRW"
    }
    theirs = {market: volume for market, volume in theirs.items() if volume}
    if ours != theirs:
        raise Wrong("differ", f"positions are {ours}, the venue's balances {theirs}")
