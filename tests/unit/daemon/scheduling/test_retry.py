"""Waits are exactly 1, 2, 4 s or what the server asked; only Transient is tried again."""

import asyncio
from typing import Any

import pytest

from daemon.scheduling.retry import Progress, RetryBudget, RetryPolicy, retrying
from jobs.core.errors import Banned, Permanent, RateLimited, Transient, Unavailable, WaitSource

FAR = 1e9


class Flaky:
    """Raises the given errors one after the other, then answers; keeps when it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.called_at: list[float] = []

    async def __call__(self) -> str:
        self.called_at.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def trying(flaky: Flaky, policy: RetryPolicy, progress: Progress, give_up_at: float) -> str:
    return await retrying(flaky, policy, progress, give_up_at=give_up_at)


def test_waits_are_one_two_four(run_virtual: Any) -> None:
    flaky, progress = Flaky(*[Unavailable("down")] * 3), Progress()
    assert run_virtual(trying(flaky, RetryPolicy(), progress, FAR)) == "answer"
    assert flaky.called_at == [0, 1, 3, 7]
    assert (progress.attempts, progress.waited_s, progress.deferred_s) == (4, 7.0, None)


def test_the_fourth_failure_is_final(run_virtual: Any) -> None:
    flaky, progress = Flaky(*[Unavailable("down", n=n) for n in range(9)]), Progress()
    with pytest.raises(Unavailable, match="n=3"):
        run_virtual(trying(flaky, RetryPolicy(), progress, FAR))
    assert flaky.called_at == [0, 1, 3, 7]


@pytest.mark.parametrize(
    "error", [Permanent("no"), ValueError("bug"), asyncio.CancelledError()], ids=repr
)
def test_nothing_but_transient_is_tried_again(run_virtual: Any, error: BaseException) -> None:
    flaky, progress = Flaky(error), Progress()  # type: ignore[arg-type]  # cancellation too
    with pytest.raises(type(error)):
        run_virtual(trying(flaky, RetryPolicy(), progress, FAR))
    assert progress.attempts == 1


@pytest.mark.parametrize(
    ("asked_s", "called_at"),
    [(53.0, [0, 53]), (0.2, [0, 1]), (1.0, [0, 1]), (2.75, [0, 2.75])],
)
def test_a_servers_wait_replaces_a_shorter_one(
    run_virtual: Any, asked_s: float, called_at: list[float]
) -> None:
    flaky = Flaky(RateLimited("slow down", retry_after_s=asked_s, wait_source="retry-after"))
    run_virtual(trying(flaky, RetryPolicy(), Progress(), FAR))
    assert flaky.called_at == called_at


@pytest.mark.parametrize(
    ("asked_s", "give_up_at", "max_wait_s"), [(301, FAR, 300), (60, 50, 300), (7.5, FAR, 7)]
)
def test_too_long_a_wait_defers_at_once(
    run_virtual: Any, asked_s: float, give_up_at: float, max_wait_s: float
) -> None:
    flaky, progress = Flaky(Banned("away", retry_after_s=asked_s, wait_source="ban")), Progress()
    with pytest.raises(Banned):
        run_virtual(trying(flaky, RetryPolicy(max_wait_s=max_wait_s), progress, give_up_at))
    assert flaky.called_at == [0]
    assert progress.deferred_s == asked_s


def test_a_back_off_past_the_deadline_is_not_begun(run_virtual: Any) -> None:
    flaky, progress = Flaky(*[Unavailable("down")] * 9), Progress()
    with pytest.raises(Unavailable):
        run_virtual(trying(flaky, RetryPolicy(), progress, 2.5))
    assert flaky.called_at == [0, 1]
    assert progress.deferred_s is None


@pytest.mark.parametrize(
    ("error", "source"),
    [
        (Unavailable("down"), "backoff"),
        (RateLimited("x", retry_after_s=9, wait_source="retry-info"), "retry-info"),
        (RateLimited("x", retry_after_s=0.1, wait_source="remaining-req"), "backoff"),
    ],
)
def test_the_wait_names_who_asked(error: Transient, source: WaitSource) -> None:
    assert RetryPolicy().wait_s(1, error)[1] == source


def test_no_delays_means_one_attempt(run_virtual: Any) -> None:
    flaky = Flaky(Unavailable("down"))
    with pytest.raises(Unavailable):
        run_virtual(trying(flaky, RetryPolicy(delays_s=()), Progress(), FAR))
    assert flaky.called_at == [0]


def test_a_budget_allows_what_was_paid_in_and_keeps_some_for_the_urgent() -> None:
    budget = RetryBudget(ratio=0.25, most=4.0, kept=2.0)
    assert [budget.take(urgent=False) for _ in range(3)] == [True, True, False]
    assert [budget.take(urgent=True) for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.pay_in()
    assert (budget.take(urgent=False), budget.take(urgent=True)) == (False, True)
    for _ in range(100):
        budget.pay_in()
    assert budget.left == 4.0


def test_what_is_not_allowed_is_not_tried_again(run_virtual: Any) -> None:
    flaky, progress = Flaky(Unavailable("down")), Progress()

    async def main() -> str:
        return await retrying(flaky, RetryPolicy(), progress, give_up_at=FAR, allow=lambda: False)

    with pytest.raises(Unavailable):
        run_virtual(main())
    assert (progress.attempts, progress.refused) == (1, True)
