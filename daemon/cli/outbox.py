"""The alert outbox of a command: it stores, the running daemon delivers."""

import os
import socket
from datetime import UTC, datetime

from daemon.alerting.channels import make_hook
from daemon.alerting.outbox import Origin, Outbox
from daemon.config.load import Config
from daemon.redaction import Masker
from jobs.store.db import Database


def outbox(db: Database, config: Config) -> Outbox:
    """Return where a command says what people should hear."""
    return Outbox(
        db,
        [make_hook(each, os.environ) for each in config.alerts.hooks],
        Origin(host=socket.gethostname(), instance=config.daemon.instance),
        dedupe=config.alerts.dedupe,
        clock=lambda: datetime.now(UTC),
        mask=Masker(config.sensitive()),
    )
