"""The two halves spell numbers their own way, and never with an exponent."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from sandbox.answers import http_date, kst, numbers, spell, strings


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E-8", "0.00000001"),
        ("1E+3", "1000"),
        ("6003.0000", "6003"),
        ("0E-12", "0"),
        ("-0.0", "0"),
        ("-1.50", "-1.5"),
        ("1000", "1000"),
    ],
)
def test_numbers_are_plain_and_short(number: str, text: str) -> None:
    assert spell(Decimal(number)) == text


def test_quotation_has_numbers_and_exchange_has_strings() -> None:
    row = {"a": Decimal("1.10"), "b": [Decimal("1E-8")], "c": 7}
    assert numbers(row) == b'{"a":1.1,"b":[0.00000001],"c":7}'
    assert strings(row) == b'{"a":"1.1","b":["0.00000001"],"c":7}'
    for spelling in (numbers, strings):
        with pytest.raises(TypeError):
            spelling({"a": object()})


def test_times_are_korean_and_dates_are_gmt() -> None:
    at = datetime(2026, 1, 1, 23, 0, 0, 123456, tzinfo=UTC)
    assert kst(at) == "2026-01-02T08:00:00+09:00"
    assert kst(at, exact=True) == "2026-01-02T08:00:00.123456+09:00"
    assert http_date(at) == "Thu, 01 Jan 2026 23:00:00 GMT"
