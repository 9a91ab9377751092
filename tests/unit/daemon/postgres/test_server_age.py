"""How old a server is said to be."""

from datetime import date

import pytest

from daemon.postgres.server_age import describe_age, newest_due


@pytest.mark.parametrize(
    ("today", "due"),
    [
        (date(2026, 11, 11), date(2026, 8, 13)),
        (date(2026, 11, 12), date(2026, 11, 12)),
        (date(2026, 1, 5), date(2025, 11, 13)),
        (date(2026, 2, 12), date(2026, 2, 12)),
    ],
)
def test_minor_releases_are_due_on_second_thursdays(today: date, due: date) -> None:
    assert newest_due(today) == due


def test_a_server_is_named_with_its_age() -> None:
    assert describe_age(180_006, date(2026, 8, 20)) == "Postgres 18.6 of 2026-08-13, 7 days old"
    said = describe_age(180_006, date(2026, 11, 28))
    assert "107 days old; a newer minor with security fixes was due on 2026-11-12" in said
    assert describe_age(140_022, date(2026, 11, 28)).startswith("Postgres 14.22; compare it with")
