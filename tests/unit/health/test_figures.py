"""Figures as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from health.figures import count, instant, krw, number, price, seconds, signed, usd


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("142530000", "142,530,000"),
        ("1234567.5", "1,234,568"),
        ("99.5", "99.5"),
        ("0.00005", "0.0001"),
        ("0", "0"),
        ("-250000.4", "-250,000"),
        (None, "—"),
    ],
)
def test_amounts(value: str | None, shown: str) -> None:
    assert krw(None if value is None else Decimal(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("142530000.4", "142,530,000"),
        ("412.5", "412.5"),
        ("9999.123", "9,999.12"),
        ("1.23456", "1.2346"),
        ("0.00812", "0.00812"),
        (None, "—"),
    ],
)
def test_prices_are_as_fine_as_their_steps(value: str | None, shown: str) -> None:
    assert price(None if value is None else Decimal(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1200000.50", "1,200,000.5"), ("1E+3", "1,000"), ("1E-8", "0.00000001"), ("100", "100")],
)
def test_numbers_keep_every_digit_and_no_more(value: str, shown: str) -> None:
    assert number(Decimal(value)) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        ("10165.1", "", '<span class="up">+10,165</span>'),
        ("-1.034", " %", '<span class="down">\u22121.03 %</span>'),
        ("0", "", '<span class="flat">±0</span>'),
        ("37.1299", "", '<span class="up">+37</span>'),
        ("0.0051", " %", '<span class="up">+0.005 %</span>'),
    ],
)
def test_changes_show_their_sign(value: str, unit: str, shown: str) -> None:
    assert signed(Decimal(value), unit) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0", "$0.00"), ("0.00126", "$0.0013"), ("1234.5", "$1,234.50")],
)
def test_dollars(value: str, shown: str) -> None:
    assert usd(Decimal(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "—"), (0.0414, "41 ms"), (2.34, "2.3 s"), (3600.0, "3,600.0 s")]
)
def test_durations(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (83211, "83,211"), (1_423_211, "1.4 M")])
def test_counts(value: int, shown: str) -> None:
    assert count(value) == shown


def test_instants_are_utc_and_machine_readable() -> None:
    at = datetime.fromisoformat("2026-05-04T21:00:00+09:00")
    assert instant(at, "age") == (
        '<time datetime="2026-05-04T12:00:00+00:00" title="2026-05-04 12:00:00 UTC" '
        'data-style="age">2026-05-04 12:00:00 UTC</time>'
    )
    assert instant(at.astimezone(UTC)) == instant(at)
    assert instant(None) == '<span class="none">—</span>'
