"""Markets that are gone: held or chosen, and in none of the exchange's lists any more.

A delisted or renamed market has no price and takes no orders: its holding is valued at the last
stored price, its exits cannot be carried out, and a person hears of it once. All other markets go
on. One answer proves nothing: it has to be absent from the list of markets and from all tickers.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from jobs.core.job import Incident, Notifier
from jobs.store.alerts import open_incidents
from jobs.store.db import Database
from jobs.upbit.wire import Market

KIND = "market_gone"


@dataclass(slots=True, kw_only=True)
class DelistingWatch:
    """Tells of markets that are gone, and of their return.

    `wanted` are the markets that are worked on, `held` those with a holding or an open order;
    `listed` asks for the exchange's list now, `unquoted` is what all tickers do not name.
    """

    db: Database
    notifier: Notifier
    wanted: Callable[[], Awaitable[Collection[str]]]
    held: Callable[[], Awaitable[Collection[str]]]
    listed: Callable[[], Awaitable[Sequence[Market]]]
    unquoted: Callable[[], Collection[str]]
    _told: set[str] | None = None

    async def watch(self) -> None:
        """Look once. Raises JobError when the list of markets cannot be had."""
        held = set(await self.held())
        wanted = held | set(await self.wanted())
        unquoted = wanted & set(self.unquoted())
        if self._told is None:  # a new process: what an earlier one told of may be over
            self._told = {key.partition(":")[2] for key in await open_incidents(self.db, KIND)}
        if not unquoted | self._told:
            return
        listed = {market.market for market in await self.listed()}
        gone = unquoted - listed
        for market in sorted(gone - self._told):
            await self.notifier.notify(_incident(market, is_held=market in held))
        back = {market for market in self._told if market in listed or market not in wanted}
        for market in sorted(back):
            await self.notifier.resolve(f"{KIND}:{market}")
        self._told = (self._told | gone) - back


def _incident(market: str, *, is_held: bool) -> Incident:
    if is_held:
        message = (
            f"{market} is held and the exchange does not list it any more: it has no price and "
            "takes no orders, so its exits are off; it counts at its last stored price"
        )
        advice = (
            "Read Upbit's notice and move the coins in time; then "
            f"`upbitd positions settle {market}` writes the books down"
        )
    else:
        message = f"{market} is among the markets to trade and the exchange does not list it"
        advice = "Mend or remove its name in trading.markets"
    return Incident(
        kind=KIND,
        severity="critical" if is_held else "warning",
        incident=f"{KIND}:{market}",
        title=f"{market} is not at the exchange",
        message=message,
        job="market",
        market=market,
        advice=advice,
    )
