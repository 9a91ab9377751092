"""Which markets to work on: those named, all of a quote currency, or the top by turnover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.spec import Clock
from jobs.upbit.wire import Market, Ticker


class Listing(Protocol):
    """Where markets are listed: the exchange's client, or a cache before it."""

    async def markets(self) -> list[Market]:
        """Every market there is."""
        ...

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """The last price of every market in `quote`."""
        ...


def choose(tickers: Sequence[Ticker], top: int | None) -> tuple[str, ...]:
    """The `top` markets by 24 h value, dearest first; all of them, by name, when it is None."""
    if top is None:
        return tuple(sorted(ticker.market for ticker in tickers))
    ranked = sorted(tickers, key=lambda ticker: (-ticker.value_24h, ticker.market))
    return tuple(ticker.market for ticker in ranked[:top])


@dataclass(slots=True, kw_only=True)
class Selection:
    """The markets that every job works on, the same for all of them.

    `names` as they are; without any, the `top` by 24 h value in `quote`, or (None) all of them,
    chosen anew every `ttl_s` seconds.
    """

    listing: Listing
    clock: Clock
    names: tuple[str, ...] = ()
    top: int | None = None
    quote: str = "KRW"
    ttl_s: float = 3600.0
    _chosen: tuple[str, ...] = ()
    _chosen_at: datetime | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the markets were named."""
        return bool(self.names)

    async def current(self) -> tuple[str, ...]:
        """The markets now; asks the exchange when they are to be chosen anew."""
        if not self.is_fixed and self._is_old(self._chosen_at):
            self.offer(await self.listing.all_tickers(self.quote))
        return self.names or self._chosen

    def offer(self, tickers: Sequence[Ticker]) -> tuple[str, ...]:
        """The markets now, chosen from these fresh tickers of the whole quote if it is time to."""
        if not self.is_fixed and tickers and self._is_old(self._chosen_at):
            self._chosen = choose(tickers, self.top)
            self._chosen_at = self.clock()
        return self.names or self._chosen

    async def called(self) -> Mapping[str, str]:
        """The markets now and the exchange's English name of each (its code where it has none).

        Asks the listing each time: the daemon's remembers.
        """
        markets = await self.current()
        called = {market.market: market.english_name for market in await self.listing.markets()}
        return {market: called.get(market, market) for market in markets}

    def _is_old(self, since: datetime | None) -> bool:
        return since is None or self.clock() - since >= timedelta(seconds=self.ttl_s)
