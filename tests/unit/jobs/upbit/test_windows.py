import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import pytest

from jobs.upbit.windows import Phase, Use, Window

NUMBERS = itertools.count()

Kind = Literal["fixed", "sliding", "anchored"]


@dataclass(kw_only=True)
class Server:
    """Counts as a server may: per fixed second, last second, or second from a first request."""

    limit: int
    kind: Kind = "fixed"
    offset: float = 0.0
    seen: Counter[int] = field(default_factory=Counter)
    last: list[float] = field(default_factory=list)
    anchor: float = -10.0
    over: int = 0

    def take(self, now: float) -> int:
        """Count one request and return how many remain; below zero means refused."""
        used = {"fixed": self._fixed, "sliding": self._sliding, "anchored": self._anchored}
        left = self.limit - used[self.kind](now)
        self.over += left < 0
        return left

    def _fixed(self, now: float) -> int:
        window = int((now + self.offset) // 1)
        self.seen[window] += 1
        return self.seen[window]

    def _sliding(self, now: float) -> int:
        self.last = [*(at for at in self.last if at > now - 1), now]
        return len(self.last)

    def _anchored(self, now: float) -> int:
        if now >= self.anchor + 1:
            self.anchor = now
            self.seen.clear()
        self.seen[0] += 1
        return self.seen[0]


@dataclass(kw_only=True)
class Line:
    """A network: seconds to the server and back, drawn anew for every request."""

    rng: random.Random
    one_way: float = 0.015
    jitter: float = 0.015

    def delay(self) -> float:
        return self.one_way + self.rng.random() * self.jitter


class Drive:
    """Sends requests as fast as `window` lets them, ten in flight."""

    def __init__(self, window: Window, server: Server, line: Line) -> None:
        self.window = window
        self.server = server
        self.line = line
        self.now = 0.0
        self.free = 10
        self.wakes_at = -1.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, requests: int) -> float:
        """Return the seconds that `requests` took."""
        self.left = requests
        self.go()
        while self.events:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
            self.go()
        assert self.left == 0
        return self.now

    def later(self, delay: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay, next(NUMBERS), happen))

    def go(self) -> None:
        while self.left and self.free and self.wakes_at <= self.now:
            if wait := self.window.wait_s(self.now):
                self.wakes_at = self.now + wait
                self.later(wait, lambda: None)
            if wait != 0:
                return
            self.left, self.free = self.left - 1, self.free - 1
            self.later(self.line.delay(), partial(self.arrive, self.window.send(self.now)))

    def arrive(self, use: Use) -> None:
        left = self.server.take(self.now)
        self.later(self.line.delay(), partial(self.answer, use, left))

    def answer(self, use: Use, left: int) -> None:
        self.free += 1
        self.window.answered(use, self.now, max(left, 0))
        if left < 0:
            self.window.refused(self.now)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("jitter", [0.0, 0.02, 0.3])
def test_never_more_than_the_quota_whatever_the_jitter(seed: int, jitter: float) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    server = Server(limit=10, offset=rng.random())
    line = Line(rng=rng, one_way=0.015, jitter=jitter)
    Drive(Window(published=10, own=10), server, line).run(600)
    assert server.over == 0


@pytest.mark.parametrize("seed", range(20))
def test_uses_the_whole_quota(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    server = Server(limit=10, offset=rng.random())
    line = Line(rng=rng)
    took = Drive(Window(published=10, own=10), server, line).run(1000)
    assert server.over == 0
    assert took <= 1.02 * 100


@pytest.mark.parametrize("kind", ["sliding", "anchored"])
@pytest.mark.parametrize("seed", range(10))
def test_other_ways_of_counting_cost_a_few_refusals_at_most(kind: Kind, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    server = Server(limit=10, kind=kind)
    Drive(Window(published=10, own=10), server, Line(rng=rng)).run(1000)
    assert server.over <= 10


def test_what_others_use_is_left_to_them() -> None:
    window = Window(published=10, own=9)
    first = window.send(0.0)
    window.answered(first, 0.1, 2)  # one of ours, so that others used seven
    for at, left in ((0.2, 1), (0.6, 0)):
        assert window.wait_s(at) == 0
        window.answered(window.send(at), at + 0.05, left)
    assert window.wait_s(0.7) != 0


def test_others_are_forgotten_once_they_are_gone() -> None:
    window = Window(published=10, own=9)
    window.answered(window.send(0.0), 0.1, 0)
    window.answered(window.send(5.0), 5.1, 9)
    for at in (5.2, 5.3, 5.4):
        assert window.wait_s(at) == 0
        window.answered(window.send(at), at, None)


def test_somebody_elses_whole_quota_still_leaves_one() -> None:
    window = Window(published=10, own=9)
    window.answered(window.send(0.0), 0.1, 0)
    assert window.wait_s(0.2) != 0
    assert window.wait_s(1.2) == 0


def test_open_requests_up_to_the_limit_mean_waiting_for_an_answer() -> None:
    window = Window(published=2, own=2)
    uses = [window.send(0.0), window.send(0.0)]
    assert window.wait_s(100.0) is None
    window.answered(uses[0], 100.0, None)
    assert window.wait_s(101.1) == 0


def test_a_lost_request_may_still_be_counted_for_one_window() -> None:
    window = Window(published=1, own=1)
    window.lost(window.send(0.0), 0.1)
    assert window.wait_s(1.2) != 0
    assert window.wait_s(2.2) == 0


def test_a_request_that_never_left_uses_nothing() -> None:
    window = Window(published=1, own=1)
    window.unsent(window.send(0.0))
    assert window.wait_s(0.0) == 0


def test_a_window_of_two_seconds() -> None:
    window = Window(published=1, own=1, window_s=2.0)
    window.answered(window.send(0.0), 0.1, 0)
    assert window.wait_s(0.1) == pytest.approx(2.0, abs=0.01)


def test_the_last_of_a_burst_waits_half_a_window_to_sight_the_boundary() -> None:
    window = Window(published=3, own=3)
    uses = [window.send(0.0), window.send(0.0)]
    assert window.wait_s(0.0) == pytest.approx(0.5)
    for use, left in zip(uses, (2, 1), strict=True):
        window.answered(use, 0.01, left)
    window.answered(window.send(0.5), 0.51, 2)  # what remains rose: a boundary in [0, 0.51]
    for _ in range(3):  # nothing of the past can share the window that began by 1.51
        assert window.wait_s(1.52) == 0
        window.answered(window.send(1.52), 1.52, None)


def test_knowledge_of_a_boundary_fades() -> None:
    window = Window(published=3, own=3)
    for use, left in ((window.send(0.0), 1), (window.send(0.5), 2)):
        window.answered(use, use.sent + 0.01, left)
    for at in (2000.0, 2000.0):
        assert window.wait_s(at) == 0
        window.answered(window.send(at), at, None)
    assert window.wait_s(2000.0) == pytest.approx(0.5)  # held back to sight it anew


def test_no_boundary_is_believed_in_after_a_refusal() -> None:
    window = Window(published=3, own=3)
    for use, left in ((window.send(0.0), 1), (window.send(0.5), 2)):
        window.answered(use, use.sent + 0.01, left)
    window.refused(0.6)
    for use, left in ((window.send(1.6), 1), (window.send(2.0), 2)):
        window.answered(use, use.sent + 0.01, left)
    window.answered(window.send(2.0), 2.01, None)
    assert window.wait_s(2.02) == pytest.approx(1.61 + 1 - 2.02, abs=0.01)


def test_two_sightings_narrow_each_other() -> None:
    one = Phase(lo=0.2, hi=0.8, at=0.0)
    two = Phase(lo=7.5, hi=8.0, at=9.0)
    met = one.met_with(two, 1.0)
    assert [met.lo, met.hi] == pytest.approx([0.5, 0.8])


def test_of_two_sightings_that_exclude_each_other_the_newer_counts() -> None:
    one = Phase(lo=0.0, hi=0.2, at=0.0)
    two = Phase(lo=7.5, hi=7.6, at=9.0)
    assert one.met_with(two, 1.0) == two


def test_an_unchanged_remainder_is_no_sighting() -> None:
    window = Window(published=3, own=3)
    for at in (0.0, 0.5, 0.52):  # the server may not count every request
        window.answered(window.send(at), at + 0.01, 2)
    for _ in range(2):
        assert window.wait_s(1.52) == 0
        window.answered(window.send(1.52), 1.52, None)
    assert window.wait_s(1.52) != 0
