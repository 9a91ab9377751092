"""Observed calls remember how they went."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from health.check_inputs import Observer
from health.report import Explain

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ticking() -> Iterator[datetime]:
    n = 0
    while True:
        yield NOW + timedelta(seconds=n)
        n += 1


def observer(*outcomes: Exception | None) -> Observer:
    """Calls that end like `outcomes`, one a second."""
    left, times = iter(outcomes), ticking()

    async def call() -> None:
        if (error := next(left)) is not None:
            raise error

    explain = Explain(mask=str, is_fatal=lambda exc: isinstance(exc, PermissionError))
    return Observer(call, deadline_s=5, explain=explain, clock=lambda: next(times))


async def test_failures_in_a_row_are_counted_and_a_success_ends_them() -> None:
    observe = observer(None, OSError("a"), OSError("b"), None)
    facts = [await observe() for _ in range(4)]
    assert [(fact.ok, fact.failures) for fact in facts] == [
        (True, 0),
        (False, 1),
        (False, 2),
        (True, 0),
    ]
    assert facts[2].error == "OSError: b"
    assert facts[2].last_ok_at == NOW
    assert facts[3].last_ok_at == NOW + timedelta(seconds=3)


async def test_before_the_first_success_none_is_claimed() -> None:
    fact = await observer(OSError("a"))()
    assert fact.last_ok_at is None


async def test_an_error_that_waiting_cannot_mend_is_marked() -> None:
    fact = await observer(PermissionError("key"))()
    assert fact.fatal
