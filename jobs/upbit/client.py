"""Every call to Upbit that the daemon makes, with frozen values in and out.

Each method sends one request (lists that come in pages: one per page) and repeats none. All raise
what `jobs.upbit.http.Sender.json` names, and BadData for a body that is not as documented; what
more a method raises stands with it. Implements `jobs.domain.exchange.Exchange` and `Quotes`.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Literal

import httpx

from jobs.core.cooldowns import Gates
from jobs.core.errors import Ambiguous, BadData, Refused, Unauthorized, Unavailable
from jobs.core.http_clients import settings
from jobs.core.job import Clock
from jobs.upbit.absent import AbsentMarkets
from jobs.upbit.errors import is_unnamed, parse_date
from jobs.upbit.http import Call, Sender, open_http
from jobs.upbit.limits import Limiter
from jobs.upbit.lists import ListReader, Page
from jobs.upbit.signing import Keys, Params, Signer
from jobs.upbit.wire import (
    DAY_UNIT,
    Account,
    ApiKey,
    Candle,
    Chance,
    Instrument,
    Market,
    Order,
    Orderbook,
    OrderRequest,
    Ticker,
    parse_chance,
    parse_order,
)

CANDLES_PER_PAGE = 200
OUT_OF_SCOPE = "out_of_scope"
ORDERS_CONNECTIONS = 4
"""What the orders lane has for itself; it makes one call at a time, its paper twin another."""
_UUIDS_PER_CALL = 100
_OPEN_PER_PAGE = 100
_CLOSED_PER_PAGE = 1000
_CLOSED_WINDOW = timedelta(days=7)
_MOST_PAGES = 100
DETAILS = (("is_details", "true"),)


class UpbitClient:
    """One account at Upbit, or with `keys` None its public data alone.

    `timeout_s` bounds each call from its sending to its last byte; waiting for the rate limit comes
    before it and on top.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        orders_http: httpx.AsyncClient | None = None,
        base_url: str,
        keys: Keys | None,
        gates: Gates,
        limiter: Limiter,
        clock: Clock,
        timeout_s: float = 5.0,
    ) -> None:
        self._clock = clock
        self.absent = AbsentMarkets(clock=clock, all_tickers=self.all_tickers)
        self._lists = ListReader(clock=clock, access_key=None if keys is None else keys.access_key)
        self._sender = Sender(
            http,
            orders_http=orders_http,
            base_url=base_url,
            signer=None if keys is None else Signer(keys),
            gates=gates,
            limiter=limiter,
            clock=clock,
            timeout_s=timeout_s,
        )

    # --- quotation -------------------------------------------------------------------------------

    async def markets(self) -> list[Market]:
        """Every market there is, with its warning mark."""
        path = "/v1/market/all"
        return self._lists.markets(path, await self._public("market", path, DETAILS))

    async def tickers(self, markets: Sequence[str]) -> list[Ticker]:
        """The last price of each of `markets` that the exchange has."""

        async def call(names: Sequence[str]) -> list[Ticker]:
            path = "/v1/ticker"
            raw = await self._public("ticker", path, [("markets", ",".join(names))])
            return self._lists.tickers(path, raw, names)

        return await self.absent.ask("ticker", markets, call)

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """The last price of every market in `quote`, in one request."""
        path = "/v1/ticker/all"
        raw = await self._public("ticker", path, [("quote_currencies", quote)])
        return self._lists.every_ticker(path, raw)

    async def candles(
        self, market: str, unit: int, *, to: datetime | None = None, count: int = CANDLES_PER_PAGE
    ) -> Page[Candle]:
        """Up to `count` (1 to 200) candles of `unit` minutes that start before `to`, newest first.

        DAY_UNIT are days. Without `to` the first is the one that is still running. Minutes without
        a trade have none.
        """
        params = [("market", market), ("count", str(count))]
        if to is not None:
            params.append(("to", f"{to.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"))
        path = "/v1/candles/days" if unit == DAY_UNIT else f"/v1/candles/minutes/{unit}"
        raw = await self._public("candle", path, params)
        return self._lists.candles(path, raw, market, unit)

    async def orderbooks(self, markets: Sequence[str]) -> list[Orderbook]:
        """The order book of each of `markets` that the exchange has, best level first."""

        async def call(names: Sequence[str]) -> list[Orderbook]:
            path = "/v1/orderbook"
            raw = await self._public("orderbook", path, [("markets", ",".join(names))])
            return self._lists.orderbooks(path, raw, names)

        return await self.absent.ask("orderbook", markets, call)

    async def instruments(self, markets: Sequence[str]) -> list[Instrument]:
        """The tick size at its present price of each of `markets` that the exchange has."""

        async def call(names: Sequence[str]) -> list[Instrument]:
            path = "/v1/orderbook/instruments"
            raw = await self._public("orderbook", path, [("markets", ",".join(names))])
            return self._lists.instruments(path, raw, names)

        return await self.absent.ask("instruments", markets, call)

    async def server_date(self) -> datetime:
        """The exchange's clock, to the second, at about the middle of the call."""
        params = [("markets", "KRW-BTC")]
        call = Call(method="GET", path="/v1/ticker", group="ticker", params=params)
        header = (await self._sender.send(call)).headers.get("Date")
        if (date := parse_date(header)) is None:
            raise BadData("the answer has no usable Date", value=header)
        return date

    # --- account ---------------------------------------------------------------------------------

    async def accounts(self) -> list[Account]:
        """The balance of every currency held.

        Raises BadData when the row of KRW, or one that names no currency, cannot be read.
        """
        path = "/v1/accounts"
        return self._lists.accounts(path, await self._private("GET", path))

    async def api_keys(self) -> list[ApiKey]:
        """The account's keys and when they expire. Raises BadData when our own cannot be read."""
        path = "/v1/api_keys"
        return self._lists.api_keys(path, await self._private("GET", path))

    async def may_withdraw(self) -> bool | None:
        """Whether the key could withdraw; None when the exchange's answer does not tell.

        Asks to call back a withdrawal that does not exist, under a name made up for it: it needs
        the right to withdraw (the one to see withdrawals says nothing of it) and moves no money.
        """
        call = Call(
            method="DELETE",
            path="/v1/withdraws/coin",
            group="default",
            params=[("uuid", str(uuid.uuid4()))],
            signed=True,
            expected=frozenset({OUT_OF_SCOPE}),
        )
        try:
            await self._sender.json(call)
        except Refused as exc:
            if exc.name == OUT_OF_SCOPE:
                return False
            if "withdraw" in exc.name:
                return True
            if isinstance(exc, Unauthorized):
                raise
        except Unavailable as exc:  # a page of a gateway: perhaps the call is not there any more
            if exc.context.get("status") != HTTPStatus.NOT_FOUND:
                raise
        return None

    async def chance(self, market: str) -> Chance:
        """Fees, minimum totals and order types of `market` for this account."""
        params = [("market", market)]
        return parse_chance(await self._private("GET", "/v1/orders/chance", params))

    # --- orders ----------------------------------------------------------------------------------

    async def place(self, request: OrderRequest) -> Order:
        """Send one order, exactly once, and return it as the exchange first shows it.

        Raises:
            Refused: a named 4xx: not created. `duplicated_identifier` alone means that the
                identifier was used before, so that an order may exist under it.
            NotSent: the connection was never established: not created.
            RateLimited, Banned: 429 or 418, or a closed gate: not created.
            Ambiguous: anything else after sending.
        """
        call = Call(
            method="POST", path="/v1/orders", group="order", params=_body(request), signed=True
        )
        sent = {"identifier": request.identifier, "market": request.market}
        try:
            order = parse_order(await self._sender.json(call))
        except (Unavailable, BadData) as exc:
            raise Ambiguous("the order's answer proves nothing", cause=str(exc), **sent) from exc
        except Refused as exc:
            if is_unnamed(exc):
                raise Ambiguous("somebody refused the order", cause=str(exc), **sent) from exc
            raise
        if order.identifier not in (None, request.identifier):
            raise Ambiguous("the answer is about another order", answered=order.identifier, **sent)
        return order

    async def test_order(self, request: OrderRequest) -> None:
        """Have the exchange check `request` without creating anything; uses no identifier up."""
        params = [pair for pair in _body(request) if pair[0] != "identifier"]
        await self._private("POST", "/v1/orders/test", params, group="order-test")

    async def order(
        self, *, identifier: str | None = None, uuid: str | None = None
    ) -> Order | None:
        """Return the order with its trades, or None when the exchange knows none by that name."""
        try:
            raw = await self._private("GET", "/v1/order", _named(identifier, uuid))
        except Refused as exc:
            if exc.name == "order_not_found":
                return None
            raise
        return parse_order(raw)

    async def orders_by_ids(
        self, *, identifiers: Sequence[str] = (), uuids: Sequence[str] = ()
    ) -> list[Order]:
        """The orders of either list that the exchange knows, without trades."""
        name, ids = ("identifiers[]", identifiers) if identifiers else ("uuids[]", uuids)
        path, found = "/v1/orders/uuids", list[Order]()
        for start in range(0, len(ids), _UUIDS_PER_CALL):
            params = [(name, each) for each in ids[start : start + _UUIDS_PER_CALL]]
            raw = await self._private("GET", path, params)
            found += self._lists.orders(path, raw).rows
        return found

    async def cancel(self, *, identifier: str | None = None, uuid: str | None = None) -> None:
        """Ask for a cancel. Returning means accepted, not done: only a later look tells.

        Raises Refused (`order_not_found`) for an unknown and for a finished order.
        """
        await self._private("DELETE", "/v1/order", _named(identifier, uuid))

    async def open_orders(self, market: str | None = None) -> list[Order]:
        """Every open order of the account, whoever made it, each once; without trades.

        Raises BadData when one that may be ours cannot be read, or when the pages do not end.
        """
        path = "/v1/orders/open"
        params = [] if market is None else [("market", market)]
        params += [("states[]", "wait"), ("states[]", "watch"), ("limit", str(_OPEN_PER_PAGE))]
        # oldest first: new orders come after the page we are at and move nothing
        params.append(("order_by", "asc"))
        found: dict[str, Order] = {}
        for page in range(1, _MOST_PAGES + 1):
            raw = await self._private("GET", path, [*params, ("page", str(page))])
            orders = self._lists.orders(path, raw)
            found |= {order.uuid: order for order in orders.rows}
            if orders.total < _OPEN_PER_PAGE:
                return list(found.values())
        raise BadData("the pages of open orders do not end", pages=_MOST_PAGES)

    async def closed_orders(self, market: str, start: datetime) -> list[Order]:
        """Finished orders of `market` created since `start`, each once; without trades."""
        found: dict[str, Order] = {}
        now = self._clock()
        while start < now:
            end = min(start + _CLOSED_WINDOW, now + timedelta(seconds=1))
            await self._closed_between(market, start, end, found)
            start = end
        return list(found.values())

    async def _closed_between(
        self, market: str, start: datetime, end: datetime, found: dict[str, Order]
    ) -> None:
        """Add the finished orders of one window to `found`, page by page from the newest."""
        while True:
            params = [
                ("market", market),
                ("states[]", "done"),
                ("states[]", "cancel"),
                ("start_time", _iso(start)),
                ("end_time", _iso(end)),
                ("limit", str(_CLOSED_PER_PAGE)),
                ("order_by", "desc"),
            ]
            path = "/v1/orders/closed"
            orders = self._lists.orders(path, await self._private("GET", path, params))
            fresh = {order.uuid: order for order in orders.rows if order.uuid not in found}
            found |= fresh
            if orders.total < _CLOSED_PER_PAGE or not fresh:
                return
            # there are no page numbers: what is left was created before the oldest seen, or with it
            end = min(order.created_at for order in orders.rows) + timedelta(seconds=1)

    async def _public(self, group: str, path: str, params: Params) -> object:
        return await self._sender.json(Call(method="GET", path=path, group=group, params=params))

    async def _private(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        params: Params = (),
        *,
        group: str = "default",
    ) -> object:
        call = Call(method=method, path=path, group=group, params=params, signed=True)
        return await self._sender.json(call)


@asynccontextmanager
async def open_client(
    *,
    base_url: str,
    keys: Keys | None,
    gates: Gates,
    limiter: Limiter,
    clock: Clock,
    timeout_s: float = 5.0,
    max_connections: int = 20,
) -> AsyncIterator[UpbitClient]:
    """A client with connections of its own, which are closed at the end.

    The orders lane has `ORDERS_CONNECTIONS` for itself, beside the `max_connections` of all others.
    """
    how = settings(base_url)
    async with (
        open_http(how, timeout_s=timeout_s, max_connections=max_connections) as http,
        open_http(how, timeout_s=timeout_s, max_connections=ORDERS_CONNECTIONS) as orders_http,
    ):
        yield UpbitClient(
            http,
            orders_http=orders_http,
            base_url=base_url,
            keys=keys,
            gates=gates,
            limiter=limiter,
            clock=clock,
            timeout_s=timeout_s,
        )


def _plain(value: Decimal) -> str:
    """A number without an exponent: nobody knows whether the exchange would take one."""
    return format(value, "f")


def _body(request: OrderRequest) -> list[tuple[str, str]]:
    fields = (
        ("market", request.market),
        ("side", request.side),
        ("volume", None if request.volume is None else _plain(request.volume)),
        ("price", None if request.price is None else _plain(request.price)),
        ("ord_type", request.ord_type),
        ("identifier", request.identifier),
        ("time_in_force", request.time_in_force),
        ("smp_type", request.smp_type),
    )
    return [(name, value) for name, value in fields if value is not None]


def _named(identifier: str | None, uuid: str | None) -> Params:
    if uuid is not None:
        return [("uuid", uuid)]
    if identifier is None:
        raise ValueError("an order has to be named by its identifier or its uuid")
    return [("identifier", identifier)]


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds")
