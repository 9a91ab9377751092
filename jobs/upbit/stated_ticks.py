"""The price steps that the exchange states, where they differ from the published table.

The exchange tells a market's tick at its present price only, so a statement holds for the band of
prices that this price is in. It is asked for once an hour, and again after an order was refused for
its price. A difference from the table is told once.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from loguru import logger

from jobs.core.errors import JobError
from jobs.core.job import Clock
from jobs.upbit.ticks import NONE_STATED, StatedTicks, band_floor, quote_of, tick_size
from jobs.upbit.wire import Instrument, Ticker

EVERY = timedelta(hours=1)
AGAIN = timedelta(minutes=5)
"""When what did not come, or proved nothing, is asked for again (an order asks at once)."""

WITHIN_S = 3.0
REFUSED = "invalid_price"
"""How the names of refusals for a price off the tick begin (`invalid_price_bid`)."""

WIDEST = Decimal("0.1")
"""The largest tick that is believed, as a share of the price."""


class Exchange(Protocol):
    """Who states ticks."""

    async def instruments(self, markets: Sequence[str]) -> list[Instrument]:
        """The tick of each of `markets` at its present price."""
        ...

    async def all_tickers(self, quote: str = "KRW") -> list[Ticker]:
        """The last price of every market in `quote`."""
        ...


@dataclass(slots=True, kw_only=True)
class TickWatch:
    """What the exchange stated, and when it was asked."""

    exchange: Exchange
    clock: Clock
    _stated: dict[str, dict[Decimal, Decimal]] = field(default_factory=dict)
    _asked_at: dict[str, datetime] = field(default_factory=dict)
    _tried_at: dict[str, datetime] = field(default_factory=dict)
    _doubted: set[str] = field(default_factory=set)
    _told: set[tuple[str, Decimal, Decimal]] = field(default_factory=set)

    @property
    def stated(self) -> Mapping[str, StatedTicks]:
        """All that was stated, by market."""
        return self._stated

    async def of(self, market: str) -> StatedTicks:
        """The ticks of `market`; asks first when a price of ours was refused. Raises nothing."""
        if market in self._doubted:
            try:
                async with asyncio.timeout(WITHIN_S):  # an exit waits for it
                    await self.ask([market])
            except (JobError, TimeoutError) as exc:
                logger.bind(event="market.no_ticks", market=market, error=str(exc)).warning(
                    "The tick of a market did not come"
                )
        return self._stated.get(market, NONE_STATED)

    def learn(self, market: str, refusal: str | None) -> None:
        """Take note of the name of a refusal: one for the price casts doubt on the tick."""
        if refusal is not None and refusal.startswith(REFUSED):
            self._doubted.add(market)

    async def watch(self, markets: Collection[str]) -> None:
        """Ask about those of `markets` whose tick is doubted or older than an hour."""
        now = self.clock()
        due = [market for market in sorted(markets) if self._is_due(market, now)]
        if due:
            await self.ask(due)

    async def ask(self, markets: Sequence[str]) -> None:
        """Ask now. A price that changed its band meanwhile proves nothing and is left for later."""
        self._tried_at |= dict.fromkeys(markets, self.clock())
        before = await self._prices(markets)
        found = await self.exchange.instruments(markets)
        after = await self._prices(markets)
        now = self.clock()
        for each in found:
            prices = before.get(each.market), after.get(each.market)
            if (floor := _common_band(each.market, *prices)) is not None:
                self._note(each, floor, prices[1] or Decimal(0))
                self._asked_at[each.market] = now
                self._doubted.discard(each.market)

    def _is_due(self, market: str, now: datetime) -> bool:
        asked_at = self._asked_at.get(market)
        tried_at = self._tried_at.get(market)
        if tried_at is not None and timedelta() <= now - tried_at < AGAIN:
            return False
        if asked_at is None or market in self._doubted:
            return True
        return not timedelta() <= now - asked_at < EVERY

    async def _prices(self, markets: Sequence[str]) -> Mapping[str, Decimal]:
        quotes = ",".join(sorted({quote_of(market) for market in markets}))
        return {each.market: each.price for each in await self.exchange.all_tickers(quotes)}

    def _note(self, each: Instrument, floor: Decimal, price: Decimal) -> None:
        table = tick_size(each.market, price)
        if each.tick_size <= 0 or each.tick_size > max(table, price * WIDEST):
            self._tell_once(each, floor, table, "The exchange states a tick that cannot be")
            return
        self._stated.setdefault(each.market, {})[floor] = each.tick_size
        if each.tick_size != table:
            self._tell_once(each, floor, table, "The exchange's tick is not the published one")

    def _tell_once(self, each: Instrument, floor: Decimal, table: Decimal, message: str) -> None:
        if (key := (each.market, floor, each.tick_size)) not in self._told:
            self._told.add(key)
            logger.bind(
                event="market.tick_differs",
                market=each.market,
                from_price=str(floor),
                stated=str(each.tick_size),
                table=str(table),
            ).warning(message)


def _common_band(market: str, before: Decimal | None, after: Decimal | None) -> Decimal | None:
    if before is None or after is None:
        return None
    floor = band_floor(market, after)
    return floor if band_floor(market, before) == floor else None
