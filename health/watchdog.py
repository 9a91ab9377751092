"""Progress, not `running`: every lane leaves heartbeats, and silence of a critical one is death.

A lane is anything that has to keep moving: the event loop, the scheduler's pass, each job's newest
slot, the database writer, alert delivery.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread

from loguru import logger

from health.check_inputs import LaneFact
from health.report import Sleep, hms

LOOP_LANE = "loop"


@dataclass(slots=True)
class _Lane:
    """A lane; `last_s` is its newest heartbeat on the monotonic clock."""

    limit_s: float
    critical: bool
    last_s: float
    due_s: float


class Heartbeats:
    """When each lane last moved. Thread-safe; a lane that nobody expects cannot be silent."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._lanes: dict[str, _Lane] = {}

    def expect(self, lane: str, limit_s: float, *, critical: bool = True) -> None:
        """Expect a heartbeat of `lane` at least every `limit_s` seconds, from now on."""
        with self._lock:
            now_s = self._monotonic()
            self._lanes[lane] = _Lane(limit_s, critical, now_s, limit_s)

    def forget(self, lane: str) -> None:
        """Expect nothing of `lane` any more: it was ended on purpose."""
        with self._lock:
            self._lanes.pop(lane, None)

    def beat(self, lane: str, *, next_within_s: float | None = None) -> None:
        """Note that `lane` moved. `next_within_s` replaces its limit up to the next heartbeat only,
        for example until a job's next slot. A lane that is not expected is not noted.
        """
        with self._lock:
            if (known := self._lanes.get(lane)) is not None:
                known.last_s = self._monotonic()
                known.due_s = known.limit_s if next_within_s is None else next_within_s

    def is_silent(self, lane: str) -> bool:
        """Whether this lane is expected and has not moved in time."""
        return any(each.name == lane and each.age_s > each.limit_s for each in self.lanes())

    def lanes(self) -> tuple[LaneFact, ...]:
        """Every expected lane with its age of this moment."""
        with self._lock:
            now_s = self._monotonic()
            return tuple(
                LaneFact(
                    name=name,
                    age_s=now_s - lane.last_s,
                    limit_s=lane.due_s,
                    critical=lane.critical,
                )
                for name, lane in self._lanes.items()
            )

    def alive(self) -> tuple[bool, str | None]:
        """Whether every critical lane moves; if not, which are silent and their limits.

        Nothing expected yet is not alive: nobody can vouch for it.
        """
        lanes = [lane for lane in self.lanes() if lane.critical]
        if not lanes:
            return False, "no lane has reported progress"
        silent = [
            f"no progress of {lane.name} for {hms(lane.age_s)}, limit {hms(lane.limit_s)}"
            for lane in lanes
            if lane.age_s > lane.limit_s
        ]
        return not silent, "; ".join(silent) or None


async def pulse(
    heartbeats: Heartbeats,
    *,
    lane: str = LOOP_LANE,
    period_s: float = 0.5,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Beat for the event loop that runs this, for ever; ends by cancellation."""
    while True:
        heartbeats.beat(lane)
        await sleep(period_s)


class Watchdog:
    """A thread that calls `ping` every `period_s` seconds, only while every critical lane moves.

    A thread of its own, because a stuck loop could not say why it is stuck: the cause is logged
    and handed to `on_silence` once per silence, then systemd ends the process. `on_progress` is
    called when they all move again.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        *,
        ping: Callable[[], object],
        period_s: float,
        on_silence: Callable[[str], object] = lambda _: None,
        on_progress: Callable[[], object] = lambda: None,
    ) -> None:
        self._heartbeats = heartbeats
        self._ping = ping
        self._period_s = period_s
        self._on_silence = on_silence
        self._on_progress = on_progress
        self._silent = False
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; waits for the thread. Without a start there is nothing to stop."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> bool:
        """Look once: ping if all is alive, report the cause if not. Returns whether it pinged."""
        alive, cause = self._heartbeats.alive()
        if alive:
            self._ping()
            if self._silent:
                logger.bind(event="daemon.progress").info("every lane moves again")
                self._on_progress()
        elif not self._silent:
            log = logger.bind(event="daemon.no_progress", cause=cause)
            log.critical("a critical lane is silent, the watchdog is not fed")
            self._on_silence(cause or "unknown")
        self._silent = not alive
        return alive

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._period_s)
