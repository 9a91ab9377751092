"""How many requests a server's fixed window still holds, seen from this end of the line. Pure.

A server counts per window of its own clock. From here we know of a request only that it was
counted between the instant it was sent and the instant its answer came. Two rules follow, each safe
whatever the network does, and a request may go when either allows it:

sliding   Requests answered more than one window ago cannot share a window with a new one.
phase     Once the place of the server's boundaries is known to lie in [lo, hi], modulo the window,
          those answered before the last `lo` cannot share a window with one sent after that `hi`.

The sliding rule costs one round trip per window. The phase rule costs nothing: a full window's
requests go out together right after `hi`. Boundaries show themselves: when what remains
(`Remaining-Req`) rises from one request to a later one, a boundary lies between them.
"""

import math
from dataclasses import dataclass

_DRIFT = 500e-6
"""How far two clocks part per second, at most: what a slewing NTP daemon allows itself."""
_WIDEST = 0.8
"""A phase known less closely than this share of a window is not worth having."""
_DISTRUST_S = 600.0
"""How long boundaries are not believed in after the server refused by them."""
_MARGIN_S = 0.002
"""Later than the earliest instant, because timers may wake a little early."""
_MEMORY = 4
"""Windows after which a request is forgotten."""


@dataclass(slots=True, eq=False)
class Use:
    """One request: sent at `sent`, counted at `settled` at the latest (None: no answer yet)."""

    sent: float
    settled: float | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A boundary of the server's windows lies in [lo, hi], known since `at`."""

    lo: float
    hi: float
    at: float

    def widened(self, now: float) -> "Phase":
        """The same knowledge at `now`, after the clocks have drifted."""
        drift = _DRIFT * max(0.0, now - self.at)
        return Phase(lo=self.lo - drift, hi=self.hi + drift, at=now)

    def latest(self, now: float, window_s: float) -> "Phase":
        """The newest boundary that has surely passed at `now`."""
        shift = math.floor((now - self.hi) / window_s) * window_s
        return Phase(lo=self.lo + shift, hi=self.hi + shift, at=self.at)

    def met_with(self, other: "Phase", window_s: float) -> "Phase":
        """What both sightings say; the newer `other` alone when they contradict each other."""
        apart = (self.lo + self.hi - other.lo - other.hi) / 2
        shift = round(apart / window_s) * window_s
        lo, hi = max(self.lo, other.lo + shift), min(self.hi, other.hi + shift)
        return Phase(lo=lo, hi=hi, at=other.at) if lo < hi else other


class Window:
    """The requests of one group and what they leave to be sent.

    `published` is the server's limit per `window_s` seconds, `own` our share of it, of which `kept`
    are for urgent requests alone (an unanswered request holds its place, maybe for long). Where the
    share is too small for that, urgent ones may use `kept` beyond one. All instants are of one
    monotonic clock and never go back.
    """

    def __init__(self, *, published: int, own: int, window_s: float = 1.0, kept: int = 0) -> None:
        self._published = published
        self._own = own
        self._kept = kept
        self._window_s = window_s
        self._uses: list[Use] = []
        self._phase: Phase | None = None
        self._distrusted_until = -math.inf
        self._foreign = 0
        self._foreign_at = -math.inf

    def wait_s(self, now: float, *, urgent: bool = False) -> float | None:
        """Seconds until the next request may go, 0 for now; None: not before an answer comes."""
        limit = min(max(self._own, self._kept + 1), self._published - self._foreign)
        if not urgent:
            limit = max(1, limit - self._kept)
        if sum(use.settled is None for use in self._uses) >= limit:
            return None
        phase = self._known(now)
        rivals = self._rivals(now)
        if len(rivals) < limit:
            return 0.0 if phase else self._hold_back_s(now, rivals, limit)
        settled = sorted(use.settled for use in rivals if use.settled is not None)
        ready = settled[len(rivals) - limit] + self._window_s
        if phase is not None:
            ready = min(ready, phase.hi + self._window_s)
        return ready - now + _MARGIN_S

    def send(self, now: float) -> Use:
        """Note a request that goes out now."""
        horizon = now - _MEMORY * self._window_s
        self._uses = [use for use in self._uses if use.settled is None or use.settled > horizon]
        use = Use(sent=now)
        self._uses.append(use)
        return use

    def answered(self, use: Use, now: float, remaining: int | None) -> None:
        """Note an answer and how many requests it says remain (None: it does not say)."""
        use.settled = now
        use.remaining = remaining
        if remaining is not None:
            self._sight_boundary(use, remaining, now)
            self._sight_others(use, remaining, now)

    def lost(self, use: Use, now: float) -> None:
        """Note that no answer will come; the server may still count the request a while."""
        use.settled = now + self._window_s

    def unsent(self, use: Use) -> None:
        """Note that the request never left."""
        self._uses.remove(use)

    def refused(self, now: float) -> None:
        """Note a 429: the boundaries are not where, or not what, they seemed to be."""
        self._phase = None
        self._distrusted_until = now + _DISTRUST_S

    def _known(self, now: float) -> Phase | None:
        if self._phase is None:
            return None
        phase = self._phase.widened(now)
        if phase.hi - phase.lo > _WIDEST * self._window_s:
            self._phase = None
            return None
        return phase.latest(now, self._window_s)

    def _rivals(self, sent: float) -> list[Use]:
        """The requests that may share a window with one sent at `sent`."""
        since = sent - self._window_s
        if (phase := self._known(sent)) is not None:
            since = max(since, phase.lo)
        return [use for use in self._uses if use.settled is None or use.settled >= since]

    def _hold_back_s(self, now: float, rivals: list[Use], limit: int) -> float:
        """Keep the last request of a burst for half a window later: it will sight the boundary."""
        if not 1 < limit == len(rivals) + 1:
            return 0.0
        first = min(use.sent for use in rivals)
        last = max(use.sent for use in rivals)
        half = self._window_s / 2
        return 0.0 if last - first >= half else max(0.0, first + half - now)

    def _sight_boundary(self, use: Use, remaining: int, now: float) -> None:
        if now < self._distrusted_until:
            return
        before = [
            each.sent
            for each in self._uses
            if each.remaining is not None
            and each.remaining < remaining
            and each.settled is not None
            and each.settled <= use.sent
            and now - each.sent < _WIDEST * self._window_s
        ]
        if not before:
            return
        sighting = Phase(lo=max(before), hi=now, at=now)
        if self._phase is not None:
            sighting = self._phase.widened(now).met_with(sighting, self._window_s)
        self._phase = sighting

    def _sight_others(self, use: Use, remaining: int, now: float) -> None:
        """Count what others behind the same address or account have used."""
        ours = len(self._rivals(use.sent))
        foreign = max(0, min(self._published - 1, self._published - remaining - ours))
        if foreign >= self._foreign or now - self._foreign_at > 2 * self._window_s:
            self._foreign = foreign
            self._foreign_at = now
