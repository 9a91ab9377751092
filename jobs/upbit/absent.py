"""Lists of markets of which some may be gone: one that is fails the call for all the others.

`/v1/ticker`, `/v1/orderbook` and `/v1/orderbook/instruments` answer 404 as soon as one of the named
markets is delisted or renamed. Then all tickers are asked, which names what there is, and the list
again without the rest; where even that is refused the list is divided. What was found to be gone
is left out for a minute, so that a pass does not ask three times.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

from loguru import logger

from jobs.core.errors import Refused
from jobs.core.job import Clock
from jobs.upbit.ticks import quote_of
from jobs.upbit.wire import Ticker

T = TypeVar("T")

LEFT_OUT = timedelta(minutes=1)
EVERYWHERE = "*"
"""For all lists: the exchange has no ticker of it."""


@dataclass(slots=True, kw_only=True)
class AbsentMarkets:
    """Which markets the exchange does not name, as one client has learnt.

    `all_tickers` gives the tickers of all markets of some quote currencies.
    """

    clock: Clock
    all_tickers: Callable[[str], Awaitable[list[Ticker]]]
    _until: dict[tuple[str, str], datetime] = field(default_factory=dict)

    @property
    def unquoted(self) -> frozenset[str]:
        """Markets of which a look at all tickers has shown none, in the last minute."""
        return frozenset(
            market
            for what, market in self._until
            if what == EVERYWHERE and self._is_known((what, market))
        )

    async def ask(
        self, what: str, markets: Sequence[str], call: Callable[[Sequence[str]], Awaitable[list[T]]]
    ) -> list[T]:
        """What `call` returns for those of `markets` that the exchange has. `what` names the list.

        Raises what `call` raises, but a 404 only where dividing the list leads to nothing.
        """
        names = [market for market in markets if not self._is_out(what, market)]
        if not names:
            return []
        try:
            return await call(names)
        except Refused as exc:
            if exc.status != HTTPStatus.NOT_FOUND:
                raise
        there = {each.market for each in await self.all_tickers(_quotes(names))}
        self._leave_out(EVERYWHERE, [market for market in names if market not in there])
        rest = [market for market in names if market in there]
        calls = _Calls(left=4 * math.ceil(math.log2(len(names) + 1)) + 4)
        return await self._divide(what, rest, call, calls) if rest else []

    async def _divide(
        self,
        what: str,
        names: Sequence[str],
        call: Callable[[Sequence[str]], Awaitable[list[T]]],
        calls: "_Calls",
    ) -> list[T]:
        """Ask for all of `names`; when that is refused as well, for each half."""
        calls.left -= 1
        try:
            return await call(names)
        except Refused as exc:
            # a list that is refused whatever it names is no matter of one market
            if exc.status != HTTPStatus.NOT_FOUND or calls.left <= 0:
                raise
        if len(names) == 1:
            self._leave_out(what, names)
            return []
        half = len(names) // 2
        first = await self._divide(what, names[:half], call, calls)
        return first + await self._divide(what, names[half:], call, calls)

    def _is_out(self, what: str, market: str) -> bool:
        return self._is_known((EVERYWHERE, market)) or self._is_known((what, market))

    def _is_known(self, key: tuple[str, str]) -> bool:
        now, until = self.clock(), self._until.get(key)
        return until is not None and now < until <= now + LEFT_OUT

    def _leave_out(self, what: str, markets: Iterable[str]) -> None:
        now = self.clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        for market in markets:
            if (what, market) not in self._until:
                logger.bind(event="market.absent", market=market, list=what).warning(
                    "The exchange does not have a market: it is left out"
                )
            self._until[what, market] = now + LEFT_OUT


@dataclass(slots=True)
class _Calls:
    """How many more calls dividing a list may take."""

    left: int


def _quotes(markets: Iterable[str]) -> str:
    return ",".join(sorted({quote_of(market) for market in markets}))
