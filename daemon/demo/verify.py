"""What the demo's daemon really did: its tables beside the exchange's own ledger."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
from sqlalchemy import Column, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.config.load import Config
from daemon.postgres.session import open_for_command
from jobs.core.http_clients import settings
from jobs.orders.account import PREFIX
from jobs.store.tables import candles, fills, llm_calls, orders, positions, signals

MODE = "live"
ZERO = Decimal(0)
LOOKS = 20
LOOK_AGAIN_S = 0.5
COMPONENTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of the run. `differences` are lines where tables and ledger disagree."""

    candles: Mapping[str, int]
    signals: Mapping[str, int]
    model_calls: int
    cost_usd: Decimal
    orders: Mapping[str, int]
    filled_orders: int
    fills: int
    components: Mapping[str, str]
    differences: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The summary, a line a subject."""
        yield f"candles stored: {_counts(self.candles)}"
        yield f"signals: {_counts(self.signals)}"
        yield f"Gemini calls: {self.model_calls}, {self.cost_usd:.6f} USD"
        yield f"orders: {_counts(self.orders)}; with fills {self.filled_orders}, fills {self.fills}"
        yield f"health: {', '.join(f'{name} {how}' for name, how in self.components.items())}"
        yield f"tables against the exchange's ledger: {len(self.differences)} differences"
        yield from self.differences

    def faults(self) -> list[str]:
        """What is missing for the main job to have run; empty when it did."""
        wanted = {
            "no candles were stored": bool(self.candles),
            "Gemini was not called": self.model_calls > 0,
            "Gemini gave no signal": bool(self.signals),
            "no order was filled": self.filled_orders > 0,
            "health does not report six components": len(self.components) == COMPONENTS,
            "the tables differ from the exchange's ledger": not self.differences,
        }
        return [fault for fault, met in wanted.items() if not met]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The daemon's tables, or the exchange's ledger, in the same form.

    `orders` maps identifiers to (state, executed volume, executed funds, paid fee, number of
    fills); `holdings` maps markets to volumes.
    """

    orders: Mapping[str, tuple[str, Decimal, Decimal, Decimal, int]]
    holdings: Mapping[str, Decimal]

    def differences(self, ledger: "Book") -> list[str]:
        """Return a line for everything in which this book is not the exchange's `ledger`."""
        lines = [
            f"order {name}: tables {self.orders.get(name)}, exchange {ledger.orders.get(name)}"
            for name in sorted(self.orders.keys() | ledger.orders.keys())
            if self.orders.get(name) != ledger.orders.get(name)
        ]
        return lines + [
            f"{market}: tables hold {self.holdings.get(market)}, "
            f"exchange {ledger.holdings.get(market)}"
            for market in sorted(self.holdings.keys() | ledger.holdings.keys())
            if self.holdings.get(market, ZERO) != ledger.holdings.get(market, ZERO)
        ]


async def examine(health_url: str, control_url: str, config: Config) -> Summary:
    """Read the tables, the health port and the exchange's ledger, and compare.

    A fill between the two readings is a difference that the daemon's next run mends: look again,
    some times, before saying so.
    """
    async with (
        httpx.AsyncClient(timeout=10, **settings(control_url)) as http,
        open_for_command(config) as database,
    ):
        for _ in range(LOOKS):
            ledger = read_ledger((await http.get(f"{control_url}/ledger")).json())
            async with database.begin() as tx:
                differences = (await read_tables(tx)).differences(ledger)
            if not differences:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        report = (await http.get(f"{health_url}/health")).json()
        async with database.begin() as tx:
            return await _summary(tx, report, differences)


def read_ledger(body: Mapping[str, Any]) -> Book:
    """Return what the sandbox's control endpoint says of the main account, as a book.

    Orders that a person or another program made, without the daemon's prefix, are not in it.
    """
    account = body["pockets"]["main"]
    orders = {
        each["identifier"]: (
            each["state"],
            Decimal(each["executed_volume"]),
            Decimal(each["executed_funds"]),
            Decimal(each["paid_fee"]),
            len(each["fills"]),
        )
        for each in account["orders"]
        if (each["identifier"] or "").startswith(PREFIX)
    }
    holdings = {
        f"KRW-{each['currency']}": Decimal(each["balance"]) + Decimal(each["locked"])
        for each in account["accounts"]
        if each["currency"] != "KRW"
    }
    return Book(orders=orders, holdings={m: v for m, v in holdings.items() if v})


async def read_tables(tx: AsyncConnection) -> Book:
    """Return what the daemon's tables say of the live account, as a book.

    Orders that never reached the exchange are not in it.
    """
    rows = await tx.execute(
        select(
            orders.c.identifier,
            orders.c.state,
            orders.c.executed_volume,
            orders.c.executed_funds,
            orders.c.paid_fee,
            func.count(fills.c.id),
        )
        .select_from(orders.outerjoin(fills, fills.c.order_id == orders.c.id))
        .where(orders.c.mode == MODE, orders.c.uuid.is_not(None))
        .group_by(orders.c.id)
    )
    held = await tx.execute(
        select(positions.c.market, positions.c.volume).where(
            positions.c.mode == MODE, positions.c.volume > 0
        )
    )
    return Book(
        orders={row[0]: (row[1], row[2], row[3], row[4], row[5]) for row in rows},
        holdings={row[0]: row[1] for row in held},
    )


async def _summary(
    tx: AsyncConnection, report: Mapping[str, Any], differences: list[str]
) -> Summary:
    filled = select(func.count(fills.c.order_id.distinct()), func.count()).select_from(fills)
    filled_orders, all_fills = (await tx.execute(filled)).one()
    called = select(func.count(), func.coalesce(func.sum(llm_calls.c.cost_usd), 0))
    model_calls, cost_usd = (await tx.execute(called.where(llm_calls.c.outcome == "ok"))).one()
    return Summary(
        candles=await _count_by(tx, candles.c.market),
        signals=await _count_by(tx, signals.c.action),
        model_calls=model_calls,
        cost_usd=Decimal(cost_usd),
        orders=await _count_by(tx, orders.c.state),
        filled_orders=filled_orders,
        fills=all_fills,
        components={name: each["status"] for name, each in report["components"].items()},
        differences=differences,
    )


async def _count_by(tx: AsyncConnection, column: Column[str]) -> dict[str, int]:
    rows = await tx.execute(select(column, func.count()).group_by(column).order_by(column))
    return {row[0]: row[1] for row in rows}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
