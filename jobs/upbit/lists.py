"""List answers row by row: an odd row is left out, named once and counted, and costs no other row.

Strict where a row left out would be taken as proof: KRW, our own orders, our own key.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from operator import attrgetter
from typing import TypeVar

from loguru import logger

from jobs.core.errors import BadData
from jobs.core.job import Clock
from jobs.upbit.fields import Readable, readable
from jobs.upbit.wire import (
    KRW,
    Account,
    ApiKey,
    Candle,
    Instrument,
    Market,
    Order,
    Orderbook,
    Ticker,
    may_be_ours,
    parse_account,
    parse_api_key,
    parse_candle,
    parse_instrument,
    parse_market,
    parse_order,
    parse_orderbook,
    parse_ticker,
    unreadable_account,
)

MOST_NAMED = 500
"""Named rows that one process remembers: whoever sends ever new odd names fills no log."""
CLOCKS_DIFFER = timedelta(minutes=1)

T = TypeVar("T")
Priced = TypeVar("Priced", Ticker, Orderbook)
OfMarket = TypeVar("OfMarket", Ticker, Orderbook, Instrument, Candle)


class Page(list[T]):
    """The rows of a page that could be read; `odd` counts the others: the page proves less."""

    odd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListReader:
    """Reads the lists of one client; `access_key` is ours, None without keys."""

    clock: Clock
    access_key: str | None = None
    _named: set[tuple[str, ...]] = field(default_factory=set)

    def markets(self, path: str, raw: object) -> list[Market]:
        """Every market that can be read: one that is not listed takes no entries."""
        return self._rows(path, raw, parse_market)

    def every_ticker(self, path: str, raw: object) -> list[Ticker]:
        """The last prices of all markets."""
        return [self._not_ahead(row) for row in self._rows(path, raw, parse_ticker)]

    def tickers(self, path: str, raw: object, markets: Collection[str]) -> list[Ticker]:
        """The last prices of the markets that were asked for, and of no other."""
        found = self._rows(path, raw, _asked(parse_ticker, markets))
        return [self._not_ahead(row) for row in found]

    def orderbooks(self, path: str, raw: object, markets: Collection[str]) -> list[Orderbook]:
        """The books of the markets that were asked for, and of no other."""
        found = self._rows(path, raw, _asked(parse_orderbook, markets))
        return [self._not_ahead(row) for row in found]

    def instruments(self, path: str, raw: object, markets: Collection[str]) -> list[Instrument]:
        """The ticks of the markets that were asked for, and of no other."""
        return self._rows(path, raw, _asked(parse_instrument, markets))

    def candles(self, path: str, raw: object, market: str, unit: int) -> Page[Candle]:
        """The candles of one page."""

        def parse(row: object) -> Candle:
            return parse_candle(row, unit=unit)

        names = ("market", "candle_date_time_utc")
        found = self._readable(
            path, raw, _asked(parse, {market}), named_by=names, key=attrgetter("ts")
        )
        page = Page(sorted(found.rows, key=attrgetter("ts"), reverse=True))
        page.odd = len(found.odd)
        return page

    def accounts(self, path: str, raw: object) -> list[Account]:
        """Every balance; a coin whose amounts cannot be read says so instead of being absent."""

        def parse(row: object) -> Account:
            try:
                return parse_account(row)
            except BadData as exc:
                left = unreadable_account(row)
                if left.currency == KRW:
                    raise
                exc.context["currency"] = left.currency
                self._left_out(path, [exc])
                return left

        key = attrgetter("currency")  # two rows of one coin: nobody knows which one holds
        return readable(raw, parse, named_by=("currency",), must=lambda _: True, key=key).rows

    def api_keys(self, path: str, raw: object) -> list[ApiKey]:
        """The keys. Raises BadData when our own cannot be read."""

        def is_ours(row: object) -> bool:
            return isinstance(row, dict) and row.get("access_key") == self.access_key

        # half of a secret is no name for a row
        key = attrgetter("access_key")
        return self._readable(path, raw, parse_api_key, named_by=(), must=is_ours, key=key).rows

    def orders(self, path: str, raw: object) -> Readable[Order]:
        """Orders; an odd one of somebody else's is left out, one that may be ours is BadData."""
        names = ("market", "uuid")
        key = attrgetter("uuid")
        return self._readable(path, raw, parse_order, named_by=names, must=may_be_ours, key=key)

    def _rows(self, path: str, raw: object, parse: Callable[[object], T]) -> list[T]:
        return self._readable(path, raw, parse).rows

    def _readable(
        self,
        path: str,
        raw: object,
        parse: Callable[[object], T],
        *,
        named_by: Collection[str] = ("market",),
        must: Callable[[object], bool] = lambda _: False,
        key: Callable[[T], object] = attrgetter("market"),
    ) -> Readable[T]:
        found = readable(raw, parse, named_by=named_by, must=must, key=key)
        self._left_out(path, found.odd)
        return found

    def _left_out(self, path: str, errors: Iterable[BadData]) -> None:
        """Name what is new, and count all (the event is counted, whatever its level)."""
        for error in errors:
            names = {name: value for name, value in error.context.items() if name != "value"}
            key = (path, str(error.args[0]), str(names))
            is_new = key not in self._named and len(self._named) < MOST_NAMED
            if is_new:
                self._named.add(key)
            logger.bind(event="upbit.odd_row", path=path, error=str(error), **names).log(
                "WARNING" if is_new else "DEBUG",
                "A row of an answer cannot be read and is left out; the others are used",
            )

    def _not_ahead(self, row: Priced) -> Priced:
        """The row as of now when it claims to be of the future: it would never be old."""
        now = self.clock()
        return replace(row, ts=now) if row.ts > now + CLOCKS_DIFFER else row


def _asked(
    parse: Callable[[object], OfMarket], markets: Collection[str]
) -> Callable[[object], OfMarket]:
    """`parse`, which finds a row odd that is about another market than those asked for."""

    def checked(raw: object) -> OfMarket:
        row = parse(raw)
        if row.market not in markets:
            raise BadData("a row about a market that was not asked for")
        return row

    return checked
