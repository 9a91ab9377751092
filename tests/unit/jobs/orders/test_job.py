"""The parts of the orders job that need neither a venue nor a database."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.core.errors import BadData, JobError, RateLimited, Unavailable
from jobs.domain.settings import Settings
from jobs.orders.account import TradingAccount
from jobs.orders.job import OrdersJob, _Pass

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NOTHING: Any = None


def a_pass() -> _Pass:
    desk = TradingAccount(
        db=NOTHING, exchange=NOTHING, clock=lambda: NOW, notifier=NOTHING, mode="paper"
    )
    job = OrdersJob(desk=desk, view=NOTHING, sleep=NOTHING)
    return _Pass(job=job, settings=Settings(), run_id="run")


def fail(error: Exception) -> None:
    raise error


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


def test_a_bug_is_a_line_and_is_raised_at_the_end(log_records: list[Any]) -> None:
    work = a_pass()
    with work.keeping("KRW-BTC"):
        fail(RecursionError("deep"))
    with work.keeping("KRW-ETH"):
        fail(ZeroDivisionError())
    told = [each["extra"] for each in log_records if each["extra"].get("event") == "job.bug"]
    assert [each["market"] for each in told] == ["KRW-BTC", "KRW-ETH"]
    with pytest.raises(RecursionError):
        work.raise_first()


def test_between_steps_failures_that_we_understand_still_end_the_pass() -> None:
    work = a_pass()
    with pytest.raises(Unavailable), work.keeping_bugs():
        raise Unavailable("the database is away")
    with work.keeping_bugs():
        fail(ArithmeticError())
    with pytest.raises(ArithmeticError):
        work.raise_first()
