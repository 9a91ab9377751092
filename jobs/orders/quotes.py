"""What markets show and allow now: prices, order books, the age of stored data, order rules."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.core.errors import JobError
from jobs.core.job import Clock
from jobs.domain.exchange import Exchange, Quotes
from jobs.domain.ledger import EXACT
from jobs.domain.portfolio import Money
from jobs.store import candles, market_data
from jobs.store.db import Database
from jobs.store.market_data import Snapshot
from jobs.upbit import ticks
from jobs.upbit.ticks import NONE_STATED, StatedTicks
from jobs.upbit.wire import Chance, Orderbook

MINUTE = timedelta(minutes=1)
_NO_MAXIMUM = Decimal(1_000_000_000)


async def _published(_: str) -> StatedTicks:
    """The table holds for every market."""
    return NONE_STATED


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """The public side of the venue, the account's balances, and what the market job stored.

    A market's order rules are asked for once in `chance_ttl_s`; `ticks_of` gives the price steps
    that the exchange stated for it.
    """

    db: Database
    exchange: Exchange
    quotes: Quotes
    clock: Clock
    data_max_age_s: float = 180.0
    chance_ttl_s: float = 3600.0
    ticks_of: Callable[[str], Awaitable[StatedTicks]] = _published
    _chances: dict[str, tuple[datetime, Chance]] = field(default_factory=dict)
    _coins: set[str] = field(default_factory=set, init=False)

    async def prices(self, markets: Collection[str]) -> dict[str, Decimal]:
        """The last price of each of `markets`, asked now."""
        if not markets:
            return {}
        seen = await self.quotes.tickers(sorted(markets))
        return {ticker.market: ticker.price for ticker in seen}

    async def books(self, markets: Collection[str]) -> dict[str, Orderbook]:
        """The order book of each of `markets`, asked now."""
        if not markets:
            return {}
        seen = await self.quotes.orderbooks(sorted(markets))
        return {book.market: book for book in seen}

    async def recent(self, stored: Mapping[str, Snapshot]) -> dict[str, Decimal]:
        """What each market cost a moment before now: a second figure beside its last trade.

        The close of the newest finished minute, as long as stored data counts as fresh; in a
        market that had no trade since, the price of the stored snapshot.
        """
        if not stored:
            return {}
        now = self.clock()
        oldest = now - timedelta(seconds=self.data_max_age_s)
        closes = await candles.last_closes(self.db, sorted(stored), oldest - MINUTE, now - MINUTE)
        return {**{name: snap.price for name, snap in stored.items()}, **closes}

    async def stored(self, markets: Collection[str]) -> Mapping[str, Snapshot]:
        """The newest stored snapshot of each of `markets`, however old.

        Read from Postgres, never through a cache: what stands in a Redis can be written by others,
        and these prices sell holdings and pass the check for stale data.
        """
        return await market_data.latest(self.db, sorted(markets)) if markets else {}

    def fresh(self, stored: Mapping[str, Snapshot]) -> dict[str, Decimal]:
        """The prices of those snapshots that are young enough to act on."""
        oldest = self.clock() - timedelta(seconds=self.data_max_age_s)
        return {name: snap.price for name, snap in stored.items() if snap.ts >= oldest}

    async def money(self) -> Money:
        """The account's balances, asked now; asked twice where a coin has gone since the last time.

        A coin without a row is one of which there is none, and that sells nothing and frees a place
        for an entry: one answer with a row too few is not enough to believe it.
        """
        at = self.clock()
        accounts = {each.currency: each for each in await self.exchange.accounts()}
        if not self._coins <= accounts.keys():
            accounts = {each.currency: each for each in await self.exchange.accounts()}
        self._coins.clear()
        self._coins.update(accounts)
        krw = accounts.get("KRW")
        return Money(
            free_krw=Decimal(0) if krw is None else krw.balance,
            total_krw=Decimal(0) if krw is None else EXACT.add(krw.balance, krw.locked),
            at=at,
            free_volumes={name: each.balance for name, each in accounts.items()},
            total_volumes={n: EXACT.add(a.balance, a.locked) for n, a in accounts.items()},
            unread=frozenset(name for name, each in accounts.items() if not each.is_readable),
        )

    async def chance(self, market: str) -> Chance:
        """The market's order rules for this account, at most `chance_ttl_s` old."""
        known = self._chances.get(market)
        now = self.clock()
        if known is not None and (now - known[0]).total_seconds() < self.chance_ttl_s:
            return known[1]
        chance = await self.exchange.chance(market)
        self._chances[market] = (now, chance)
        return chance

    async def exit_chance(self, market: str) -> Chance:
        """The market's order rules, or the published ones: an exit does not wait for the venue."""
        try:
            return await self.chance(market)
        except JobError:
            return published_chance(market)


def published_chance(market: str) -> Chance:
    """Totals from the published table; no fee, no order types, believed to be active."""
    return Chance(
        market=market,
        bid_fee=Decimal(0),
        ask_fee=Decimal(0),
        bid_min_total=ticks.min_total(market),
        ask_min_total=ticks.min_total(market),
        max_total=ticks.max_total(market) or _NO_MAXIMUM,
        state="active",
        bid_types=(),
        ask_types=(),
    )
