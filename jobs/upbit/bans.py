"""How long a 418 blocks us: what it says, else a wait that doubles while blocks repeat."""

from datetime import datetime, timedelta

from jobs.upbit.errors import block_s

_FIRST_S = 60.0
_LONGEST_S = 3600.0
_FORGIVEN = timedelta(hours=1)
"""After so long without a block the next one is a first one again."""


LONGEST_UNNAMED_S = 3600.0
"""What a header alone closes a group of Upbit for. Its quotas are of seconds and its blocks say in
the body how long they last; a `Retry-After` of years, or one that our own clock makes years of,
would stop every stop-loss. After an hour one request asks anew."""


def longest_asked_s(asked_s: float | None, named_s: float | None = None) -> float | None:
    """The wait of a header as far as it is believed beside what the body names."""
    return None if asked_s is None else min(asked_s, max(LONGEST_UNNAMED_S, named_s or 0.0))


class Bans:
    """The blocks of one process, per side (address or pocket)."""

    def __init__(self) -> None:
        self._strikes: dict[str, int] = {}
        self._until: dict[str, datetime] = {}

    def wait_s(self, side: str, *, text: str, asked_s: float | None, now: datetime) -> float:
        """Seconds to stay away after a 418 with this text and `Retry-After`."""
        named_s = block_s(text)
        asked_s = longest_asked_s(asked_s, named_s)
        until = self._until.get(side)
        if until is not None and now < until:
            # several were in flight when the block began: one block, not several
            return max((until - now).total_seconds(), named_s or 0.0, asked_s or 0.0)
        strikes = 0 if until is None or now > until + _FORGIVEN else self._strikes[side]
        grown_s = min(_FIRST_S * 2.0**strikes, _LONGEST_S)
        wait_s = asked_s or named_s or grown_s
        self._strikes[side] = min(strikes + 1, 10)
        self._until[side] = now + timedelta(seconds=wait_s)
        return wait_s
