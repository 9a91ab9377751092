"""A connection that is not given back is told of once, with the line that took it."""

from typing import TYPE_CHECKING

from daemon.postgres.connection_leaks import CheckoutTracker

if TYPE_CHECKING:
    from loguru import Record


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(log_records: "list[Record]") -> list[dict[str, object]]:
    return [r["extra"] for r in log_records if r["extra"].get("event") == "db.connection_held"]


def test_one_that_is_back_in_time_is_not_told_of(log_records: "list[Record]") -> None:
    time = Time()
    checkouts = CheckoutTracker(10.0, time)
    checkout = checkouts.begin(1)
    time.now = 9.9
    checkouts.check()
    checkouts.end(checkout)
    checkouts.end(None)
    time.now = 100.0
    checkouts.check()
    assert (told(log_records), checkouts.too_long) == ([], 0)


def test_one_that_is_held_is_told_of_once_with_its_line(log_records: "list[Record]") -> None:
    time = Time()
    checkouts = CheckoutTracker(10.0, time)
    checkouts.begin(77)
    for time.now in (10.0, 20.0):
        checkouts.check()
    (line,) = told(log_records)
    assert (line["pid"], line["held_s"], checkouts.too_long) == (77, 10.0, 1)
    where = line["where"]
    assert isinstance(where, list)
    assert where[0].startswith("postgres/test_connection_leaks.py:")
    assert where[0].endswith("test_one_that_is_held_is_told_of_once_with_its_line")
