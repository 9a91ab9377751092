"""Watches whether trading is halted, and tells people within a second, whichever way it was."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from loguru import logger

from daemon.telemetry.metrics import Metrics, Reading
from jobs.core.job import Incident, Notifier, Sleep, current_lane
from jobs.domain.halt import NOT_HALTED, Halt, HaltLevel, halted_by_file, strongest
from jobs.domain.settings import Settings

LOOK_EVERY_S = 0.25
SETTINGS_S = 0.5
KEYS = {HaltLevel.ENTRIES: "halted:entries", HaltLevel.ALL: "halted"}
TITLES = {HaltLevel.ENTRIES: "New positions are halted", HaltLevel.ALL: "Trading is halted"}


class HaltMonitor:
    """Looks at the setting and at the file four times a second.

    `settings` answers from memory as long as the database tells of changes; while it cannot be
    read, what was known of it last holds. `on_change` hears of every difference.
    """

    def __init__(
        self,
        settings: Callable[[], Awaitable[Settings]],
        halt_file: Path,
        notifier: Notifier,
        on_change: Callable[[Halt], object],
    ) -> None:
        self._settings = settings
        self._halt_file = halt_file
        self._notifier = notifier
        self._on_change = on_change
        self._stored = NOT_HALTED
        self._current = NOT_HALTED
        self._told: HaltLevel | None = None
        """None at first: an earlier process may have told."""

    @property
    def current(self) -> Halt:
        """What halts trading. From any thread."""
        return self._current

    async def keep(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Look until cancelled."""
        current_lane.set("orders")  # a halt must not wait for what hangs
        while True:
            await self.look()
            await sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once, and tell what is new."""
        try:
            async with asyncio.timeout(SETTINGS_S):
                self._stored = (await self._settings()).halt
        except Exception as exc:  # noqa: BLE001 - whatever keeps it from the setting, the file counts
            logger.bind(event="halt.setting_unread", error_type=type(exc).__name__).debug(
                "The setting halted cannot be read; the last one known holds"
            )
        now = strongest(self._stored, halted_by_file(self._halt_file))
        before = self._current
        if now != before:
            self._current = now
            self._on_change(now)
        is_file_gone = before.file is not None and before.file != now.file
        if is_file_gone and now.level.rank < before.level.rank:
            await self._notifier.notify(resumed_by_file(before, now))
        if now.level is not self._told:
            self._told = now.level
            await self._tell(now)

    async def _tell(self, now: Halt) -> None:
        if (key := KEYS.get(now.level)) is not None:
            await self._notifier.notify(halt_incident(now))
        for other in KEYS.values():
            if other != key:
                await self._notifier.resolve(other)


def halt_incident(halt: Halt) -> Incident:
    """What a person hears of a halt; one alert for each level."""
    effect = "stop-losses are off" if halt.level is HaltLevel.ALL else "exits go on"
    return Incident(
        kind="halted",
        severity="warning",
        incident=KEYS[halt.level],
        title=TITLES[halt.level],
        message=f"{halt}; {effect}",
        advice=halt.ended_by,
    )


def resumed_by_file(before: Halt, now: Halt) -> Incident:
    """What a person hears when the file that halted trading is gone.

    Changes of the setting are told by settings_monitor.py, which reads its audit.
    """
    return Incident(
        kind="resumed",
        severity="warning",
        incident=f"resumed:{before.file}",
        title="Trading was resumed",
        message=f"{before.file} is gone: {now}",
        is_event=True,
    )


def status_line(halt: Halt) -> str:
    """What `systemctl status` shows."""
    return "running" if halt.level is HaltLevel.NONE else f"running, trading is {halt}"


def watch_halt(metrics: Metrics, current: Callable[[], Halt]) -> None:
    """Add the halt to the figures: 1 at the level that is in force."""

    def levels() -> Reading:
        now = current().level
        return [((level,), float(level is now)) for level in HaltLevel]

    metrics.watch("upbitd_halted", "1 at the level at which trading is halted.", ("level",), levels)
