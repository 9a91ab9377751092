"""The ping to somebody outside who notices when it stays away: the daemon cannot report its death.

Called at intervals while health is not unhealthy and every critical lane moves. What fails is a
line; the outside notices by itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from loguru import logger

from jobs.core.bounded_http import BoundedClient
from jobs.core.http_clients import BadEnvironment, settings
from jobs.core.job import Sleep

TIMEOUT_S = 10.0
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMansSwitch:
    """Calls `url` every `every_s` seconds while `is_well`."""

    url: str
    every_s: float
    is_well: Callable[[], bool]

    async def keep(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Ping until cancelled."""
        while True:
            if self.is_well():
                await self.ping()
            await sleep(self.every_s)

    async def ping(self) -> bool:
        """Ping once. Returns whether it was heard; never raises."""
        try:
            http = BoundedClient(most_bytes=MOST_BYTES, **settings(self.url))
            async with asyncio.timeout(TIMEOUT_S), http as client:
                answer = await client.get(self.url, headers={"User-Agent": "upbitd"})
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, BadEnvironment) as error:
            why = type(error).__name__  # its text may hold the address, which is a secret
        else:
            if answer.is_success:
                return True
            why = f"answered {answer.status_code}"
        logger.bind(event="health.ping_failed", error=why).warning("The ping was not heard")
        return False
