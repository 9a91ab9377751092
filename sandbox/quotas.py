"""Request quotas in fixed windows, the refusals beyond them, and the blocks that follow."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

from sandbox.options import LIMITS, Options

WINDOWS_S = {"order-cancel-all": 2, "origin": 10}


class Limited(Exception):
    """Refused with `status` 429 or 418; `wait_s` is the rest of a block."""

    def __init__(self, status: int, wait_s: int = 0) -> None:
        super().__init__(status)
        self.status = status
        self.wait_s = wait_s

    @property
    def message(self) -> str:
        """What the venue says; a block names its seconds."""
        if self.status == 429:  # noqa: PLR2004 - HTTP's own number
            return "Too many API requests."
        return f"Too many API requests. You are blocked for {self.wait_s} seconds."


@dataclass(slots=True)
class _Scope:
    """What is counted for one address or pocket."""

    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: deque[float] = field(default_factory=deque)
    blocks: int = 0
    blocked_until: float = 0.0


class Quotas:
    """Counts requests. A scope is an address (quotation) or a pocket (exchange)."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._scopes: dict[str, _Scope] = {}
        self.refusals: dict[str, int] = {"429": 0, "418": 0}

    def take(self, scope: str, group: str, now: datetime) -> str:
        """Count one request and return its Remaining-Req header. Raises Limited."""
        found = self._scopes.setdefault(scope, _Scope())
        at = now.timestamp()
        if found.blocked_until > at:
            self.refusals["418"] += 1
            raise Limited(418, ceil(found.blocked_until - at))
        window, used = self._used(found, group, at)
        if used >= self._limit(group) and self._options.quotas:
            self._refuse(found, at)
        found.windows[group] = window, used + 1
        return self._header(group, used + 1)

    def header(self, scope: str, group: str, now: datetime) -> str:
        """The Remaining-Req header without counting anything."""
        found = self._scopes.get(scope, _Scope())
        return self._header(group, self._used(found, group, now.timestamp())[1])

    def reset(self) -> None:
        """Forget every count and block."""
        self._scopes.clear()

    def blocks(self, now: datetime) -> dict[str, float]:
        """Blocked scopes and the seconds that are left."""
        at = now.timestamp()
        left = {name: scope.blocked_until - at for name, scope in self._scopes.items()}
        return {name: seconds for name, seconds in left.items() if seconds > 0}

    def _used(self, scope: _Scope, group: str, at: float) -> tuple[int, int]:
        window = int(at // WINDOWS_S.get(group, 1))
        seen, used = scope.windows.get(group, (window, 0))
        return window, used if seen == window else 0

    def _limit(self, group: str) -> int:
        return self._options.limits.get(group, LIMITS["default"])

    def _header(self, group: str, used: int) -> str:
        limit = self._limit(group)
        per_minute = limit * 60 // WINDOWS_S.get(group, 1)
        return f"group={group}; min={per_minute}; sec={max(limit - used, 0)}"

    def _refuse(self, scope: _Scope, at: float) -> None:
        options = self._options
        scope.refused.append(at)
        while at - scope.refused[0] > options.ban_window_s:
            scope.refused.popleft()
        self.refusals["429"] += 1
        if len(scope.refused) >= options.ban_after:
            scope.blocked_until = at + options.ban_s * options.ban_factor**scope.blocks
            scope.blocks += 1
            scope.refused.clear()
        raise Limited(429)
