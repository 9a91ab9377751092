"""Evaluates alert rules periodically; raises each alert once and resolves it when it clears.

A rule looks at one fact and says what is wrong, or nothing. What is wrong for long enough is an
incident; when nothing is wrong any more, so is its end.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from loguru import logger

from jobs.core.job import Incident, Notifier, Sleep

LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """`look` returns what is wrong now, None when nothing is. It never waits.

    Wrong for `hold_s` seconds is an incident; well for `clear_s` ends it. `about` tells rules of
    one kind apart, `job` is the job that it is about.
    """

    kind: str
    severity: Literal["warning", "critical"]
    title: str
    look: Callable[[], str | None]
    hold_s: float = 0.0
    clear_s: float = 0.0
    about: str = ""
    job: str | None = None

    @property
    def key(self) -> str:
        """The key of its incident."""
        return f"{self.kind}:{self.about}" if self.about else self.kind


class _Watched:
    """How one rule stands: since when it is as it is, and whether that was told."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.is_told: bool | None = None
        """None: not known, for an earlier process may have told."""
        self._wrong: bool | None = None
        self._since_s = 0.0

    def look(self, now_s: float) -> str | None:
        """Look, and return what is wrong."""
        wrong = self.rule.look()
        if self._wrong is not (wrong is not None):
            self._wrong, self._since_s = wrong is not None, now_s
        return wrong

    def lasts(self, now_s: float, seconds: float) -> bool:
        """Whether it has been so for that long."""
        return now_s - self._since_s >= seconds


class AlertMonitor:
    """Looks at every rule again and again, and hands incidents to the outbox."""

    def __init__(
        self, rules: Sequence[AlertRule], notifier: Notifier, *, monotonic: Callable[[], float]
    ) -> None:
        self._watched = [_Watched(rule) for rule in rules]
        self._notifier = notifier
        self._monotonic = monotonic

    async def keep(self, *, sleep: Sleep = asyncio.sleep) -> None:
        """Look every second until cancelled."""
        while True:
            await self.look()
            await sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look at every rule once. A rule that raises is a line, and the others go on."""
        for each in self._watched:
            try:
                await self._judge(each)
            except Exception:  # noqa: BLE001 - a broken rule must not blind the others
                logger.bind(event="vigil.rule_failed", kind=each.rule.kind).exception(
                    "An alert rule failed"
                )

    async def _judge(self, each: _Watched) -> None:
        rule, now_s = each.rule, self._monotonic()
        wrong = each.look(now_s)
        if wrong is not None and each.is_told is not True and each.lasts(now_s, rule.hold_s):
            each.is_told = True
            await self._notifier.notify(_incident(rule, wrong))
        elif wrong is None and each.is_told is not False and each.lasts(now_s, rule.clear_s):
            each.is_told = False
            await self._notifier.resolve(rule.key)


def _incident(rule: AlertRule, wrong: str) -> Incident:
    return Incident(
        kind=rule.kind,
        severity=rule.severity,
        incident=rule.key,
        title=rule.title,
        message=wrong,
        job=rule.job,
    )
