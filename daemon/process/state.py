"""What this process is at the moment: its role, and whether work may start."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from health.routes import About, Halted, Readiness
from jobs.domain.halt import NOT_HALTED, Halt, HaltLevel

Role = Literal["leader", "standby", "starting"]


@dataclass(frozen=True, slots=True)
class _Now:
    role: Role
    ready: bool
    reason: str | None


class ProcessStatus:
    """Replaced as a whole on every change, so that any thread may read it at any time.

    `note` stands beside the mode on the page; `halted` says what halts trading.
    """

    def __init__(
        self,
        *,
        mode: str,
        version: str,
        note: str | None = None,
        halted: Callable[[], Halt] = lambda: NOT_HALTED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = mode
        self.note = note
        self.version = version
        self.halted = halted
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._now = _Now("starting", ready=False, reason="starting")

    def starting(self, reason: str) -> None:
        """Say what the start waits for."""
        self._now = _Now("starting", ready=False, reason=reason)

    def standby(self, reason: str) -> None:
        """Say that another instance leads."""
        self._now = _Now("standby", ready=False, reason=reason)

    def leading(self) -> None:
        """Say that slots are run."""
        self._now = _Now("leader", ready=True, reason=None)

    def stopping(self) -> None:
        """Say that nothing new begins."""
        self._now = _Now(self._now.role, ready=False, reason="stopping")

    @property
    def role(self) -> Role:
        """The role now."""
        return self._now.role

    def about(self) -> About:
        """What /health says beside the components."""
        return About(
            version=self.version,
            mode=self.mode,
            role=self._now.role,
            uptime_s=self._monotonic() - self._began_s,
            note=self.note,
            halted=_as_shown(self.halted()),
        )

    def readiness(self) -> Readiness:
        """What /readyz says."""
        now = self._now
        return Readiness(ready=now.ready, standby=now.role == "standby", reason=now.reason)


def _as_shown(halt: Halt) -> Halted:
    if halt.level is HaltLevel.NONE:
        return Halted()
    return Halted(
        level=halt.level.value,
        by=halt.by,
        since=halt.since,
        reason=halt.reason,
        ended_by=halt.ended_by,
    )
