"""Builders of the port's routes, from callables that the root gives."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from datetime import datetime
from threading import BoundedSemaphore
from typing import Any, Final, ParamSpec, TypeVar

from health.report import Report, Status
from health.response import Request, Response, Route, json_response

P = ParamSpec("P")
T = TypeVar("T")

SINCE: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SINCE_S: Final = 366 * 86400.0
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class NoAnswer(Exception):
    """What lives on the loop did not answer; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """Whether new orders are stopped (`level` "none", "entries" or "all"), by whom and why.

    `ended_by` says in words what a person does to end it.
    """

    level: str = "none"
    by: str | None = None
    since: datetime | None = None
    reason: str | None = None
    ended_by: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The halt as /health shows it."""
        return {
            "level": self.level,
            "by": self.by,
            "since": self.since,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the process is, beside how well it is. `note` stands beside the mode on the page, for
    example that the exchange is a local one.
    """

    version: str
    mode: str
    role: str
    uptime_s: float
    note: str | None = None
    halted: Halted = Halted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether work may start. `standby`: started and waiting for the leader to go."""

    ready: bool
    standby: bool = False
    reason: str | None = None


def on_loop(
    loop: asyncio.AbstractEventLoop,
    call: Callable[P, Coroutine[Any, Any, T]],
    *,
    timeout_s: float = 2.0,
    at_once: int = 4,
    unavailable: tuple[type[Exception], ...] = (),
) -> Callable[P, T]:
    """Make `call`, which lives on `loop`, callable from the port's threads.

    The result raises NoAnswer when the loop does not answer within `timeout_s`, is closed, or when
    the call ends with one of the `unavailable` errors, and at once when `at_once` others wait
    already: they must not hold every thread of the port while the loop is stuck.
    """
    places = BoundedSemaphore(at_once)

    def from_thread(*args: P.args, **kwargs: P.kwargs) -> T:
        if not places.acquire(blocking=False):
            raise NoAnswer(f"{at_once} others wait for it already")
        try:
            return ask(*args, **kwargs)
        finally:
            places.release()

    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        coroutine = call(*args, **kwargs)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as exc:
            coroutine.close()
            raise NoAnswer("the daemon is stopping") from exc
        try:
            return future.result(timeout_s)
        except TimeoutError as exc:
            future.cancel()
            raise NoAnswer(f"no answer within {timeout_s:g} s") from exc
        except CancelledError as exc:
            raise NoAnswer("the daemon is stopping") from exc
        except unavailable as exc:
            raise NoAnswer(f"not available now: {type(exc).__name__}") from exc

    return from_thread


def health(snapshot: Callable[[], Report], about: Callable[[], About]) -> Route:
    """/health: 503 when unhealthy, else 200."""

    def route(request: Request) -> Response:
        del request
        report = snapshot()
        status = 503 if report.status is Status.UNHEALTHY else 200
        return json_response(health_body(report, about()), status)

    return route


def health_body(report: Report, about: About) -> dict[str, object]:
    """The body of /health."""
    return {
        "status": report.status.value,
        "checked_at": report.checked_at,
        "version": about.version,
        "mode": about.mode,
        "role": about.role,
        "uptime_s": round(about.uptime_s, 1),
        "halted": about.halted.as_dict(),
        "components": {name: each.as_dict() for name, each in report.components.items()},
    }


def livez(alive: Callable[[], tuple[bool, str | None]]) -> Route:
    """/livez: 200 while the process makes progress, else 503 with the cause."""

    def route(request: Request) -> Response:
        del request
        is_alive, cause = alive()
        return json_response({"alive": is_alive, "cause": cause}, 200 if is_alive else 503)

    return route


def readyz(readiness: Callable[[], Readiness]) -> Route:
    """/readyz: 200 once work may start; a standby counts with ?standby=ok."""

    def route(request: Request) -> Response:
        now = readiness()
        ready = now.ready or (now.standby and request.query.get("standby") == "ok")
        reason = None if ready else now.reason or "not ready, no reason was given"
        return json_response({"ready": ready, "reason": reason}, 200 if ready else 503)

    return route


def metrics(render: Callable[[], bytes]) -> Route:
    """/metrics: Prometheus text."""

    def route(request: Request) -> Response:
        del request
        return Response(body=render(), content_type=PROMETHEUS)

    return route


def stats(collect: Callable[[float], Mapping[str, object]]) -> Route:
    """/stats?since=24h: `collect` gets the span in seconds."""

    def route(request: Request) -> Response:
        text = request.query.get("since", "24h")
        found = SINCE.fullmatch(text)
        since_s = float(found[1]) * UNIT_S[found[2]] if found else 0.0
        if not 0 < since_s <= MAX_SINCE_S:
            allowed = "a number with s, m, h or d, up to 366d"
            return json_response({"error": f"since: {allowed}", "given": text[:40]}, 400)
        return _or_503(lambda: collect(since_s))

    return route


def facts(collect: Callable[[], Mapping[str, object]]) -> Route:
    """/cache-stats and the like: whatever `collect` gives, as JSON."""

    def route(request: Request) -> Response:
        del request
        return _or_503(collect)

    return route


def _or_503(collect: Callable[[], Mapping[str, object]]) -> Response:
    try:
        return json_response(collect())
    except NoAnswer as exc:
        return json_response({"error": str(exc)}, 503)
