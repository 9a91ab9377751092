"""How old a Postgres server's minor release is, as far as that is known here.

Minor releases carry the security fixes; they come on the second Thursday of February, May, August
and November (https://www.postgresql.org/developer/roadmap/).
"""

from datetime import date, timedelta

RELEASED = {
    "18.6": date(2026, 8, 13),
    "15.20": date(2026, 11, 13),
}
"""Days of the releases that we know; Debian's day for 15.20."""
MONTHS = (2, 5, 8, 11)
THURSDAY = 3
SUPPORT = "https://www.postgresql.org/support/versioning/"


def describe_age(number: int, today: date) -> str:
    """What a person should know of the server's version (server_version_num) today."""
    name = f"{number // 10_000}.{number % 10_000}"
    released = RELEASED.get(name)
    if released is None:
        return f"Postgres {name}; compare it with {SUPPORT}"
    said = f"Postgres {name} of {released}, {(today - released).days} days old"
    due = newest_due(today)
    if due > released:
        said += f"; a newer minor with security fixes was due on {due}: see {SUPPORT}"
    return said


def newest_due(today: date) -> date:
    """The last day up to today on which minor releases were due."""
    days = [
        _second_thursday(year, month) for year in (today.year - 1, today.year) for month in MONTHS
    ]
    return max(day for day in days if day <= today)


def _second_thursday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(THURSDAY - first.weekday()) % 7 + 7)
