"""Which markets to work on: the chosen ones, and those the account is still engaged in.

Chosen are those named, all of a quote currency, or the top by turnover. A market that is held or
has an open order stays in the work when it is chosen no longer: its candles, decisions and exits go
on, and no entry is made in it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Protocol

from jobs.core.job import Clock
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


def unknown_names(names: Collection[str], listed: Collection[str]) -> dict[str, str | None]:
    """Those of `names` that are not `listed`, each with the listed one that it looks most like."""
    return {
        name: next(iter(get_close_matches(name, listed, 1)), None)
        for name in names
        if name not in listed
    }


async def nothing_engaged() -> frozenset[str]:
    """No market is held and no order is open."""
    return frozenset()


@dataclass(slots=True, kw_only=True)
class Selection:
    """The markets that every job works on, the same for all of them.

    Chosen: `names` as they are; without any, the `top` by 24 h value in `quote`, or (None) all of
    them, chosen anew every `ttl_s` seconds; never one of `excluded`. `engaged` tells the markets
    with a holding or an open order, which stay in the work.
    """

    listing: Listing
    clock: Clock
    names: tuple[str, ...] = ()
    top: int | None = None
    quote: str = "KRW"
    ttl_s: float = 3600.0
    excluded: frozenset[str] = frozenset()
    engaged: Callable[[], Awaitable[Collection[str]]] = nothing_engaged
    _chosen: tuple[str, ...] = ()
    _chosen_at: datetime | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the markets were named."""
        return bool(self.names)

    async def chosen(self) -> tuple[str, ...]:
        """The markets to enter; asks the exchange when they are to be chosen anew."""
        if not self.is_fixed and self._is_old(self._chosen_at):
            self.offer(await self.listing.all_tickers(self.quote))
        return self._named() or self._chosen

    async def current(self) -> tuple[str, ...]:
        """The markets to work on now: the chosen ones, then the others that are engaged."""
        return self._with_engaged(await self.chosen(), await self.engaged())

    async def offer_and_get(self, tickers: Sequence[Ticker]) -> tuple[str, ...]:
        """The markets to work on now, chosen from these fresh tickers if it is time to."""
        return self._with_engaged(self.offer(tickers), await self.engaged())

    def offer(self, tickers: Sequence[Ticker]) -> tuple[str, ...]:
        """The chosen markets, from these fresh tickers of the whole quote if it is time to."""
        if not self.is_fixed and tickers and self._is_old(self._chosen_at):
            kept = [ticker for ticker in tickers if ticker.market not in self.excluded]
            self._chosen = choose(kept, self.top)
            self._chosen_at = self.clock()
        return self._named() or self._chosen

    async def why_no_entry(self, market: str) -> str | None:
        """Why no entry may be made in `market` as far as the choice goes; None when it may."""
        if market in self.excluded:
            return f"{market} is excluded (trading.exclude)"
        if market not in await self.chosen():
            return f"{market} is not among the chosen markets any more"
        return None

    def _named(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.excluded)

    @staticmethod
    def _with_engaged(chosen: tuple[str, ...], engaged: Collection[str]) -> tuple[str, ...]:
        return chosen + tuple(sorted(set(engaged) - set(chosen)))

    async def called(self) -> Mapping[str, str]:
        """The markets now and the exchange's English name of each (its code where it has none).

        Asks the listing each time: the daemon's remembers.
        """
        markets = await self.current()
        called = {market.market: market.english_name for market in await self.listing.markets()}
        return {market: called.get(market, market) for market in markets}

    def _is_old(self, since: datetime | None) -> bool:
        return since is None or self.clock() - since >= timedelta(seconds=self.ttl_s)
