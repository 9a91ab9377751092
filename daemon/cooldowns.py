"""Waits that servers asked for, beyond this process: stored, restored at a start, lifted by people.

The gates themselves are in memory (jobs/core/cooldowns.py); `gates` in the database is what
outlives the process and where `upbitd cooldowns` reads and writes.
"""

import asyncio

from loguru import logger

from jobs.core.cooldowns import Closed, Gates
from jobs.core.errors import Transient
from jobs.core.job import Clock, Sleep, current_lane
from jobs.core.untrusted import clean
from jobs.store import cooldowns as gate_rows
from jobs.store.db import Database

STORE_AGAIN_S = 1.0
LOOK_EVERY_S = 2.0
LOOK_WITHIN_S = 2.0
UNTOLD = "(the database refused the reason)"


class GateKeeper:
    """Stores each closing of a gate, so that a ban outlives the process, and obeys lifts."""

    def __init__(self) -> None:
        self._closings: asyncio.Queue[Closed] = asyncio.Queue()
        self._unstored: dict[str, int] = {}

    def on_close(self, closed: Closed) -> None:
        """Take note of a closing; for `Gates`."""
        self._unstored[closed.name] = self._unstored.get(closed.name, 0) + 1
        self._closings.put_nowait(closed)

    async def run(self, database: Database) -> None:
        """Store closings as they come, until cancelled."""
        while True:
            closed = await self._closings.get()
            try:
                await self._store(database, closed)
            except Transient as error:
                logger.bind(event="gate.not_stored", gate=closed.name, error=str(error)).warning(
                    "A closed gate is not stored yet; until then it holds for this process alone"
                )
                self._closings.put_nowait(closed)
                await asyncio.sleep(STORE_AGAIN_S)
            else:
                self._unstored[closed.name] -= 1

    async def _store(self, database: Database, closed: Closed) -> None:
        """Store one closing, without its reason when that is what the database refuses."""
        try:
            await gate_rows.save(database, closed)
        except Transient:
            raise
        except Exception as error:  # noqa: BLE001 - one odd closing must not end the keeper
            logger.bind(event="gate.refused", gate=closed.name, error=clean(str(error))).error(
                "The database refuses a closed gate; its reason is left out"
            )
            await self._store_without_reason(database, closed)

    async def _store_without_reason(self, database: Database, closed: Closed) -> None:
        bare = Closed(name=closed.name, until=closed.until, source=closed.source, reason=UNTOLD)
        try:
            await gate_rows.save(database, bare)
        except Transient:
            raise
        except Exception:  # noqa: BLE001 - as above; it holds for this process
            logger.bind(event="job.bug", gate=closed.name).exception("A gate cannot be stored")

    async def obey_lifts(
        self, gates: Gates, database: Database, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        """Open what people lifted, within seconds, until cancelled; asks while one is closed."""
        current_lane.set("orders")  # a lift must not wait for what hangs
        while True:
            await sleep(LOOK_EVERY_S)
            # what is stored before the question: an answer about it is about this very closing
            closed = [each for each in gates.closed() if not self._unstored.get(each.name)]
            if not closed:
                continue
            try:
                async with asyncio.timeout(LOOK_WITHIN_S):
                    stored = await gate_rows.stored(database)
            except (Transient, TimeoutError):
                continue  # whatever keeps the database away is told by others
            for each in closed:
                _obey(gates, each, stored.get(each.name))


def _obey(gates: Gates, closed: Closed, row: Closed | None) -> None:
    """Open a gate whose stored end lies before ours: that is a person's doing."""
    if row is None or row.until >= closed.until or closed not in gates.closed():
        return
    gates.lift(closed.name)
    logger.bind(
        event="cooldown.lifted", cooldown=closed.name, until=closed.until, reason=row.reason
    ).warning("A cooldown was lifted")


async def restore_gates(gates: Gates, database: Database, clock: Clock) -> None:
    """Close the gates that an earlier process was told to close, for no longer than was meant."""
    for closed in await gate_rows.load(database, clock()):
        left = gates.restore(closed)
        if left.until < closed.until:
            await gate_rows.shorten(database, left)
        logger.bind(event="gate.restored", gate=left.name, until=left.until).warning(
            "A gate from before the start is still closed"
        )
