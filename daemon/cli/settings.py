"""`upbitd settings list|get|set`: what may change while it runs."""

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

import typer
from sqlalchemy import select

from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import WideOption, plain, show
from jobs.domain.ceilings import Ceilings
from jobs.domain.settings import SPECS, Settings, Spec, Value, parse_value
from jobs.store import settings as store
from jobs.store.db import Database
from jobs.store.loosening import OFF_AT_ZERO, is_looser
from jobs.store.tables import settings as table

BAD_VALUE = 2

commands = typer.Typer(
    help="Show and change the runtime settings.\n\nExample: upbitd settings set stop_loss_pct 4",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting: its value, its default, what it may be and who changed it last."""

    key: str
    value: Value
    default: Value
    allowed: str
    help: str
    updated_at: datetime | None
    updated_by: str | None


@commands.command("list")
def list_settings(
    config: ConfigOption = None, *, as_json: JsonOption = False, wide: WideOption = False
) -> None:
    """List every runtime setting.

    Example: upbitd settings list --json
    """
    settings = read_config(config, keys=False)
    rows = with_database(settings, lambda db: _rows(db, settings.limits.ceilings()))
    columns = {
        "key": "KEY",
        "value": "VALUE",
        "default": "DEFAULT",
        "allowed": "ALLOWED",
        "help": "WHAT IT DOES",
        "updated_at": "CHANGED",
        "updated_by": "BY",
    }
    show(rows, columns, as_json=as_json, wide=wide, empty="No settings.")


@commands.command("get")
def get_setting(
    key: Annotated[str, typer.Argument(help="The setting.")], config: ConfigOption = None
) -> None:
    """Print one setting's value.

    Example: upbitd settings get max_open_positions
    """
    try:
        parse_value(key, "")
    except ValueError as error:
        if key not in SPECS:
            fail(str(error), BAD_VALUE)
    settings = read_config(config, keys=False)
    rows = with_database(settings, lambda db: _rows(db, settings.limits.ceilings()))
    value = next(row.value for row in rows if row.key == key)
    typer.echo(plain(value).replace(",", ""))


@commands.command("set")
def set_setting(
    key: Annotated[str, typer.Argument(help="The setting.")],
    value: Annotated[str, typer.Argument(help="Its new value.")],
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Change one setting; the running daemon takes it at once.

    A change that risks more real money asks first, or wants --yes.

    Example: upbitd settings set position_size_pct 5
    """
    settings = read_config(config, keys=False)
    try:
        parsed = parse_value(key, value)
        settings.limits.ceilings().check(key, parsed)
    except ValueError as error:
        fail(str(error), BAD_VALUE)
    if settings.risks_real_money and not yes:
        _confirm(key, with_database(settings, lambda db: _stored(db, key)), parsed)
    changed = with_database(settings, lambda db: store.write(db, key, parsed, operator()))
    typer.echo(f"{key} = {plain(parsed)}" if changed else f"{key} is {plain(parsed)} already")


def _confirm(key: str, old: Value, new: Value) -> None:
    """Ask before more real money is risked; ends the command where nobody can answer."""
    if not is_looser(key, old, new):
        return
    what = f"{key}: {plain(old)} -> {plain(new)} lets the live account risk more"
    if key in OFF_AT_ZERO and new == 0:
        what += " (0 switches this limit off)"
    if not sys.stdin.isatty():
        fail(f"{what}: say --yes", BAD_VALUE)
    typer.confirm(f"{what}. Change it?", abort=True)


async def _stored(db: Database, key: str) -> Value:
    async with db.begin() as conn:
        return cast(Value, getattr(await store.read(conn, fallback=Settings()), key))


async def _rows(db: Database, ceilings: Ceilings) -> list[SettingRow]:
    """Every setting as it is in force."""
    changes = select(table.c.key, table.c.updated_at, table.c.updated_by)
    async with db.begin() as tx:
        current = ceilings.bound(await store.read(tx))
        changed = {row.key: row for row in await tx.execute(changes)}
    return [
        SettingRow(
            key=key,
            value=getattr(current, key),
            default=spec.default,
            allowed=_allowed(spec, ceilings),
            help=spec.help,
            updated_at=changed[key].updated_at if key in changed else None,
            updated_by=changed[key].updated_by if key in changed else None,
        )
        for key, spec in SPECS.items()
    ]


def _allowed(spec: Spec, ceilings: Ceilings) -> str:
    top = ceilings.of(spec.key)
    return spec.allowed if top is None else f"at most {top:f} ([limits])"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="settings")
