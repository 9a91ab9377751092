"""How long a 418 blocks us: what it says, else a wait that doubles while blocks repeat."""

from datetime import datetime, timedelta

from jobs.upbit.errors import block_s

_FIRST_S = 60.0
_LONGEST_S = 3600.0
_FORGIVEN = timedelta(hours=1)
"""After so long without a block the next one is a first one again."""


class Bans:
    """The blocks of one process, per side (address or pocket)."""

    def __init__(self) -> None:
        self._strikes: dict[str, int] = {}
        self._until: dict[str, datetime] = {}

    def wait_s(self, side: str, *, text: str, asked_s: float | None, now: datetime) -> float:
        """Seconds to stay away after a 418 with this text and `Retry-After`."""
        until = self._until.get(side)
        if until is not None and now < until:
            # several were in flight when the block began: one block, not several
            return max((until - now).total_seconds(), block_s(text) or 0.0, asked_s or 0.0)
        strikes = 0 if until is None or now > until + _FORGIVEN else self._strikes[side]
        grown_s = min(_FIRST_S * 2.0**strikes, _LONGEST_S)
        wait_s = asked_s or block_s(text) or grown_s
        self._strikes[side] = min(strikes + 1, 10)
        self._until[side] = now + timedelta(seconds=wait_s)
        return wait_s
