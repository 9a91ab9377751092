"""Which markets the exchange lists, remembered: it changes a few times a week.

Only names and warnings: what an order must obey (tick size, minimum total, state of the market) is
asked for by jobs/orders/quotes.py. Remembered by this process alone: a name goes into the model's
prompt and a warning decides about entries, so neither may come from a Redis that others can write.
"""

from dataclasses import dataclass
from typing import Protocol

from jobs.cache.cache import Cache, cached
from jobs.upbit.wire import Market, Ticker


class Exchange(Protocol):
    """Who lists markets."""

    async def markets(self) -> list[Market]:
        """Every market there is."""
        ...

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """The last price of every market in `quote`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedListing:
    """The exchange's list of markets through a cache; `venue` names the exchange in its key."""

    exchange: Exchange
    cache: Cache[list[Market]]
    venue: str

    async def markets(self) -> list[Market]:
        """Every market there is, as old as the cache allows."""
        ask = cached(self.cache, key=lambda: self.venue)(self.exchange.markets)
        return await ask()

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """The last price of every market in `quote`, asked now."""
        return await self.exchange.all_tickers(quote)
