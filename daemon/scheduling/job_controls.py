"""What people ask of jobs while the daemon runs: pause, resume, run now.

The table is the truth; a notification makes a change effective at once, and after a lost
connection the whole table is read again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

import psycopg
from loguru import logger

from jobs.core.errors import Transient
from jobs.core.job import Sleep, current_lane
from jobs.store import job_controls
from jobs.store.connecting import connect, ping
from jobs.store.db import Database

APPLICATION_NAME = "upbitd-controls"
RECONNECT_S = 0.5
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0
FOLD_S = 0.05
"""Any role of the database may notify: what comes faster is one look and one line."""
MOST_NAMED = 10


class Follower(Protocol):
    """Who obeys: the leader's present shift (daemon/leadership/term.py)."""

    def pause(self, jobs: Iterable[str]) -> None:
        """Pause these jobs and no others."""
        ...

    def run_now(self, job: str) -> None:
        """Run a job once more, now."""
        ...


class Controls:
    """Keeps whoever leads in this process told. Requests wait while nobody does."""

    def __init__(self, db: Database, url: str) -> None:
        self._db = db
        self._url = url
        self._follower: Follower | None = None
        self._one_at_a_time = asyncio.Lock()
        self.paused: Mapping[str, datetime] = {}
        """Since when each paused job is; empty while nobody leads in this process."""

    async def attach(self, follower: Follower) -> None:
        """Tell `follower` how things stand, and of every change. Raises Transient."""
        self._follower = follower
        await self._apply()

    def detach(self) -> None:
        """Tell nobody any more."""
        self._follower = None
        self.paused = {}

    async def listen(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Hear of changes until cancelled."""
        current_lane.set("orders")  # a pause must not wait for what hangs
        while True:
            try:
                await self._listen_once()
            except (psycopg.Error, OSError, Transient) as error:  # TimeoutError is an OSError
                logger.bind(event="controls.listener", error_type=type(error).__name__).warning(
                    "the listener for job controls lost the database"
                )
            await sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        connection = await connect(self._url, application_name=APPLICATION_NAME)
        async with connection:
            await connection.execute(f"LISTEN {job_controls.CHANNEL}".encode())
            await self._apply()
            while True:
                notes = connection.notifies(timeout=PING_EVERY_S, stop_after=1)
                if about := sorted({note.payload async for note in notes}):
                    logger.bind(event="job.control", about=about[:MOST_NAMED]).info(
                        "A control changed"
                    )
                    await self._apply()
                    await asyncio.sleep(FOLD_S)
                    continue
                async with asyncio.timeout(PING_TIMEOUT_S):  # a silent peer may be a dead one
                    await ping(connection)

    async def _apply(self) -> None:
        async with self._one_at_a_time:
            follower = self._follower
            if follower is None:
                return
            controls = await job_controls.read(self._db)
            if self._follower is not follower:
                return  # it was detached, or followed by another, meanwhile
            held = {job: each for job, each in controls.items() if each.paused}
            self.paused = {job: each.paused_at or each.updated_at for job, each in held.items()}
            follower.pause(held)
            for job, each in controls.items():
                is_asked = each.runs_done < each.runs_asked
                if is_asked and await job_controls.take_run(self._db, job):
                    follower.run_now(job)
