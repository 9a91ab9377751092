"""`upbitd halt` and `upbitd resume`: stop trading at once, wholly or for new positions alone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from daemon.alerting.halt_monitor import KEYS, halt_incident
from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, fail, read_config
from daemon.cli.outbox import outbox
from daemon.cli.session import with_database
from daemon.cli.tables import plain
from daemon.config.load import Config
from daemon.postgres.server_paths import acting_as, owner_of
from daemon.postgres.session import NoDatabase, in_database
from jobs.domain.halt import BY_COMMAND, Halt, HaltLevel, halted_by_file, shown
from jobs.domain.ledger import Holding
from jobs.domain.settings import HALTED, Settings
from jobs.store import positions as position_store
from jobs.store import settings as store
from jobs.store.db import Database

EFFECT = {
    HaltLevel.ENTRIES: "halted (entries): no new positions until `upbitd resume`; "
    "exits and stop-losses go on",
    HaltLevel.ALL: "halted: no new orders until `upbitd resume`",
}


def halt(
    config: ConfigOption = None,
    *,
    entries: Annotated[
        bool, typer.Option("--entries", help="New positions only: exits and stop-losses go on.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; everybody who asks is told.")] = "",
) -> None:
    """Stop trading: no new order from now on, restarts included, until `upbitd resume`.

    Stop-losses are off as well unless --entries is given. Orders that are open stay open and are
    followed; `upbitd flatten` ends them. When the database cannot be written, a file in the state
    directory halts trading instead.

    Example: upbitd halt --reason "exchange maintenance"
    """
    settings = read_config(config, keys=False)
    level = HaltLevel.ENTRIES if entries else HaltLevel.ALL
    try:
        found, holdings = in_database(settings, lambda db: _halt(db, settings, level, reason))
    except (NoDatabase, OSError, TimeoutError) as exc:
        _halt_by_file(settings.daemon.halt_file, level, reason, str(exc))
        return
    typer.echo(EFFECT[level] if found is None else _already(found, level))
    if found is None and level is HaltLevel.ALL:
        _tell_positions(holdings)


def resume(config: ConfigOption = None) -> None:
    """Allow new orders again after `upbitd halt`.

    Example: upbitd resume
    """
    settings = read_config(config, keys=False)
    changed = with_database(settings, lambda db: _resume(db, settings))
    while (left := halted_by_file(settings.daemon.halt_file)).level is not HaltLevel.NONE:
        if left.file is None or not left.own:
            fail(f"still halted: remove the file {left.file}")
        try:
            with acting_as(owner_of(left.file.parent)):
                left.file.unlink()
        except OSError as exc:
            fail(f"still halted: remove the file {left.file} ({exc.strerror})")
        changed = True
    typer.echo("resumed: new orders are allowed" if changed else "was not halted")


async def _halt(
    db: Database, config: Config, level: HaltLevel, reason: str
) -> tuple[Halt | None, Mapping[str, Holding]]:
    found = await halt_now(db, config, level, reason)
    async with db.begin() as conn:
        return found, await position_store.held(conn, config.trading.mode)


async def halt_now(db: Database, config: Config, level: HaltLevel, reason: str) -> Halt | None:
    """Halt trading and tell of it; return the halt that was in force already, if one was.

    Nothing is loosened: a halt of all stays one.
    """
    async with db.begin() as conn:
        before = (await store.read(conn, fallback=Settings())).halt
    is_halted = before.level.rank >= level.rank
    if not is_halted or (before.level is level and reason):
        await store.write(db, HALTED, level.value, operator(), reason=shown(reason))
    async with db.begin() as conn:
        now = (await store.read(conn, fallback=Settings())).halt
    await outbox(db, config).notify(halt_incident(now))
    return before if is_halted else None


async def _resume(db: Database, config: Config) -> bool:
    changed = await store.write(db, HALTED, HaltLevel.NONE.value, operator())
    told = outbox(db, config)
    for key in KEYS.values():
        await told.resolve(key)
    return changed


def _already(found: Halt, level: HaltLevel) -> str:
    if found.level is level:
        return "halted already"
    return (
        "halted already, exits and stop-losses as well; "
        "`upbitd settings set halted entries` lets those go on"
    )


def _tell_positions(holdings: Mapping[str, Holding]) -> None:
    for market, holding in sorted(holdings.items()):
        bought = f"{plain(holding.volume)} bought at {plain(holding.avg_price)}"
        typer.echo(f"stop-loss off: {market}, {bought}")
    if holdings:
        typer.echo("`upbitd flatten` sells them; `upbitd halt --entries` would let exits go on")


def _halt_by_file(halt_file: Path, level: HaltLevel, reason: str, why: str) -> None:
    """Halt by the file that needs no database. Ends the command when that fails, too."""
    file = halt_file.with_name("HALT" if level is HaltLevel.ALL else "HALT-ENTRIES")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    lines = (BY_COMMAND, operator(), shown(reason) or "", "")
    try:
        with acting_as(owner_of(file.parent)):
            descriptor = os.open(file, flags, 0o640)
    except FileExistsError:
        pass
    except OSError as exc:
        fail(f"NOT halted: {why}; and {file} cannot be made: {exc.strerror}", 3)
    else:
        try:
            os.write(descriptor, "\n".join(lines).encode())
        except OSError:  # a full disk takes the file and not the text: it is there, that counts
            pass
        finally:
            os.close(descriptor)
    typer.echo(f"{EFFECT[level]} (by the file {file}: {why})")
    if level is HaltLevel.ALL:
        typer.echo("stop-losses of all open positions are off")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(halt)
    app.command()(resume)
