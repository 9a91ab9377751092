"""What commands share that a daemon carries out, or they themselves where none runs."""

import sys
from typing import Annotated

import typer

from daemon.cli.options import fail
from daemon.cli.outbox import outbox
from daemon.config.load import Config
from daemon.cooldowns import restore_gates
from daemon.requests.order_commands import needs_keys, now
from daemon.resources import Foundation
from jobs.core.cooldowns import Gates
from jobs.store.db import Database

NO_KEYS = (
    "orders on the exchange need keys: start the daemon, or give UPBIT_ACCESS_KEY and "
    "UPBIT_SECRET_KEY as credentials (files in $CREDENTIALS_DIRECTORY, as root /etc/credstore)"
)

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


async def foundation(db: Database, config: Config, *, is_forced: bool = False) -> Foundation:
    """Return what a client of this command's own is opened on; `is_forced` obeys no cooldown."""
    gates = Gates(now)
    if not is_forced:
        await restore_gates(gates, db, now)
    return Foundation(
        config=config, database=db, clock=now, notifier=outbox(db, config), gates=gates
    )


def why_not(config: Config) -> str | None:
    """Why this process cannot ask the exchange about the account itself; None when it can."""
    return NO_KEYS if needs_keys(config) else None


def confirm(does: str, question: str) -> None:
    """Ask; end the command when the answer is no, or when nobody is there to give one."""
    if not sys.stdin.isatty():
        fail(f"this {does}: say --yes")
    typer.confirm(question, abort=True)
