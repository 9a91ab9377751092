"""`upbitd flatten` and `upbitd cancel ORDER`: get out, wholly or of one order."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer

from daemon.cli.acting import YesOption, confirm, foundation, why_not
from daemon.cli.halt import halt_now
from daemon.cli.names import MarketOption, refuse_unknown_market
from daemon.cli.options import ConfigOption, JsonOption, read_config
from daemon.cli.requesting import Order, carried_out
from daemon.cli.session import with_database
from daemon.cli.tables import plain, to_json
from daemon.config.load import Config
from daemon.requests.order_commands import cancel_order, open_account
from daemon.requests.order_commands import flatten as flatten_account
from daemon.requests.queue import Answer
from jobs.core.untrusted import clean
from jobs.domain.halt import HaltLevel
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.db import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What there is to end: numbers of orders and positions."""

    orders: int
    positions: int


def flatten(
    config: ConfigOption = None,
    *,
    market: MarketOption = None,
    yes: YesOption = False,
    halt: Annotated[
        bool, typer.Option("--halt", help="Halt trading first, so that nothing is bought again.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also while a server has asked us to wait; a ban may grow."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel the daemon's open orders and sell all that it holds.

    Sales begin close to the best bid and go further step by step, in the end at any price.

    The running daemon carries it out; without one this command does. Orders and coins that are
    not the daemon's stay. Works while trading is halted. Exit code 1 when something is left, be it
    a remainder that is too small to be sold; it says why.

    Example: upbitd flatten --halt --yes
    """
    settings = read_config(config, keys=False)
    there = with_database(settings, lambda db: _count(db, settings, market))
    if not there.orders and not there.positions:
        refuse_unknown_market(settings, market)
    if not yes:
        _confirm(there, settings, market)
    if halt:
        with_database(settings, lambda db: halt_now(db, settings, HaltLevel.ALL, "flatten"))
    answer = carried_out(settings, _flattening(settings, market, is_forced=force))
    if as_json:
        typer.echo(to_json({name: each for name, each in answer.items() if name != "ok"}))
    else:
        _tell(answer)
    if not answer["ok"]:
        raise typer.Exit(1)


def cancel(
    order: Annotated[
        str, typer.Argument(metavar="ORDER", help="Its id, its identifier or the venue's uuid.")
    ],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Cancel one open order of the daemon's.

    The running daemon carries it out; without one this command does. Exit code 1 when there is no
    such order, when it has ended already or was filled first.

    Example: upbitd cancel upd-01m7vvswm0b91rejwcmardyt81
    """
    settings = read_config(config, keys=False)

    async def act(db: Database) -> Answer:
        async with open_account(await foundation(db, settings)) as account:
            return await cancel_order(account, order)

    asked = Order(command="cancel", arguments={"order": order}, act=act, why_not=why_not(settings))
    answer = carried_out(settings, asked)
    if as_json:
        typer.echo(to_json({name: each for name, each in answer.items() if name != "ok"}))
    else:
        done = Decimal(answer["executed_volume"])
        filled = f", {plain(done)} of it were filled" if done else ""
        typer.echo(f"{answer['identifier']} in {answer['market']}: {answer['state']}{filled}")
    if not answer["ok"]:
        raise typer.Exit(1)


def _flattening(config: Config, market: str | None, *, is_forced: bool) -> Order:
    async def act(db: Database) -> Answer:
        async with open_account(await foundation(db, config, is_forced=is_forced)) as account:
            return await flatten_account(account, market)

    arguments: Mapping[str, Any] = {"market": market, "force": is_forced}
    return Order(command="flatten", arguments=arguments, act=act, why_not=why_not(config))


def _confirm(there: _Open, config: Config, market: str | None) -> None:
    where = f" in {market}" if market else ""
    what = f"{there.orders} open orders and {there.positions} positions{where}"
    what += f" ({config.trading.mode})"
    confirm(f"ends {what}", f"End {what}, selling at any price in the end?")


async def _count(db: Database, config: Config, market: str | None) -> _Open:
    async with db.begin() as conn:
        unfinished = await order_store.unfinished(conn, config.trading.mode)
        held = await position_store.held(conn, config.trading.mode)
    return _Open(
        orders=sum(market in {None, each.market} for each in unfinished),
        positions=sum(market in {None, each} for each in held),
    )


def _tell(answer: Answer) -> None:
    for identifier in answer["cancelled"]:
        typer.echo(f"cancelled {identifier}")
    for market, volume in answer["sold"].items():
        typer.echo(f"sold {plain(Decimal(volume))} in {market}")
    for name, why in answer["left"].items():
        typer.echo(clean(f"left: {name}: {why}"), err=True)
    for market, why in answer["gone"].items():
        typer.echo(clean(f"gone: {market}: {why}"))
    if answer["is_flat"]:
        typer.echo("flat: no open order and no position is left")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(flatten)
    app.command()(cancel)
