"""`upbitd flatten`: cancel every open order of the daemon and sell everything it holds."""

import asyncio
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from daemon.commands.halt import halt_now
from daemon.commands.options import BAD_CONFIGURATION, ConfigOption, JsonOption, fail, read_config
from daemon.commands.outbox import outbox
from daemon.commands.session import with_database
from daemon.commands.tables import plain, to_json
from daemon.config import Config
from daemon.cooldowns import restore_gates
from daemon.resources import Foundation, exchange_of, upbit_keys
from jobs.gates import Gates
from jobs.halt import HaltLevel
from jobs.spec import current_lane
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.db import Database
from jobs.trading import flatten as closing
from jobs.trading.desk import Desk
from jobs.trading.flatten import Flattened
from jobs.trading.view import MarketView
from jobs.untrusted import clean
from jobs.upbit.client import open_client
from jobs.upbit.limits import Limiter

SHARE = 0.3
"""Of the exchange's quota: a daemon that runs beside this command uses the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What there is to end: numbers of orders and positions."""

    orders: int
    positions: int


def flatten(
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    halt: Annotated[
        bool, typer.Option("--halt", help="Halt trading first, so that nothing is bought again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel the daemon's open orders and sell all that it holds, at market.

    Orders and coins that are not the daemon's stay. Works beside a running daemon, and while
    trading is halted. Exit code 1 when something is left; it says why.

    Example: upbitd flatten --halt --yes
    """
    settings = read_config(config, keys=False)
    if settings.trading.mode == "live" and upbit_keys(settings) is None:
        fail("live orders need UPBIT_ACCESS_KEY and UPBIT_SECRET_KEY", BAD_CONFIGURATION)
    there = with_database(settings, lambda db: _count(db, settings))
    if not yes:
        _confirm(there, settings)
    result = with_database(settings, lambda db: _flatten(db, settings, is_halting=halt))
    if as_json:
        typer.echo(to_json({**asdict(result), "is_flat": result.is_flat}))
    else:
        _tell(result)
    if not result.is_flat:
        raise typer.Exit(1)


def _confirm(there: _Open, config: Config) -> None:
    what = f"{there.orders} open orders and {there.positions} positions ({config.trading.mode})"
    if not sys.stdin.isatty():
        fail(f"this ends {what}: say --yes")
    typer.confirm(f"End {what}, selling at market?", abort=True)


async def _count(db: Database, config: Config) -> _Open:
    async with db.begin() as conn:
        unfinished = await order_store.unfinished(conn, config.trading.mode)
        held = await position_store.held(conn, config.trading.mode)
    return _Open(orders=len(unfinished), positions=len(held))


async def _flatten(db: Database, config: Config, *, is_halting: bool) -> Flattened:
    current_lane.set("orders")
    if is_halting:
        await halt_now(db, config, HaltLevel.ALL, "flatten")
    gates = Gates(_now)
    await restore_gates(gates, db, _now)
    base = Foundation(
        config=config, database=db, clock=_now, notifier=outbox(db, config), gates=gates
    )
    async with open_client(
        base_url=config.upbit.base_url,
        keys=upbit_keys(config),
        gates=gates,
        limiter=Limiter(share=SHARE),
        clock=_now,
        timeout_s=config.upbit.timeout.total_seconds(),
    ) as upbit:
        exchange = exchange_of(base, db, upbit)
        desk = Desk(
            db=db,
            exchange=exchange,
            clock=_now,
            notifier=base.notifier,
            mode=config.trading.mode,
        )
        view = MarketView(db=db, exchange=exchange, quotes=upbit, clock=_now)
        return await closing.flatten(desk, view, sleep=asyncio.sleep)


def _tell(result: Flattened) -> None:
    for identifier in result.cancelled:
        typer.echo(f"cancelled {identifier}")
    for market, volume in result.sold.items():
        typer.echo(f"sold {plain(volume)} in {market}")
    for name, why in result.left.items():
        typer.echo(clean(f"left: {name}: {why}"), err=True)
    for market, why in result.gone.items():
        typer.echo(clean(f"gone: {market}: {why}"))
    if result.is_flat:
        typer.echo("flat: no open order and no position is left")


def _now() -> datetime:
    return datetime.now(UTC)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(flatten)
