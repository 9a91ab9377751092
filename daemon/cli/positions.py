"""`upbitd positions`: what is held, and `positions settle MARKET`: write it down."""

from decimal import Decimal
from typing import Annotated

import typer

from daemon.cli.acting import YesOption, confirm, foundation, why_not
from daemon.cli.arguments import LimitOption, SinceOption, instant
from daemon.cli.lists import ModeOption
from daemon.cli.names import MarketOption, market_name, refuse_unknown_market
from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.requesting import Order, carried_out
from daemon.cli.session import with_database
from daemon.cli.tables import WideOption, plain, show, to_json
from daemon.config.load import Config
from daemon.requests.book_commands import settle as settle_books
from daemon.requests.order_commands import open_account
from daemon.requests.queue import Answer
from jobs.store import listing
from jobs.store import positions as position_store
from jobs.store.db import Database
from jobs.store.listing import LEAST_KRW, Page

UNKNOWN_MARKET = 2

commands = typer.Typer(
    help="List positions, or write one down to what the exchange holds.\n\n"
    "Example: upbitd positions --all",
    invoke_without_command=True,
)


@commands.callback()
def positions(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    since: SinceOption = None,
    market: MarketOption = None,
    mode: ModeOption = None,
    closed: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List positions with what they are worth at the last stored price, newest first.

    Example: upbitd positions --all
    """
    if context.invoked_subcommand is not None:
        return
    settings = read_config(config, keys=False)
    whose = mode or settings.trading.mode
    page = Page(limit=limit, since=instant(since))
    rows = with_database(
        settings,
        lambda db: listing.list_positions(db, page, mode=whose, market=market, closed=closed),
    )
    columns = {
        "market": "MARKET",
        "volume": "VOLUME",
        "avg_price": "AVERAGE",
        "last_price": "LAST",
        "unrealized_krw": "UNREALIZED KRW",
        "realized_krw": "REALIZED KRW",
        "opened_at": "OPENED",
    }
    if any(row.warning or row.cautions for row in rows):
        columns |= {"warning": "WARNED", "cautions": "CAUTIONS"}
    if any(row.exit_due for row in rows):
        columns["exit_due"] = "TO BE SOLD"
    if not rows:
        refuse_unknown_market(settings, market)
    show(rows, columns, as_json=as_json, wide=wide, empty="No positions.")
    for row in rows:
        if row.is_dust and not as_json:
            typer.echo(
                f"{row.market}: worth less than the exchange's smallest order ({LEAST_KRW:f} KRW): "
                "it cannot be sold alone, takes no place among max_open_positions, and goes with "
                "the next sale"
            )


@commands.command()
def settle(
    market: Annotated[
        str,
        typer.Argument(metavar="MARKET", help="For example KRW-BTC.", callback=market_name),
    ],
    config: ConfigOption = None,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the books of one market down to what the exchange holds.

    For coins that were withdrawn, staked or renamed. Sales made outside of the daemon are booked
    with their price first; the rest leaves the books at the market's price. Who did it stands in
    the table position_settlements. The running daemon carries it out. Exit code 2 for a market
    in which nothing was ever held.

    Example: upbitd positions settle KRW-XRP
    """
    settings = read_config(config, keys=False)
    with_database(settings, lambda db: _known(db, settings, market))
    answer = carried_out(settings, _settling(settings, market, by=None))
    if answer["before"] != answer["after"]:
        if not yes:
            what = _difference(answer)
            confirm(f"writes the books down ({what})", f"{what}. Write the books down?")
        answer = carried_out(settings, _settling(settings, market, by=operator()))
    if as_json:
        typer.echo(to_json({name: each for name, each in answer.items() if name != "ok"}))
    else:
        _tell(answer)


async def _known(db: Database, config: Config, market: str) -> None:
    mode = config.trading.mode
    async with db.begin() as conn:
        if await position_store.is_known(conn, mode, market):
            return
    fail(
        f"{market}: nothing was ever held there ({mode}): see `upbitd positions --all`",
        UNKNOWN_MARKET,
    )


def _settling(config: Config, market: str, *, by: str | None) -> Order:
    async def act(db: Database) -> Answer:
        async with open_account(await foundation(db, config)) as account:
            return await settle_books(account, market, by=by)

    arguments = {"market": market, "by": by}
    return Order(command="settle", arguments=arguments, act=act, why_not=why_not(config))


def _difference(answer: Answer) -> str:
    before, after = Decimal(answer["before"]), Decimal(answer["after"])
    worth = (before - after) * Decimal(answer["price"])
    return (
        f"the books hold {plain(before)} in {answer['market']}, the exchange {plain(after)}; "
        f"what is missing is worth {worth:,.0f} KRW at {plain(Decimal(answer['price']))}"
    )


def _tell(answer: Answer) -> None:
    market = answer["market"]
    if answer["foreign_sale_booked"]:
        typer.echo(f"{market}: a sale made outside of the daemon was found and booked")
    if answer["settled"]:
        typer.echo(_difference(answer))
        typer.echo(f"{market}: the books hold {plain(Decimal(answer['after']))} now")
    else:
        held = plain(Decimal(answer["after"]))
        typer.echo(f"{market}: nothing differs, the books hold {held} and the exchange has it")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="positions")
