"""What is well and what is not: six components, each with a cause when it is not healthy.

Probes gather facts in the background, each with its own deadline. A report is made from the facts
at the moment of asking, so that ages are true even while everything behind it hangs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from loguru import logger

F = TypeVar("F")

Clock = Callable[[], datetime]
"""Returns the present as an aware UTC datetime."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""

COMPONENTS: Final = (
    "database",
    "upbit",
    "gemini",
    "scheduler",
    "latest_signal",
    "latest_order",
)

MAX_MASKED_CHARS: Final = 4000
MAX_CAUSE_CHARS: Final = 300


class Status(StrEnum):
    """How well a component is, best first."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


def worst(statuses: Sequence[Status]) -> Status:
    """The worst of `statuses`; of none, unhealthy: nothing known is not well."""
    ranked = list(Status)
    return max(statuses, key=ranked.index, default=Status.UNHEALTHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check makes of its facts. `latency_ms` None: the probe's own duration counts."""

    status: Status
    cause: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component at one moment. `cause` is set whenever it is not healthy."""

    status: Status
    cause: str | None
    checked_at: datetime | None
    latency_ms: float | None
    detail: Mapping[str, object]

    def as_dict(self) -> dict[str, object]:
        """The component as the health port shows it."""
        return {
            "status": self.status.value,
            "cause": self.cause,
            "checked_at": self.checked_at,
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 1),
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The six components at `checked_at`."""

    checked_at: datetime
    components: Mapping[str, Component]

    @property
    def status(self) -> Status:
        """The worst component's status."""
        return worst([each.status for each in self.components.values()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """Turns an exception into a cause: its type and its masked message, in one short line.

    `is_fatal` says of which errors waiting will not help (a refused key, an unknown model).
    """

    mask: Callable[[str], str]
    is_fatal: Callable[[BaseException], bool] = lambda _: False

    def text(self, exc: BaseException) -> str:
        """The one line."""
        # cut first: masking a long text takes long, and the line is short
        message = " ".join(self.mask(str(exc)[:MAX_MASKED_CHARS]).split())
        line = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
        return line if len(line) <= MAX_CAUSE_CHARS else line[: MAX_CAUSE_CHARS - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Generic[F]):
    """What became of one call: its value, or the error that ended it, and how long it took."""

    value: F | None = None
    error: str | None = None
    fatal: bool = False
    latency_ms: float


class TooLate(TimeoutError):
    """There was no answer in time."""


async def within(call: Callable[[], Awaitable[F]], seconds: float) -> F:
    """Return what `call` returns. Raises TooLate after so many seconds, whatever `call` does.

    What is late is cancelled and left alone: a driver may take its time to give up.
    """
    task = asyncio.ensure_future(call())
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if not done:
        task.cancel()
        task.add_done_callback(_forget)
        raise TooLate
    return task.result()


def _forget(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that nobody reports it as lost


async def attempt(
    call: Callable[[], Awaitable[F]], deadline_s: float, explain: Explain
) -> Attempt[F]:
    """Make one call under its deadline. Never raises but CancelledError."""
    started = time.perf_counter()
    value, error, fatal = None, None, False
    try:
        value = await within(call, deadline_s)
    except Exception as exc:  # noqa: BLE001 - the boundary: whatever a probe raises is its answer
        if isinstance(exc, TooLate):
            error = f"no answer within {deadline_s:g} s"
        else:
            error, fatal = explain.text(exc), explain.is_fatal(exc)
    latency_ms = (time.perf_counter() - started) * 1000
    return Attempt(value=value, error=error, fatal=fatal, latency_ms=latency_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Generic[F]):
    """Facts gathered in the background, judged at the moment of asking.

    Facts older than `max_age_s` (default: two periods and a deadline) are themselves a fault.
    """

    component: str
    gather: Callable[[], Awaitable[F]]
    judge: Callable[[F, datetime], Verdict]
    period_s: float
    deadline_s: float
    max_age_s: float | None = None

    @property
    def limit_s(self) -> float:
        """The greatest age of its facts, in seconds."""
        return 2 * self.period_s + self.deadline_s if self.max_age_s is None else self.max_age_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Live(Generic[F]):
    """Facts that are read at the moment of asking; `read` is thread-safe and never waits."""

    component: str
    read: Callable[[], F]
    judge: Callable[[F, datetime], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """The newest attempt of a probe; `read_s` is its instant on the monotonic clock."""

    attempt: Attempt[Any]
    at: datetime
    read_s: float


class Examiner:
    """Keeps every probe's newest result and makes reports from them.

    Exactly the six components have to be given, by probes or as live facts; ValueError otherwise.
    """

    def __init__(
        self,
        checks: Iterable[Probe[Any] | Live[Any]],
        *,
        explain: Explain,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        given = list(checks)
        self._checks = {each.component: each for each in given}
        if len(given) != len(COMPONENTS) or set(self._checks) != set(COMPONENTS):
            names = [each.component for each in given]
            raise ValueError(f"each of {list(COMPONENTS)} needs one check, not {names}")
        self._explain = explain
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        # whole results are swapped in by the loop and read by the port's threads
        self._results: dict[str, _Result | None] = dict.fromkeys(COMPONENTS)

    async def run(self) -> None:
        """Probe for ever, every component at its own period; ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            for check in self._checks.values():
                if isinstance(check, Probe):
                    group.create_task(self._keep_probing(check), name=f"probe:{check.component}")

    async def probe(self, component: str) -> None:
        """Gather one component's facts now. Live facts need none of it."""
        check = self._checks[component]
        if isinstance(check, Probe):
            result = await attempt(check.gather, check.deadline_s, self._explain)
            self._results[component] = _Result(
                attempt=result, at=self._clock(), read_s=self._monotonic()
            )

    def snapshot(self) -> Report:
        """The report of this moment. Thread-safe, waits for nothing, never raises."""
        now = self._clock()
        components = {name: self._component(name, now) for name in COMPONENTS}
        return Report(checked_at=now, components=components)

    async def _keep_probing(self, probe: Probe[Any]) -> None:
        while True:
            await self.probe(probe.component)
            await self._sleep(probe.period_s)

    def _component(self, name: str, now: datetime) -> Component:
        check = self._checks[name]
        if isinstance(check, Live):
            verdict = self._judged(lambda: check.judge(check.read(), now))
            return _as_component(verdict, checked_at=now)
        result = self._results[name]
        if result is None:
            return _as_component(Verdict(status=Status.UNHEALTHY, cause="not checked yet"))
        verdict = self._probed(check, result, now)
        if verdict.latency_ms is None:
            verdict = replace(verdict, latency_ms=result.attempt.latency_ms)
        return _as_component(verdict, checked_at=result.at)

    def _probed(self, probe: Probe[Any], result: _Result, now: datetime) -> Verdict:
        if (error := result.attempt.error) is not None:
            verdict = Verdict(status=Status.UNHEALTHY, cause=error)
        else:
            verdict = self._judged(lambda: probe.judge(result.attempt.value, now))
        age_s = self._monotonic() - result.read_s
        if age_s <= probe.limit_s:
            return verdict
        stale = f"last checked {hms(age_s)} ago, limit {hms(probe.limit_s)}"
        causes = [stale] if verdict.cause is None else [stale, verdict.cause]
        return replace(verdict, status=Status.UNHEALTHY, cause="; ".join(causes))

    def _judged(self, judge: Callable[[], Verdict]) -> Verdict:
        try:
            return judge()
        except Exception as exc:  # noqa: BLE001 - the boundary: a broken check is not a green one
            logger.bind(event="health.check_failed").opt(exception=exc).error("a check failed")
            cause = f"the check itself failed: {self._explain.text(exc)}"
            return Verdict(status=Status.UNHEALTHY, cause=cause)


def hms(seconds: float) -> str:
    """Seconds as `H:MM:SS`, cut to whole seconds; days count as hours, less than nothing as 0."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _as_component(verdict: Verdict, *, checked_at: datetime | None = None) -> Component:
    cause = verdict.cause
    if verdict.status is not Status.HEALTHY and not cause:
        cause = "no cause was given"
    return Component(
        status=verdict.status,
        cause=cause,
        checked_at=checked_at,
        latency_ms=verdict.latency_ms,
        detail=verdict.detail,
    )
