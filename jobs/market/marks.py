"""What the exchange marks its markets with: the warning before a delisting, and caution marks.

A market under a warning takes no new exposure unless `trading.allow_warned` says so; a held one is
told of until the warning ends or the holding does. Marks come from the exchange itself, never from
a shared cache: whoever writes to one could hide a warning.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from jobs.candles.selection import unknown_names
from jobs.core.errors import JobError
from jobs.core.job import Clock, Incident, Notifier
from jobs.store import markets as market_store
from jobs.store.alerts import open_incidents
from jobs.store.db import Database
from jobs.upbit.wire import Market

KIND = "market_warning"
AGAIN = timedelta(minutes=1)
TRUSTED = timedelta(hours=1)


class Exchange(Protocol):
    """Who lists markets."""

    async def markets(self) -> list[Market]:
        """Every market there is, with its marks."""
        ...


@dataclass(slots=True, kw_only=True)
class MarketMarks:
    """The marks of all markets, asked for again when they are older than a minute.

    `held` tells the markets that the account holds, `named` are those of the configuration.
    Marks that cannot be had anew are trusted for
    an hour; after that nobody knows whether a market is warned, and nobody enters.
    """

    exchange: Exchange
    db: Database
    clock: Clock
    notifier: Notifier
    held: Callable[[], Awaitable[Collection[str]]]
    allow_warned: bool = False
    named: frozenset[str] = frozenset()
    _marks: Mapping[str, Market] = field(default_factory=dict)
    _asked_at: datetime | None = None
    _stored: Mapping[str, Market] = field(default_factory=dict)
    _told: set[str] | None = None
    _unknown: frozenset[str] = frozenset()

    async def current(self) -> Mapping[str, Market]:
        """Every listed market by its code. Raises what asking raises once nothing is trusted."""
        if self._is_younger_than(AGAIN):
            return self._marks
        try:
            listed = await self.exchange.markets()
        except JobError as exc:
            if not self._is_younger_than(TRUSTED):
                raise
            logger.bind(event="market.no_marks", error=str(exc)).warning(
                "The marks of markets did not come; those of before are used"
            )
        else:
            self._marks = {market.market: market for market in listed}
            self._asked_at = self.clock()
        return self._marks

    async def why_no_entry(self, market: str) -> str | None:
        """Why `market` takes no new exposure as far as its marks go; None when it does."""
        found = (await self.current()).get(market)
        if found is None:
            return f"the exchange does not list {market}"
        if found.warning and not self.allow_warned:
            return f"{market} is under the exchange's warning (trading.allow_warned = false)"
        return None

    async def watch(self) -> None:
        """Store what changed, and tell of warnings on what is held. Raises JobError."""
        marks = await self.current()
        self._tell_unknown(marks)
        if marks != self._stored:
            await market_store.save(self.db, marks.values())
            self._stored = marks
        held = await self.held()
        warned = {name for name in held if name in marks and marks[name].warning}
        if self._told is None:  # a new process: what an earlier one told of may be over
            self._told = {key.partition(":")[2] for key in await open_incidents(self.db, KIND)}
        warned |= {name for name in held if name in self._told and name not in marks}  # no proof
        for name in sorted(warned - self._told):
            await self.notifier.notify(_incident(marks[name]))
        for name in sorted(self._told - warned):
            await self.notifier.resolve(f"{KIND}:{name}")
        self._told = warned

    def _tell_unknown(self, marks: Mapping[str, Market]) -> None:
        unknown = unknown_names(self.named, marks)
        for name, nearest in unknown.items():
            if name not in self._unknown:
                logger.bind(event="market.unknown", market=name, nearest=nearest).error(
                    "The configuration names a market that the exchange does not list"
                )
        self._unknown = frozenset(unknown)

    def _is_younger_than(self, limit: timedelta) -> bool:
        if self._asked_at is None:
            return False
        return timedelta() <= self.clock() - self._asked_at < limit


def _incident(market: Market) -> Incident:
    marks = ", ".join(market.cautions)
    return Incident(
        kind=KIND,
        severity="warning",
        incident=f"{KIND}:{market.market}",
        title=f"{market.market} is held and under the exchange's warning",
        message=f"Upbit has put a warning on {market.market}: it may be delisted"
        + (f"; caution marks: {marks}" if marks else ""),
        job="market",
        market=market.market,
        advice="Read Upbit's notice. Stop-losses and sell signals go on; sell while it is traded",
    )
