"""What people are told when the event loop itself is stuck: by a thread that needs no loop of ours.

Systemd ends the process soon after; what was said must be out by then. Should the loop move again,
the incident is stored, with who has heard of it, and its end is told as any other.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from loguru import logger

from daemon.alerting.outbox import Outbox
from health.watchdog import LOOP_LANE, Heartbeats
from jobs.core.job import Incident

INCIDENT = "scheduler_stalled:loop"


class StallAlarm:
    """For `Watchdog`: call `silent` and `moves` from its thread. Make it inside the loop."""

    def __init__(self, outbox: Outbox, heartbeats: Heartbeats) -> None:
        self._outbox = outbox
        self._heartbeats = heartbeats
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_said = False

    def silent(self, cause: str) -> None:
        """Tell every hook now, if it is the loop that is silent; of others the monitor tells."""
        if not self._heartbeats.is_silent(LOOP_LANE):
            return
        self._is_said = True
        incident = Incident(
            kind="scheduler_stalled",
            severity="critical",
            incident=INCIDENT,
            title="The event loop is stuck",
            message=f"{cause}; nothing is run until it moves again or the process is restarted",
        )
        try:
            told = asyncio.run(self._outbox.tell_at_once(incident))
        except Exception:  # noqa: BLE001 - the watchdog's thread must outlive whatever a hook does
            logger.bind(event="alert.unsaid").exception("Nobody could be told of the stuck loop")
            told = set()
        self._later(self._outbox.notify(incident, told=told))

    def moves(self) -> None:
        """Take back what was said."""
        if self._is_said:
            self._is_said = False
            self._later(self._outbox.resolve(INCIDENT))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        def start() -> None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(start)
