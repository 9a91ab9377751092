"""`upbitd drawdown`: from which profit `max_drawdown_pct` counts, and how to begin anew."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import typer

from daemon.cli.acting import YesOption, confirm
from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, JsonOption, read_config
from daemon.cli.outbox import outbox
from daemon.cli.session import with_database
from daemon.cli.tables import plain, to_json
from daemon.config.load import Config
from jobs.core.job import Incident
from jobs.domain.settings import Settings
from jobs.store import equity as equity_store
from jobs.store import settings as settings_store
from jobs.store.db import Database
from jobs.store.equity import Restart

commands = typer.Typer(
    help="Show from which profit max_drawdown_pct counts, or have it begin anew.\n\n"
    "Example: upbitd drawdown restart",
    invoke_without_command=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawdownRow:
    """The drawdown now. `measured_at` None: nothing was measured yet; `restarted_*` None: never."""

    measured_at: datetime | None
    profit_krw: Decimal
    highest_krw: Decimal
    drawdown_pct: Decimal
    limit_pct: Decimal
    restarted_at: datetime | None
    restarted_by: str | None


@commands.callback()
def drawdown(
    context: typer.Context, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show profit, its highest that held for five minutes, how far it is under that, the limit.

    Example: upbitd drawdown --json
    """
    if context.invoked_subcommand is not None:
        return
    settings = read_config(config, keys=False)
    row = with_database(settings, lambda db: _row(db, settings))
    if as_json:
        typer.echo(to_json({name: getattr(row, name) for name in DrawdownRow.__dataclass_fields__}))
    else:
        _tell(row)


@commands.command()
def restart(
    config: ConfigOption = None, *, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Have max_drawdown_pct count from the present profit on, so that entries can begin again.

    In force at once; who did it stands in the table drawdown_restarts, and hooks hear of it. What
    was lost stays lost: no other limit begins anew.

    Example: upbitd drawdown restart --yes
    """
    settings = read_config(config, keys=False)
    row = with_database(settings, lambda db: _row(db, settings))
    if row.drawdown_pct and not yes:
        what = f"the drawdown of {row.drawdown_pct:.2f} % ({settings.trading.mode})"
        confirm(f"forgets {what}", f"Forget {what} and count from the present profit?")
    made = with_database(settings, lambda db: _restart(db, settings))
    if as_json:
        fields = Restart.__dataclass_fields__
        said = None if made is None else {name: getattr(made, name) for name in fields}
        typer.echo(to_json({"restarted": made is not None, "restart": said}))
    elif made is None:
        typer.echo("nothing to restart: the profit is at its highest")
    else:
        typer.echo(
            f"the drawdown counts from a profit of {made.peak_after_krw:,.0f} KRW now, "
            f"not from {made.peak_before_krw:,.0f} KRW"
        )


async def _row(db: Database, config: Config) -> DrawdownRow:
    mode = config.trading.mode
    async with db.begin() as conn:
        newest = await equity_store.newest(conn, mode)
        last = await equity_store.last_restart(conn, mode)
        limit = (await settings_store.read(conn, fallback=Settings())).max_drawdown_pct
    none = Decimal(0)
    return DrawdownRow(
        measured_at=None if newest is None else newest.ts,
        profit_krw=none if newest is None else newest.pnl_krw,
        highest_krw=none if newest is None else newest.peak_krw,
        drawdown_pct=none if newest is None else newest.drawdown_pct,
        limit_pct=limit,
        restarted_at=None if last is None else last.restarted_at,
        restarted_by=None if last is None else last.restarted_by,
    )


async def _restart(db: Database, config: Config) -> Restart | None:
    mode, at = config.trading.mode, datetime.now(UTC)
    async with db.begin() as conn:
        made = await equity_store.restart_drawdown(conn, mode, by=operator(), at=at)
    if made is not None:
        await outbox(db, config).notify(_incident(made, is_live=mode == "live"))
    return made


def _incident(made: Restart, *, is_live: bool) -> Incident:
    return Incident(
        kind="setting_loosened",
        severity="warning" if is_live else "info",
        incident=f"setting_loosened:drawdown:{made.restarted_at.isoformat()}",
        title="The drawdown counts anew",
        message=(
            f"{made.restarted_by} had it begin anew at {made.drawdown_before_pct:.2f} %: it counts "
            f"from a profit of {made.peak_after_krw:,.0f} KRW, not from "
            f"{made.peak_before_krw:,.0f} KRW"
        ),
        is_event=True,
    )


def _tell(row: DrawdownRow) -> None:
    if row.measured_at is None:
        typer.echo("nothing was measured yet")
        return
    limit = f"limit {plain(row.limit_pct)} %" if row.limit_pct else "no limit"
    typer.echo(f"drawdown  {row.drawdown_pct:.2f} %, {limit} (max_drawdown_pct)")
    typer.echo(f"profit    {row.profit_krw:,.0f} KRW at {row.measured_at:%Y-%m-%d %H:%M:%S} UTC")
    typer.echo(f"highest   {row.highest_krw:,.0f} KRW that held for five minutes")
    if row.restarted_at is not None:
        typer.echo(f"restarted {row.restarted_at:%Y-%m-%d %H:%M:%S} UTC by {row.restarted_by}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="drawdown")
