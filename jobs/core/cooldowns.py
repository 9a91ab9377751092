"""Gates: a server's wait, kept for the whole process so that no job sends anything inside it.

A gate is named `dependency` or `dependency:group`, for example `upbit:order` or `gemini`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jobs.core.errors import Banned, RateLimited, Transient, WaitSource
from jobs.core.job import Clock
from jobs.core.untrusted import LONGEST_WAIT_S, one_line

MISTAKEN_S = 3600.0
"""What a stored wait beyond all reason becomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A gate that is closed until `until` (aware UTC) because `source` said so.

    `closed_at` is when that was said, None where nobody remembers.
    """

    name: str
    until: datetime
    source: WaitSource
    reason: str
    closed_at: datetime | None = None


class Gates:
    """The closed gates of this process.

    Instants are wall clock, because a ban outlives the process; `on_close` is told of every new
    closing, so that the root can store it. With `elapsed`, a clock that nobody sets, a step of
    the wall clock neither opens a gate early nor keeps it closed.
    """

    def __init__(
        self,
        clock: Clock,
        on_close: Callable[[Closed], None] | None = None,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._on_close = on_close
        self._elapsed = elapsed or (lambda: clock().timestamp())
        self._closed: dict[str, Closed] = {}
        self._open_s: dict[str, float] = {}

    def close(self, name: str, wait_s: float, *, source: WaitSource, reason: str) -> None:
        """Close `name` for `wait_s` seconds from now; a longer closing in force stays."""
        wait_s = min(wait_s, LONGEST_WAIT_S)
        if name in self._closed and self._left_s(name) >= wait_s:
            return
        now = self._clock()
        until = now + timedelta(seconds=wait_s)
        said = one_line(reason)
        closed = Closed(name=name, until=until, source=source, reason=said, closed_at=now)
        self._closed[name] = closed
        self._open_s[name] = self._elapsed() + wait_s
        if self._on_close is not None:
            self._on_close(closed)

    def restore(self, closed: Closed) -> Closed:
        """Take over a closing that an earlier process stored; return what is left of it.

        Never for longer than the server asked for, even where our clock is years behind; what no
        server asks for is a mistake, and is an hour.
        """
        now = self._clock()
        left = closed.until - now
        if closed.closed_at is not None:
            left = min(left, max(closed.until - closed.closed_at, timedelta()))
        if left.total_seconds() > LONGEST_WAIT_S:
            left = timedelta(seconds=MISTAKEN_S)
        taken = replace(closed, until=min(closed.until, now + left))
        self._closed[closed.name] = taken
        self._open_s[closed.name] = self._elapsed() + left.total_seconds()
        return taken

    def lift(self, name: str) -> bool:
        """Open `name` now; whether it was closed."""
        was_closed = self._left_s(name) > 0
        self._open_s.pop(name, None)
        self._closed.pop(name, None)
        return was_closed

    def wait_s(self, name: str) -> float:
        """Seconds until `name` and the dependency it belongs to are open; 0 when they are."""
        return max((self._left_s(each) for each in _with_parent(name)), default=0.0)

    def check(self, name: str) -> None:
        """Raise RateLimited or Banned, with the rest of the wait, while `name` is closed."""
        for each in _with_parent(name):
            if (left_s := self._left_s(each)) > 0:
                raise self._refusal(self._closed[each], left_s)

    def closed(self) -> list[Closed]:
        """The gates that are closed now."""
        return [gate for name, gate in self._closed.items() if self._left_s(name) > 0]

    def _left_s(self, name: str) -> float:
        return max(0.0, self._open_s.get(name, 0.0) - self._elapsed())

    @staticmethod
    def _refusal(gate: Closed, left_s: float) -> Transient:
        kind = Banned if gate.source == "ban" else RateLimited
        return kind(
            f"{gate.name} is closed: {gate.reason}",
            retry_after_s=left_s,
            wait_source=gate.source,
        )


def _with_parent(name: str) -> tuple[str, ...]:
    parent, _, group = name.partition(":")
    return (name, parent) if group else (name,)
