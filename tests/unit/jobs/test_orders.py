"""The parts of the orders job that need neither a venue nor a database."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.errors import BadData, JobError, RateLimited, Unavailable
from jobs.orders import OrdersJob, _Pass
from jobs.store.settings import Settings
from jobs.trading.desk import Desk

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NOTHING: Any = None


def a_pass() -> _Pass:
    desk = Desk(db=NOTHING, exchange=NOTHING, clock=lambda: NOW, notifier=NOTHING, mode="paper")
    job = OrdersJob(desk=desk, view=NOTHING, sleep=NOTHING)
    return _Pass(job=job, settings=Settings(), run_id="run")


def met(*errors: JobError) -> _Pass:
    work = a_pass()
    for error in errors:
        with work.keeping("KRW-BTC"):
            raise error
    return work


def test_without_trouble_nothing_is_raised() -> None:
    met().raise_first()


def test_transient_trouble_is_raised_before_permanent_and_the_first_of_each() -> None:
    bad, first, second = BadData("a"), RateLimited("b", retry_after_s=3), Unavailable("c")
    with pytest.raises(RateLimited) as raised:
        met(bad, first, second).raise_first()
    assert raised.value is first
    with pytest.raises(BadData):
        met(bad, BadData("d")).raise_first()


def test_a_bug_is_not_kept_but_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError), a_pass().keeping():
        raise ZeroDivisionError
