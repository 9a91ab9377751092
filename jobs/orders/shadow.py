"""A paper twin beside a live account: the same signals, limits and exits, pretended money.

The twin runs right after the live pass, in the same slot. Whatever happens to it is logged and
changes nothing for the live account: it has its own orders, positions and worth (mode `paper`), and
its ends of signals stand in columns of their own.
"""

import asyncio
from dataclasses import dataclass

from loguru import logger

from jobs.core.errors import JobError
from jobs.core.job import Incident, Slot
from jobs.orders.job import OrdersJob

TWIN_TAKES_AT_MOST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowedOrders:
    """The live job and its twin."""

    live: OrdersJob
    twin: OrdersJob
    limit_s: float = TWIN_TAKES_AT_MOST_S

    async def run(self, slot: Slot) -> int:
        """Do the live pass, then the twin's; the result and the failure are the live one's."""
        try:
            return await self.live.run(slot)
        finally:
            await self._shadow(slot)

    async def _shadow(self, slot: Slot) -> None:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            return  # the slot's time is up: nothing more is begun
        try:
            async with asyncio.timeout(self.limit_s):
                await self.twin.run(slot)
        except (JobError, TimeoutError) as exc:
            _tell(exc)
        except Exception as exc:  # noqa: BLE001 - a bug in the twin must not fail the live pass
            _tell(exc)


class Unheard:
    """The twin's notifier: nobody is called because of pretended money; the log has it all."""

    async def notify(self, incident: Incident) -> None:
        """Log the incident."""
        logger.bind(event="shadow.incident", kind=incident.kind, about=incident.message).info(
            "The paper twin met something that a live account would tell of"
        )

    async def resolve(self, incident: str) -> None:
        """Do nothing."""


def _tell(exc: Exception) -> None:
    logger.bind(event="shadow.trouble", error_type=type(exc).__name__, error=str(exc)).warning(
        "The paper twin missed a pass"
    )
