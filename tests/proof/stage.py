"""One process that trades: the real job on the real client, its database and exchange watched."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import httpx
from proof.failpoints import Failpoints, WatchedDatabase, WatchedExchange
from proof.venue import MARKET, Account, Control
from sqlalchemy import insert, select

from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.core.job import Incident, Slot
from jobs.orders.account import TradingAccount, new_identifier
from jobs.orders.job import OrdersJob
from jobs.orders.quotes import MarketView
from jobs.orders.reconcile import reconcile
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.store.tables import market_data, signals
from jobs.upbit.client import UpbitClient
from jobs.upbit.http import timeouts
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.signing import Keys

PASS_S = 10
MOST_PASSES = 14
TIMEOUT_S = 5.0
SHORT_TIMEOUT_S = 0.4
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_WRITTEN = (
    *("order_events", "fills", "orders", "signals", "market_data"),
    *("positions", "due_exits", "equity", "settings", "settings_audit"),
)


class Refusing(httpx.AsyncHTTPTransport):
    """A line on which the next request to one route finds nobody."""

    def __init__(self) -> None:
        super().__init__(verify=_NO_TLS)
        self.refused: tuple[str, str] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, unless it is the one."""
        if self.refused == (request.method, request.url.path):
            self.refused = None
            raise httpx.ConnectError("Connection refused")
        return await super().handle_async_request(request)


@dataclass
class Names:
    """Names of new orders; the first may be given."""

    first: str | None = None

    def __call__(self, now: datetime) -> str:
        """The next name."""
        name, self.first = self.first, None
        return name or new_identifier(now)


@dataclass
class Nobody:
    """Nobody listens to alerts here; `kinds` are those told."""

    kinds: list[str] = field(default_factory=list)

    async def notify(self, incident: Incident) -> None:
        """Hear of something."""
        self.kinds.append(incident.kind)

    async def resolve(self, incident: str) -> None:
        """Hear of an end."""


@dataclass(kw_only=True)
class Stage:
    """A process at work. `db` is the database unwatched."""

    db: Database
    control: Control
    client: UpbitClient
    line: Refusing
    job: OrdersJob
    points: Failpoints

    async def one_pass(self) -> None:
        """One run of the job; what it raises is the runner's business, and it tries again."""
        await self.collect()
        slot = Slot(job="orders", scheduled_at=self.control(), run_id="run")
        with suppress(JobError):
            await self.job.run(slot)

    async def collect(self) -> int:
        """Store a snapshot as the market job would."""
        async with self.db.begin() as conn:
            row = insert(market_data).values(
                market=MARKET,
                ts=self.control(),
                price=self.control.price,
                volume_24h=1,
                value_24h=1,
                change_rate=0,
            )
            return int((await conn.execute(row.returning(market_data.c.id))).scalar_one())

    async def signal(self, action: str) -> None:
        """Store a signal as the signals job would."""
        data_id = await self.collect()
        at = self.control()
        async with self.db.begin() as conn:
            row = insert(signals).values(
                market_data_id=data_id,
                market=MARKET,
                action=action,
                confidence=Decimal(1),
                reason="a proof",
                source="rules",
                model="none",
                candle_ts=at,
                created_at=at,
            )
            await conn.execute(row)

    async def is_settled(self, *, is_sale: bool) -> bool:
        """Whether nothing is open, and what was wanted is there."""
        async with self.db.begin() as conn:
            if await order_store.unfinished(conn, "live"):
                return False
            if is_sale:
                return not await position_store.held(conn, "live")
            new = select(signals.c.id).where(signals.c.status == "new")
            return (await conn.execute(new)).first() is None

    async def compare_at_start(self) -> None:
        """What the daemon does before it is ready."""
        with suppress(JobError):
            await reconcile(self.job.desk, self.job.standing, timeout_s=60, deep=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What one process is given. `first_name` is the name of its first order."""

    account: Account
    first_name: str | None = None
    timeout_s: float = TIMEOUT_S
    is_careless: bool = False


@asynccontextmanager
async def open_stage(
    db: Database, control: Control, seat: Seat, points: Failpoints
) -> AsyncIterator[Stage]:
    """A process that has just started, on a venue account and a database that may have a past."""
    line = Refusing()
    async with httpx.AsyncClient(transport=line, timeout=timeouts(seat.timeout_s)) as http:
        client = UpbitClient(
            http,
            base_url=seat.account.base_url,
            keys=Keys(seat.account.access_key, seat.account.secret_key),
            gates=Gates(control),
            limiter=Limiter(limits={group: Limit(10_000) for group in LIMITS}),
            clock=control,
            timeout_s=seat.timeout_s,
        )
        watched = WatchedDatabase.of(db, points)
        exchange = WatchedExchange(inner=client, points=points, is_careless=seat.is_careless)
        desk = TradingAccount(
            db=watched,
            exchange=exchange,
            clock=control,
            notifier=Nobody(),
            mode="live",
            name_order=Names(seat.first_name),
        )
        view = MarketView(db=db, exchange=exchange, quotes=client, clock=control)
        job = OrdersJob(
            desk=desk, view=view, sleep=control.sleep, equity_every=timedelta(minutes=1)
        )
        yield Stage(db=db, control=control, client=client, line=line, job=job, points=points)


async def wipe(db: Database, style: dict[str, str]) -> None:
    """Empty books, and the settings of `style` in force."""
    deletions = "; ".join(f"DELETE FROM {name}" for name in _WRITTEN)  # noqa: S608 - from above
    async with db.begin() as conn:
        await conn.exec_driver_sql(deletions)
    for key, value in style.items():
        await settings_store.write(db, key, value, "proof")
