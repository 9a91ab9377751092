"""What the database tells of itself: changes by anybody reach this process at once.

Triggers notify, so that a change by psql or by another process counts like one of ours.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import psycopg
from loguru import logger

from jobs.spec import Sleep
from jobs.store.connecting import connect, ping

APPLICATION_NAME = "upbitd-settings"
RECONNECT_S = 0.5
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0


class Ear(Protocol):
    """A cache that is told of changes."""

    def invalidate(self) -> None:
        """Something changed: forget it."""
        ...

    def deafen(self) -> None:
        """Nobody hears of changes now: serve nothing from memory until `hear`."""
        ...

    def hear(self) -> None:
        """Changes are heard of from now on."""
        ...


async def listen(url: str, ears: Mapping[str, Ear], *, sleep: Sleep = asyncio.sleep) -> None:
    """Keep each channel's ear told of every change in the database at `url`, until cancelled."""
    while True:
        try:
            await _listen_once(url, ears)
        except (psycopg.Error, OSError) as exc:  # TimeoutError is an OSError
            logger.bind(event="settings.listener", error_type=type(exc).__name__).warning(
                "the listener for changes lost the database"
            )
        finally:
            for ear in ears.values():
                ear.deafen()
        await sleep(RECONNECT_S)


async def _listen_once(url: str, ears: Mapping[str, Ear]) -> None:
    connection = await connect(url, application_name=APPLICATION_NAME)
    async with connection:
        for channel in ears:
            await connection.execute(f"LISTEN {channel}".encode())
        for ear in ears.values():
            ear.hear()
        while True:
            async for note in connection.notifies(timeout=PING_EVERY_S):
                ears[note.channel].invalidate()
                logger.bind(event=note.channel.replace("_", ".", 1), key=note.payload).log(
                    "INFO" if note.channel == "settings_changed" else "DEBUG", "a row changed"
                )
            async with asyncio.timeout(PING_TIMEOUT_S):  # a silent peer may be a dead one
                await ping(connection)
