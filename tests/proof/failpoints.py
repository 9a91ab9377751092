"""Places where a process may die: around every commit that wrote something and every request.

Nothing of this is in the product: the database and the exchange that a desk is given are wrapped.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Ambiguous
from jobs.domain.exchange import Exchange
from jobs.orders.account import new_identifier
from jobs.store.db import Database
from jobs.upbit.wire import Account, Chance, Order, OrderRequest

T = TypeVar("T")
When = Literal["before", "after"]

_HAS_WRITTEN = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
_PLUMBING = frozenset({"db.py", "failpoints.py", "contextlib.py"})


@dataclass(slots=True)
class Failpoints:
    """The places that one life came by, by name and number; `kill_at` ends it at one of them."""

    kill_at: str | None = None
    reached: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def reach(self, what: str, when: When) -> None:
        """Note the place; die here, by SIGKILL, if this is the one."""
        name = f"{when} {what}"
        self._counts[name] += 1
        label = f"{name} {self._counts[name]}"
        self.reached.append(label)
        if label == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class WatchedDatabase(Database):
    """A database whose writing transactions are failpoints, named by the function that writes."""

    points: Failpoints

    @classmethod
    def of(cls, database: Database, points: Failpoints) -> "WatchedDatabase":
        """The same database, watched."""
        return cls(
            engine=database.engine,
            checkout=database.checkout,
            pool_stats=database.pool_stats,
            points=points,
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction as everywhere."""
        name = _writer()
        async with Database.begin(self) as connection:
            yield connection
            wrote = await self._before(connection, name)
        if wrote:
            self.points.reach(f"commit of {name}", "after")

    async def serializable(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """A serializable transaction as everywhere."""
        name, wrote = _writer(), False

        async def watched(connection: AsyncConnection) -> T:
            nonlocal wrote
            result = await work(connection)
            wrote = await self._before(connection, name)
            return result

        result = await Database.serializable(self, watched)
        if wrote:
            self.points.reach(f"commit of {name}", "after")
        return result

    async def _before(self, connection: AsyncConnection, name: str) -> bool:
        wrote = bool((await connection.execute(_HAS_WRITTEN)).scalar())
        if wrote:
            self.points.reach(f"commit of {name}", "before")
        return wrote


def _writer() -> str:
    """The function of the product that opens the transaction."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        path = Path(frame.f_code.co_filename)
        if "jobs" in path.parts and path.name not in _PLUMBING:
            return frame.f_code.co_name.lstrip("_")
    return "nobody"


@dataclass(frozen=True, kw_only=True)
class WatchedExchange:
    """An exchange whose requests about orders are failpoints.

    `is_careless` makes it the bot that this proof is against: a POST without a usable answer is
    sent again.
    """

    inner: Exchange
    points: Failpoints
    is_careless: bool = False

    async def place(self, request: OrderRequest) -> Order:
        """Send one order."""
        self.points.reach("POST", "before")
        try:
            return await self.inner.place(request)
        except Ambiguous:
            if not self.is_careless:
                raise
            again = new_identifier(datetime.now().astimezone())
            return await self.inner.place(replace(request, identifier=again))
        finally:
            self.points.reach("POST", "after")

    async def order(
        self, *, identifier: str | None = None, uuid: str | None = None
    ) -> Order | None:
        """Look at one order."""
        self.points.reach("GET order", "before")
        try:
            return await self.inner.order(identifier=identifier, uuid=uuid)
        finally:
            self.points.reach("GET order", "after")

    async def cancel(self, *, identifier: str | None = None, uuid: str | None = None) -> None:
        """Ask for a cancel."""
        self.points.reach("DELETE", "before")
        try:
            await self.inner.cancel(identifier=identifier, uuid=uuid)
        finally:
            self.points.reach("DELETE", "after")

    async def open_orders(self, market: str | None = None) -> list[Order]:
        """The open orders."""
        self.points.reach("GET open", "before")
        return await self.inner.open_orders(market)

    async def closed_orders(self, market: str, start: datetime) -> list[Order]:
        """The closed orders."""
        self.points.reach("GET closed", "before")
        return await self.inner.closed_orders(market, start)

    async def test_order(self, request: OrderRequest) -> None:
        """Have an order checked."""
        self.points.reach("POST test", "before")
        try:
            await self.inner.test_order(request)
        finally:
            self.points.reach("POST test", "after")

    async def accounts(self) -> list[Account]:
        """The balances; asking changes nothing anywhere."""
        return await self.inner.accounts()

    async def chance(self, market: str) -> Chance:
        """The market's rules; asking changes nothing anywhere."""
        return await self.inner.chance(market)
