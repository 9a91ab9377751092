"""An exit that is under way: what counts as tried, as failed, as the same again, as overdue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs.domain.due_exits import DueExit

SINCE = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
DUE = DueExit(purpose="stop_loss", reason="price fell", since=SINCE)
ONE = Decimal(1)


def tried(times: int, refusal: str | None = None, due: DueExit = DUE) -> DueExit:
    for _ in range(times):
        due = due.tried(held=ONE, sent=ONE, refusal=refusal)
    return due


def test_each_attempt_that_sells_nothing_goes_a_step_further() -> None:
    assert [tried(n).rung for n in range(5)] == [0, 1, 2, 3, 4]


def test_an_attempt_that_sold_a_part_is_repeated_in_its_form_but_not_for_ever() -> None:
    due, rungs, left = DUE, [], Decimal(10)
    for _ in range(10):
        rungs.append(due.rung)
        due = due.tried(held=left, sent=ONE, refusal=None)
        left -= ONE
        due = due.progressed(left)
    assert rungs == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("refusal", ["market_offline", "insufficient_funds_ask"])
def test_maintenance_and_missing_coins_say_nothing_of_the_form(refusal: str) -> None:
    assert (tried(2, refusal).rung, tried(2, refusal).attempts) == (0, 2)


def test_the_same_order_again_is_known_when_forms_are_used_up_or_coins_are_missing() -> None:
    assert not DUE.repeats(ONE)
    assert [tried(n, "create_ask_error").repeats(ONE) for n in range(1, 6)] == [
        *(False, False, False),
        *(True, True),
    ]
    assert tried(1, "insufficient_funds_ask").repeats(ONE)
    assert not tried(1, "insufficient_funds_ask").repeats(Decimal("0.9"))
    assert not tried(9).repeats(ONE)  # not refused: the market just did not buy


def test_a_volume_that_was_too_large_at_any_price_is_halved_four_times() -> None:
    halvings = [tried(n, "volume_too_large").halvings for n in range(10)]
    assert halvings == [0, 0, 0, 0, 1, 2, 3, 4, 4, 4]
    assert not tried(7, "volume_too_large").repeats(ONE)
    assert tried(8, "volume_too_large").repeats(ONE)


def test_a_person_hears_after_two_attempts_or_one_minute() -> None:
    assert not tried(1).is_overdue(SINCE + timedelta(seconds=59))
    assert tried(2).is_overdue(SINCE)
    assert DUE.is_overdue(SINCE + timedelta(seconds=60))


def test_less_held_takes_a_failure_back_once() -> None:
    due = tried(2, "create_ask_error")
    assert due.progressed(ONE) == due
    less = due.progressed(Decimal("0.4"))
    assert (less.failed, less.refusal, less.held) == (1, None, Decimal("0.4"))
    assert less.progressed(Decimal("0.4")) == less
    assert replace(DUE).progressed(ONE) == DUE
