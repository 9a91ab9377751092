"""`upbitd orders|signals|slots|alerts`: what stands in the tables, newest first."""

from typing import Annotated, Literal

import typer

from daemon.cli import alert_test
from daemon.cli.arguments import BeforeOption, LimitOption, SinceOption, instant
from daemon.cli.names import (
    JobOption,
    MarketOption,
    refuse_unknown_kind,
    refuse_unknown_market,
)
from daemon.cli.options import ConfigOption, JsonOption, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import WideOption, show
from jobs.store import listing
from jobs.store.listing import Page, SlotPage

Mode = Literal["paper", "live"]
OrderState = Literal["intent", "sent", "unknown", "wait", "done", "cancel", "refused"]
SignalStatus = Literal["new", "executed", "refused", "expired"]
Outcome = Literal["ok", "failed", "timeout", "deferred", "skipped", "cancelled"]
Severity = Literal["info", "warning", "critical"]
ModeOption = Annotated[
    Mode | None,
    typer.Option("--mode", help="Whose rows; trading.mode unless said.", show_default=False),
]


def orders(  # noqa: PLR0913 - one parameter an option
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    since: SinceOption = None,
    before: BeforeOption = None,
    market: MarketOption = None,
    state: Annotated[OrderState | None, typer.Option(help="Only in this state.")] = None,
    mode: ModeOption = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List orders, newest first.

    Example: upbitd orders --state unknown --since 24h --json
    """
    settings = read_config(config, keys=False)
    page = Page(limit=limit, since=instant(since), before=before)
    rows = with_database(
        settings,
        lambda db: listing.list_orders(
            db,
            page,
            mode=mode or settings.trading.mode,
            market=market,
            state=state,
        ),
    )
    columns = {
        "id": "ID",
        "created_at": "CREATED",
        "market": "MARKET",
        "side": "SIDE",
        "ord_type": "TYPE",
        "purpose": "PURPOSE",
        "state": "STATE",
        "price": "PRICE",
        "volume": "VOLUME",
        "executed_volume": "EXECUTED",
        "executed_funds": "FUNDS",
        "paid_fee": "FEE",
        "signal_id": "SIGNAL",
        "reason": "REASON",
    }
    if not rows:
        refuse_unknown_market(settings, market)
    show(rows, columns, as_json=as_json, wide=wide, empty="No orders.")


def signals(
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    since: SinceOption = None,
    before: BeforeOption = None,
    market: MarketOption = None,
    status: Annotated[SignalStatus | None, typer.Option(help="Only with this status.")] = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List signals, newest first.

    Example: upbitd signals --market KRW-BTC --limit 5
    """
    settings = read_config(config, keys=False)
    page = Page(limit=limit, since=instant(since), before=before)
    rows = with_database(
        settings,
        lambda db: listing.list_signals(db, page, market=market, status=status),
    )
    columns = {
        "id": "ID",
        "created_at": "CREATED",
        "market": "MARKET",
        "action": "ACTION",
        "confidence": "CONFIDENCE",
        "status": "STATUS",
        "status_reason": "WHY",
        "shadow_status": "TWIN",
        "shadow_reason": "WHY TWIN",
        "model": "MODEL",
        "reason": "REASON",
    }
    if not any(row.shadow_status for row in rows):
        columns = {name: each for name, each in columns.items() if not name.startswith("shadow")}
    if not rows:
        refuse_unknown_market(settings, market)
    show(rows, columns, as_json=as_json, wide=wide, empty="No signals.")


def slots(
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    since: SinceOption = None,
    before: Annotated[
        str | None, typer.Option("--before", help="The next page: the last instant of this one.")
    ] = None,
    job: JobOption = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only with this outcome.")] = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List due slots of jobs and what became of them, newest first.

    Example: upbitd slots --job orders --outcome failed --since 1h
    """
    settings = read_config(config, keys=False)
    page = SlotPage(limit=limit, since=instant(since), before=instant(before))
    rows = with_database(
        settings,
        lambda db: listing.list_slots(db, page, job=job, outcome=outcome),
    )
    columns = {
        "job": "JOB",
        "scheduled_at": "SCHEDULED",
        "outcome": "OUTCOME",
        "duration_s": "SECONDS",
        "attempts": "ATTEMPTS",
        "rows": "ROWS",
        "api_calls": "CALLS",
        "reason": "REASON",
        "error": "ERROR",
    }
    show(rows, columns, as_json=as_json, wide=wide, empty="No slots.")


alert_commands = typer.Typer(
    help="List alerts, newest first, or try the hooks.\n\nExample: upbitd alerts --open",
    invoke_without_command=True,
)


@alert_commands.callback()
def alerts(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    config: ConfigOption = None,
    *,
    limit: LimitOption = 20,
    since: SinceOption = None,
    before: BeforeOption = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only what is not over.")] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List alerts, newest first; `upbitd alerts test` tries the hooks.

    Example: upbitd alerts --severity critical --open
    """
    if context.invoked_subcommand is not None:
        return
    settings = read_config(config, keys=False)
    page = Page(limit=limit, since=instant(since), before=before)
    rows = with_database(
        settings,
        lambda db: listing.list_alerts(db, page, kind=kind, severity=severity, open_only=open_only),
    )
    columns = {
        "id": "ID",
        "created_at": "RAISED",
        "severity": "SEVERITY",
        "kind": "KIND",
        "occurrences": "TIMES",
        "last_at": "LAST",
        "resolved_at": "OVER",
        "delivered_at": "DELIVERED",
        "title": "TITLE",
        "message": "MESSAGE",
        "last_error": "HOOK ERROR",
    }
    if not rows:
        refuse_unknown_kind(settings, kind)
    show(rows, columns, as_json=as_json, wide=wide, empty="No alerts.")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (orders, signals, slots):
        app.command()(command)
    alert_commands.command("test")(alert_test.try_hooks)
    app.add_typer(alert_commands, name="alerts")
