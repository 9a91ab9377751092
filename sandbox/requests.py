"""What arrived: every request with its time and what became of it, counted by route."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

KEPT = 50_000
KEPT_BODY = 4_000


@dataclass(slots=True)
class Entry:
    """One request. `status` stays None when no answer was sent; `fault` is a fault's number."""

    number: int
    at: datetime
    method: str
    path: str
    query: str
    body: str
    status: int | None = None
    fault: int | None = None

    def shown(self) -> dict[str, object]:
        """The entry as JSON."""
        return asdict(self) | {"at": self.at.isoformat()}


class RequestLog:
    """The newest requests in full; `clock` is the venue's."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0

    def arrived(self, method: str, path: str, query: bytes, body: bytes) -> Entry:
        """Note a request as it arrives."""
        self._last += 1
        text = body[:KEPT_BODY].decode(errors="replace")
        query_text = query.decode(errors="replace")
        entry = Entry(self._last, self._clock(), method, path, query_text, text)
        self._entries.append(entry)
        return entry

    def entries(self, *, method: str = "", path: str = "") -> list[Entry]:
        """Requests, oldest first, of one method and path where named."""
        wanted = (
            (not method or e.method == method) and (not path or e.path == path)
            for e in self._entries
        )
        return [entry for entry, fits in zip(self._entries, wanted, strict=True) if fits]

    def counts(self) -> dict[str, dict[str, int]]:
        """Per "METHOD path" how many answers of each status; "none" for no answer."""
        found: dict[str, Counter[str]] = {}
        for entry in self._entries:
            route = found.setdefault(f"{entry.method} {entry.path}", Counter())
            route[str(entry.status or "none")] += 1
        return {route: dict(statuses) for route, statuses in sorted(found.items())}

    def clear(self) -> None:
        """Forget the requests so far."""
        self._entries.clear()
