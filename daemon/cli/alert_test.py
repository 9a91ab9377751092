"""`upbitd alerts test`: a sample alert through every hook, now."""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from daemon.alerting.channels import make_hook
from daemon.alerting.outbox import Listeners, Origin, Outbox
from daemon.cli.options import ConfigOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import show
from daemon.config.load import Config
from daemon.redaction import Masker
from jobs.core.job import Incident
from jobs.store import alerts as store
from jobs.store.db import Database

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one hook said to the sample."""

    hook: str
    answer: str


def try_hooks(
    config: ConfigOption = None,
    *,
    severity: Annotated[
        Severity, typer.Option(help="How bad it pretends to be; hooks may ask for more.")
    ] = "critical",
) -> None:
    """Send a sample alert to every hook and say who took it. Exit 1 when one did not.

    Example: upbitd alerts test --severity warning
    """
    settings = read_config(config, keys=False)
    if not settings.alerts.hooks:
        fail("alerts.hooks is empty: nobody would hear of an alert")
    attempts = with_database(settings, lambda db: _try(db, settings, severity))
    show(attempts, {"hook": "HOOK", "answer": "ANSWER"}, as_json=False, empty="No hooks.")
    raise typer.Exit(int(any(each.answer not in {"took it", "not asked"} for each in attempts)))


async def _try(db: Database, config: Config, severity: Severity) -> list[Attempt]:
    answers: dict[str, bool] = {}
    hooks = [make_hook(each, os.environ) for each in config.alerts.hooks]
    incident = Incident(
        kind="test",
        severity=severity,
        incident=f"test:{uuid.uuid4().hex}",
        title="This is a test",
        message="Somebody ran `upbitd alerts test`; nothing is wrong.",
    )
    outbox = Outbox(
        db,
        hooks,
        Origin(host=socket.gethostname(), instance=config.daemon.instance),
        dedupe=config.alerts.dedupe,
        clock=lambda: datetime.now(UTC),
        mask=Masker(config.sensitive()),
        listeners=Listeners(sent=answers.__setitem__),
    )
    await outbox.notify(incident)
    await outbox.deliver_due()
    errors = await store.close_silently(db, incident.incident, datetime.now(UTC))
    said = {True: "took it", None: "not asked"}
    return [
        Attempt(
            hook=hook.name,
            answer=errors.get(hook.name) or said.get(answers.get(hook.name), "did not take it"),
        )
        for hook in hooks
    ]
