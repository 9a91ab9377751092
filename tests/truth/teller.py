"""A process that raises one incident after the other, to be killed at any moment.

    python teller.py URL FIRST HOOK...

Prints the key of each incident once `notify` has returned: from then on it must not be lost. Raises
nothing when FIRST is negative, and ends when nothing waits to be delivered.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from daemon.alerting.channels import make_hook
from daemon.alerting.outbox import Origin, Outbox
from daemon.config.sections import HookConfig
from daemon.postgres.pool import PoolOptions, open_database
from jobs.core.job import Incident
from jobs.store import alerts
from jobs.store.db import Database

EVERY_S = 0.02


def incident(number: int) -> Incident:
    """The incident with this number."""
    return Incident(
        kind="permanent_failure",
        severity="critical",
        incident=f"n{number}",
        title=f"n{number}",
        message="planted",
    )


async def tell(url: str, first: int, command: list[str]) -> None:
    """Raise incidents, or deliver what waits."""
    hook = make_hook(
        HookConfig.model_validate({"exec": command, "timeout": timedelta(seconds=1)}), os.environ
    )
    async with open_database(url, PoolOptions(pool_min=2, pool_max=4)) as database:
        outbox = Outbox(
            database,
            [hook],
            Origin(host="here", instance="truth"),
            dedupe=timedelta(minutes=15),
            clock=lambda: datetime.now(UTC),
        )
        delivering = asyncio.create_task(outbox.deliver_forever())
        if first < 0:
            await nothing_waits(database)
        else:
            await raise_forever(outbox, first)
        delivering.cancel()


async def nothing_waits(database: Database) -> None:
    """Return once every alert is delivered."""
    while await alerts.undelivered(database):  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.2)


async def raise_forever(outbox: Outbox, number: int) -> None:
    """Raise one incident after the other."""
    while True:
        await outbox.notify(incident(number))
        sys.stdout.write(f"n{number}\n")
        sys.stdout.flush()
        number += 1
        await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    asyncio.run(tell(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
