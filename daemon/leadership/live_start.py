"""What a start in live mode needs: a person's word, once, and that people are told.

The word is remembered as a file in the state directory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from sqlalchemy import func, select

from daemon.config.load import LIVE_CONFIRMED, Config
from daemon.postgres.server_paths import acting_as, owner_of
from daemon.process.file_modes import make_folders
from jobs.core.job import Incident
from jobs.domain.settings import Settings
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.store.tables import fills, orders, positions

MARKER = "live-confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stakes:
    """What is known of an account before it goes live. Without a database only the defaults are.

    `paper_krw` is what paper trading realised there, `paper_fills` in how many fills.
    """

    settings: Settings
    paper_krw: Decimal | None = None
    paper_fills: int = 0

    def __str__(self) -> str:
        """The limits in won, and what paper earned."""
        limits = self.settings
        most = limits.max_position_krw * limits.max_open_positions
        loss, drop = limits.daily_loss_limit_krw, limits.max_drawdown_pct
        return (
            f"at most {limits.max_position_krw:,.0f} KRW a position and "
            f"{limits.max_open_positions} positions ({most:,.0f} KRW), "
            f"{limits.max_orders_per_day} orders a day; no entries after a day's loss of "
            f"{f'{loss:,.0f} KRW' if loss else 'any size (off)'} or a drawdown of "
            f"{f'{drop:g} %' if drop else 'any size (off)'}; {self._paper()}"
        )

    def _paper(self) -> str:
        if self.paper_krw is None or not self.paper_fills:
            return "paper has not traded here yet"
        return f"paper realised {self.paper_krw:+,.0f} KRW here in {self.paper_fills:,} fills"


async def read_stakes(db: Database, config: Config) -> Stakes:
    """Return what the database knows of the account. Raises what it raises."""
    earned = select(func.coalesce(func.sum(positions.c.realized_krw), 0)).where(
        positions.c.mode == "paper"
    )
    count = (
        select(func.count())
        .select_from(fills.join(orders, orders.c.id == fills.c.order_id))
        .where(orders.c.mode == "paper")
    )
    async with db.begin() as conn:
        return Stakes(
            settings=config.limits.ceilings().bound(
                await settings_store.read(conn, fallback=Settings())
            ),
            paper_krw=(await conn.execute(earned)).scalar_one(),
            paper_fills=(await conn.execute(count)).scalar_one(),
        )


def unknown_stakes(config: Config) -> Stakes:
    """What holds before there is a database."""
    return Stakes(settings=config.limits.ceilings().bound(Settings()))


def is_confirmed(config: Config) -> bool:
    """Whether this configuration may trade: with pretended money, or once somebody said so here."""
    return not config.risks_real_money or os.path.lexists(_marker(config))


def says_yes(environ: Mapping[str, str]) -> bool:
    """Whether the environment carries a person's word."""
    return environ.get(LIVE_CONFIRMED, "").strip().lower() in {"1", "true", "yes"}


def remember(config: Config) -> None:
    """Keep the word for the next start. Raises OSError; then it has to be said again."""
    place = _marker(config)
    try:
        make_folders(place.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with acting_as(owner_of(place.parent)):
            os.close(os.open(place, flags, 0o600))
    except FileExistsError:
        return


def _marker(config: Config) -> Path:
    return config.daemon.state_dir / MARKER


def live_incident(config: Config, host: str, stakes: Stakes) -> Incident:
    """What people hear when a daemon begins to trade with real money."""
    return Incident(
        kind="live_started",
        severity="info",
        incident=f"live_started:{config.daemon.instance}@{host}",
        title="Live trading began",
        message=f"A daemon leads in live mode on {host}: {stakes}",
        is_event=True,
    )
