"""Names of orders, and when "not found" is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.orders.account import PREFIX, Patience, new_identifier

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def test_identifiers_are_short_marked_and_never_the_same() -> None:
    names = {new_identifier(NOW) for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith(PREFIX) and len(name) <= 32 for name in names)


def test_identifiers_sort_by_time() -> None:
    names = [new_identifier(NOW + timedelta(milliseconds=n)) for n in range(100)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("at_s", "enough"),
    [([], False), ([0, 20], False), ([0, 1, 9.9], False), ([0, 5, 10], True), ([0, 30, 31], True)],
)
def test_absence_needs_enough_looks_over_enough_time(at_s: list[float], enough: bool) -> None:
    looks = [NOW + timedelta(seconds=s) for s in at_s]
    assert Patience().is_over(looks) is enough
