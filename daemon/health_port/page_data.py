"""The page's board: read from the database at most every two seconds, and kept.

The board outlives the database: while that is away the page shows the newest board there was, and
says so.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from health.page_model import (
    Board,
    BoardState,
    CostToday,
    EquityPoint,
    JobRow,
    OrderRow,
    PositionRow,
    SignalRow,
)
from health.routes import NoAnswer
from jobs.cache.snapshots import Snapshots
from jobs.core.errors import Transient
from jobs.core.job import Clock
from jobs.store.db import Database
from jobs.store.page_queries import Lines, Wanted, lines

T = TypeVar("T")

SPAN = timedelta(hours=24)
FRESH = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose board it is. `schedules` maps each job to a text such as "every 1m", in order;
    `day_of` gives the budget day of an instant.
    """

    mode: str
    schedules: Mapping[str, str]
    budget_usd: Decimal
    day_of: Callable[[datetime], date]


@dataclass(slots=True, kw_only=True)
class Dashboard:
    """Reads the board; several askers at once share one reading.

    `snapshots` gives the prices beside positions: shown, and nothing else.
    """

    db: Database
    snapshots: Snapshots
    scope: Scope
    clock: Clock
    _board: Board | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def current(self) -> Board:
        """A board not older than two seconds. Raises Transient while the database is away."""
        async with self._lock:
            now = self.clock()
            if self._board is None or not timedelta() <= now - self._board.at < FRESH:
                read = await lines(self.db, self._wanted(now))
                seen = await self.snapshots.latest([each.market for each in read.positions])
                prices = {market: each.price for market, each in seen.items()}
                self._board = _as_board(read, prices, self.scope, now)
            return self._board

    def newest(self) -> Board | None:
        """The newest board that was read, however old. Thread-safe."""
        return self._board

    def _wanted(self, now: datetime) -> Wanted:
        return Wanted(
            mode=self.scope.mode,
            jobs=tuple(self.scope.schedules),
            day=self.scope.day_of(now),
            since=now - SPAN,
        )


def board_state(dashboard: Dashboard, ask: Callable[[], Board]) -> Callable[[], BoardState]:
    """What the page asks for: `ask` (usually `on_loop(loop, dashboard.current)`), and when it does
    not answer the newest board with the reason.
    """

    def state() -> BoardState:
        try:
            return BoardState(board=ask())
        except (NoAnswer, Transient) as exc:
            return BoardState(board=dashboard.newest(), fault=str(exc))

    return state


def _as_board(read: Lines, prices: Mapping[str, Decimal], scope: Scope, now: datetime) -> Board:
    return Board(
        at=now,
        jobs=[JobRow(**asdict(each), schedule=scope.schedules[each.name]) for each in read.jobs],
        signals=_rows(SignalRow, read.signals),
        orders=_rows(OrderRow, read.orders),
        positions=[
            PositionRow(**asdict(each), last_price=prices.get(each.market))
            for each in read.positions
        ],
        equity=_rows(EquityPoint, read.equity),
        cost=CostToday(**asdict(read.cost), budget_usd=scope.budget_usd),
    )


def _rows(kind: Callable[..., T], read: Sequence[Any]) -> list[T]:
    """The store's lines as the page's rows; they have the same fields."""
    return [kind(**asdict(each)) for each in read]
