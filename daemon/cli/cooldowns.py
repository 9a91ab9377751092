"""`upbitd cooldowns list|lift`: the waits that servers asked for, and how to end one early."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from loguru import logger

from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import WideOption, show
from jobs.core.cooldowns import Closed
from jobs.store import cooldowns as gate_rows
from jobs.store.db import Database
from jobs.upbit.limits import LIMITS

BAD_NAME = 2
ALL = "all"
GEMINI, UPBIT = "gemini", "upbit"
NAMES = (GEMINI, UPBIT, *(f"{UPBIT}:{group}" for group in LIMITS))
"""What a cooldown can be called; `upbit` stands for all of its groups."""

commands = typer.Typer(
    help="Waits that servers asked for.\n\nExample: upbitd cooldowns list", no_args_is_help=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownRow:
    """One wait in force: nothing is sent there before `until`."""

    name: str
    until: datetime
    left_s: int
    source: str
    reason: str
    since: datetime | None


@commands.command("list")
def list_cooldowns(
    config: ConfigOption = None, *, as_json: JsonOption = False, wide: WideOption = False
) -> None:
    """List the cooldowns in force: who asked for the wait, until when, and why.

    Example: upbitd cooldowns list --json
    """
    columns = {
        "name": "NAME",
        "until": "UNTIL",
        "left_s": "LEFT (S)",
        "source": "SOURCE",
        "reason": "REASON",
        "since": "SINCE",
    }
    rows = with_database(read_config(config, keys=False), _rows)
    show(rows, columns, as_json=as_json, wide=wide, empty="No cooldowns.")


@commands.command("lift")
def lift(
    name: Annotated[
        str, typer.Argument(help="The cooldown's name, `upbit` for all of Upbit's, or `all`.")
    ],
    config: ConfigOption = None,
) -> None:
    """End a cooldown now; a running daemon sends again within 5 seconds.

    A server that meant its wait answers with the next one, which may be longer.

    Example: upbitd cooldowns lift upbit:order
    """
    settings = read_config(config, keys=False)
    lifted = with_database(settings, lambda db: _lift(db, name))
    for each in lifted:
        typer.echo(f"{each}: lifted; a running daemon sends again within 5 s")
    if not lifted:
        typer.echo(f"{name}: no cooldown is in force")


async def _rows(db: Database) -> list[CooldownRow]:
    now = datetime.now(UTC)
    return [_row(each, now) for each in (await gate_rows.stored(db)).values() if each.until > now]


def _row(closed: Closed, now: datetime) -> CooldownRow:
    return CooldownRow(
        name=closed.name,
        until=closed.until,
        left_s=round((closed.until - now).total_seconds()),
        source=closed.source,
        reason=closed.reason,
        since=closed.closed_at,
    )


async def _lift(db: Database, name: str) -> list[str]:
    stored = await gate_rows.stored(db)
    known = sorted({*NAMES, *stored})
    if name not in (ALL, *known):
        fail(f"no cooldown is called {name}: {', '.join([ALL, *known])}", BAD_NAME)
    names = [each for each in known if name in (ALL, each, each.partition(":")[0])]
    by = operator()
    lifted = await gate_rows.lift(db, names, now=datetime.now(UTC), by=by)
    for each in lifted:
        # at WARNING, the level at which commands write what they log
        logger.bind(event="cooldown.lifted", cooldown=each, by=by).warning("A cooldown was lifted")
    return lifted


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="cooldowns")
