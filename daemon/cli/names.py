"""Names that people type: what is no market, job or kind is said, instead of an empty list."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Annotated

import typer
from sqlalchemy import select, union

from daemon.cli.options import BAD_CONFIGURATION, fail
from daemon.cli.session import with_database
from daemon.config.load import Config
from jobs import ALL
from jobs.core.alert_kinds import ALERT_KINDS
from jobs.store.db import Database
from jobs.store.tables import alerts, markets, orders, positions

NAMED = 20
MARKET = re.compile(r"[A-Z]{2,5}-[A-Z0-9]{1,20}")


def market_name(text: str | None) -> str | None:
    """Return the market as the exchange writes it. Raises typer.BadParameter for what is none."""
    if text is None:
        return None
    name = text.strip().upper()
    if MARKET.fullmatch(name) is None:
        raise typer.BadParameter(f"{text!r} is no market: write it as KRW-BTC")
    return name


def job_name(text: str | None) -> str | None:
    """Return the job's name. Raises typer.BadParameter for what is none."""
    if text is None or text in ALL:
        return text
    raise typer.BadParameter(_unknown("job", text, ALL))


MarketOption = Annotated[
    str | None,
    typer.Option("--market", help="Only this market.", metavar="KRW-BTC", callback=market_name),
]
JobOption = Annotated[str | None, typer.Option("--job", help="Only this job.", callback=job_name)]


def refuse_unknown_market(config: Config, market: str | None) -> None:
    """End the command with exit code 2 when nothing here has ever heard of the market.

    For a market with nothing to show: the exchange's list says whether it exists.
    """
    if market is None or market in (config.trading.markets.names or ()):
        return
    known = with_database(config, _markets)
    if known and market not in known:
        fail(_unknown("market", market, known), BAD_CONFIGURATION)


def refuse_unknown_kind(config: Config, kind: str | None) -> None:
    """End the command with exit code 2 when no alert has this kind, nor ever had."""
    if kind is not None and kind not in ALERT_KINDS:
        known = ALERT_KINDS | with_database(config, _kinds)
        if kind not in known:
            fail(_unknown("kind of alert", kind, known), BAD_CONFIGURATION)


async def _markets(db: Database) -> set[str]:
    """Every market that the exchange has, and those that orders or positions name.

    Empty as long as the exchange's list was not read: then nobody can tell.
    """
    async with db.begin() as conn:
        listed = set((await conn.execute(select(markets.c.market))).scalars())
        used = union(select(orders.c.market), select(positions.c.market))
        return listed | set((await conn.execute(used)).scalars()) if listed else set()


async def _kinds(db: Database) -> set[str]:
    async with db.begin() as conn:
        return set((await conn.execute(select(alerts.c.kind).distinct())).scalars())


def _unknown(what: str, given: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f"no {what} is called {given}: {f'did you mean {near[0]}?' if near else _list(known)}"


def _list(known: Iterable[str]) -> str:
    names = sorted(known)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"known are {', '.join(names[:NAMED])}{more}"
