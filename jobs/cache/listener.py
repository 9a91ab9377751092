"""What the database tells of itself: changes by anybody reach this process at once.

Triggers notify, so that a change by psql or by another process counts like one of ours.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

import psycopg
from loguru import logger

from jobs.core.job import Sleep
from jobs.store.connecting import connect, ping

APPLICATION_NAME = "upbitd-settings"
RECONNECT_S = 0.5
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0
MOST_LINES_A_SECOND = 50


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


class _Lines:
    """The log lines of changes, so many a second: any role of the database may notify."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def tell(self, note: psycopg.Notify) -> None:
        """Write the line of one change, unless there were many in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        log = logger.bind(event=note.channel.replace("_", ".", 1), key=note.payload)
        level = "INFO" if note.channel == "settings_changed" else "DEBUG"
        if self._count <= MOST_LINES_A_SECOND:
            log.log(level, "a row changed")
        elif self._count == MOST_LINES_A_SECOND + 1:
            log.log(level, "many rows change; the others of this second are not told")


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
        lines = _Lines()
        while True:
            async for note in connection.notifies(timeout=PING_EVERY_S):
                ears[note.channel].invalidate()
                lines.tell(note)
            async with asyncio.timeout(PING_TIMEOUT_S):  # a silent peer may be a dead one
                await ping(connection)
