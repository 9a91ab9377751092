"""Which markets the exchange lists, remembered: it changes a few times a week.

Only names and warnings: what an order must obey (tick size, minimum total, state of the market) is
asked for by jobs/trading/view.py.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from jobs.store.cache import Cache, cached
from jobs.store.shared_tier import Codec
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


def _encode(markets: list[Market]) -> object:
    return [[each.market, each.korean_name, each.english_name, each.warning] for each in markets]


def _decode(raw: Any) -> list[Market]:
    markets = [
        Market(market=market, korean_name=korean, english_name=english, warning=warning is True)
        for market, korean, english, warning in raw
    ]
    if not all(isinstance(each.market + each.english_name, str) for each in markets):
        raise TypeError("no market")
    return markets


CODEC: Codec[list[Market]] = Codec(encode=_encode, decode=_decode)
"""Markets as JSON; nothing else is taken for one."""
