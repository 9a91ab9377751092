"""The paper exchange: the venue's own rules against live quotes, its account kept in the database.

Every call is one transaction that is committed before the answer is given, so that a process that
dies between two calls loses nothing it was told. Time does not pass by itself here: resting
orders meet the market's books whenever somebody places, cancels or looks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Ambiguous, Banned, NotSent, RateLimited, Refused, Transient
from jobs.core.job import Clock
from jobs.domain.exchange import Quotes
from jobs.matching.engine import Engine, Rules, VenueError
from jobs.matching.rules import ASK_TYPES, BID_TYPES
from jobs.matching.ticket import from_json, to_json
from jobs.store import paper as rows
from jobs.store.db import Database
from jobs.upbit import ticks
from jobs.upbit.ticks import StatedTicks
from jobs.upbit.wire import Account, Chance, Order, Orderbook, OrderRequest

START_KRW = Decimal(10_000_000)
UNLIMITED = Decimal(1_000_000_000)
"""The largest order where the exchange publishes no limit (USDT markets)."""


def new_uuid() -> str:
    """A fresh name for an order or a fill."""
    return str(uuid4())


def chance_of(market: str, rules: Rules) -> Chance:
    """Fees, totals and order types of `market` where orders follow `rules`."""
    fee = rules.fee(market)
    taken = rules.order_types.get(market, frozenset({*BID_TYPES, *ASK_TYPES}))
    return Chance(
        market=market,
        bid_fee=fee,
        ask_fee=fee,
        bid_min_total=ticks.min_total(market),
        ask_min_total=ticks.min_total(market),
        max_total=ticks.max_total(market) or UNLIMITED,
        state="active",
        bid_types=tuple(form for form in BID_TYPES if form in taken),
        ask_types=tuple(form for form in ASK_TYPES if form in taken),
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """The account as this process knows it, true as long as its version stands."""

    engine: Engine
    version: str


@dataclass(slots=True)
class _Turn:
    """One transaction that holds the account; `burnt` are identifiers of refused orders."""

    conn: AsyncConnection
    engine: Engine
    now: datetime
    burnt: list[str] = field(default_factory=list)


class PaperExchange:
    """An `Exchange` that trades pretended money: `start_krw` of it when the account is new.

    `ticks_stated` are the price steps that the exchange behind the quotes stated last.

    Several processes may use the same account; the database row lock takes them in turn.
    """

    def __init__(
        self,
        db: Database,
        quotes: Quotes,
        *,
        clock: Clock,
        start_krw: Decimal = START_KRW,
        rules: Rules | None = None,
        uuid_factory: Callable[[], str] = new_uuid,
        ticks_stated: Callable[[], Mapping[str, StatedTicks]] = dict,
    ) -> None:
        self._db = db
        self._quotes = quotes
        self._clock = clock
        self._start_krw = start_krw
        self._rules = rules or Rules()
        self._new_uuid = uuid_factory
        self._ticks_stated = ticks_stated
        self._held: _Held | None = None
        self._queue = asyncio.Lock()

    async def place(self, request: OrderRequest) -> Order:
        """Place one order and return it as first shown: `wait`, though it may be filled already.

        Raises Refused (the identifier is used up), NotSent when no order book could be had or the
        account did not open, Ambiguous when nobody confirmed that the order is stored.
        """
        is_told = False
        try:
            async with self._turn(request.market) as turn:
                is_told = True
                order = self._placed(turn, request)
        except (RateLimited, Banned):  # of the quotes: nothing was placed
            raise
        except Transient as exc:
            if is_told:
                raise Ambiguous("the paper order may not be stored") from exc
            raise NotSent("the paper order was not placed", cause=str(exc)) from exc
        return order

    async def order(
        self, *, identifier: str | None = None, uuid: str | None = None
    ) -> Order | None:
        """Return the order with its trades, or None."""
        async with self._turn() as turn:
            if (order := turn.engine.order(uuid=uuid, identifier=identifier)) is not None:
                return order
            body = await rows.body(turn.conn, uuid=uuid, identifier=identifier)
        return None if body is None else from_json(body).order(with_trades=True)

    async def cancel(self, *, identifier: str | None = None, uuid: str | None = None) -> None:
        """Cancel an open order. Raises Refused `order_not_found` for any other."""
        async with self._turn() as turn:
            turn.engine.cancel(uuid=uuid, identifier=identifier, now=turn.now)
            turn.engine.fill_due(turn.now)

    async def open_orders(self, market: str | None = None) -> list[Order]:
        """Every waiting order, without trades, oldest first."""
        async with self._turn() as turn:
            orders = turn.engine.open_orders(market)
        return orders  # noqa: RET504 - not before the commit

    async def closed_orders(self, market: str, start: datetime) -> list[Order]:
        """Finished orders of `market` created since `start`, without trades, oldest first."""
        async with self._db.begin() as conn:
            bodies = await rows.closed_bodies(conn, market=market, start=start)
        return [from_json(body).order() for body in bodies]

    async def accounts(self) -> list[Account]:
        """The currencies that hold something, and KRW."""
        async with self._db.begin() as conn:
            await rows.lock(conn, start_krw=self._start_krw)
            held = await rows.balances(conn)
        return [row for row in held if row.balance + row.locked or row.currency == "KRW"]

    async def chance(self, market: str) -> Chance:
        """Fees, totals and order types of `market`."""
        return chance_of(market, self._rules)

    async def test_order(self, request: OrderRequest) -> None:
        """Check `request` and create nothing. Raises Refused."""
        async with self._turn(request.market) as turn:
            turn.engine.test(request, now=turn.now)

    # -- inside ------------------------------------------------------------------------------

    @staticmethod
    def _placed(turn: _Turn, request: OrderRequest) -> Order:
        """The new order; what is due meets the books at once."""
        try:
            order = turn.engine.place(request, now=turn.now)
        except VenueError as exc:
            if exc.name != "duplicated_identifier" and turn.engine.is_used(request.identifier):
                turn.burnt.append(request.identifier)
            raise
        turn.engine.fill_due(turn.now)
        return order

    @asynccontextmanager
    async def _turn(self, market: str | None = None) -> AsyncIterator[_Turn]:
        """Hold the account, match the books, let the caller act, and store all of it at once.

        A VenueError of the caller becomes Refused after the commit: the books did their part, and
        a used identifier is used. The engine is kept only after the commit: whatever goes wrong
        before, the next turn starts from what the database says.
        """
        refusal: VenueError | None = None
        async with self._queue:
            held, self._held = self._held, None
            books = await self._books(market)
            async with self._db.begin() as conn:
                version = await rows.lock(conn, start_krw=self._start_krw)
                if held is None or held.version != version:
                    held = _Held(await self._restored(conn), version)
                turn = _Turn(conn=conn, engine=held.engine, now=self._clock())
                turn.engine.rules = replace(self._rules, ticks=self._ticks_stated())
                for book in books:
                    turn.engine.on_book(book, now=turn.now)
                try:
                    yield turn
                except VenueError as exc:
                    refusal = exc
                version = await self._saved(turn, version)
            self._held = _Held(turn.engine, version)
        if refusal is not None:
            text = refusal.message or refusal.name
            raise Refused(text, name=refusal.name, status=refusal.status) from refusal

    async def _books(self, market: str | None) -> list[Orderbook]:
        """The books of every market with open orders, and of `market`."""
        async with self._db.begin() as conn:
            markets = await rows.open_markets(conn)
        if market is not None and market not in markets:
            markets.append(market)
        books = await self._quotes.orderbooks(markets) if markets else []
        if market is not None and all(book.market != market for book in books):
            raise Refused("the market has no order book", name="notfoundmarket", status=400)
        return books

    async def _restored(self, conn: AsyncConnection) -> Engine:
        return Engine(
            await rows.balances(conn),
            new_uuid=self._new_uuid,
            rules=self._rules,
            tickets=[from_json(body) for body in await rows.open_bodies(conn)],
            identifiers=await rows.identifiers(conn),
        )

    async def _saved(self, turn: _Turn, version: str) -> str:
        """Store what the turn changed; return the version that the account has now."""
        changes = turn.engine.drain()
        orders = [
            rows.PaperRow(
                uuid=ticket.uuid,
                identifier=ticket.identifier,
                state=ticket.state,
                body=to_json(ticket),
                created_at=ticket.created_at,
            )
            for ticket in changes.tickets
        ]
        orders += [self._burnt_row(identifier, turn.now) for identifier in turn.burnt]
        if not orders and not changes.accounts:
            return version
        return await rows.save(turn.conn, changes.accounts, orders)

    def _burnt_row(self, identifier: str, now: datetime) -> rows.PaperRow:
        return rows.PaperRow(
            uuid=self._new_uuid(),
            identifier=identifier,
            state=rows.REFUSED,
            body={},
            created_at=now,
        )
