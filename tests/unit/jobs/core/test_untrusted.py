"""Whatever comes over the line is refused as bad data or usable by everybody behind it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.errors import BadData
from jobs.core.untrusted import (
    DEEPEST,
    LAST_INSTANT,
    LONGEST_WAIT_S,
    beginning,
    clean,
    decode,
    decode_floats,
    http_date,
    one_line,
    retry_after_s,
    to_decimal,
    to_instant,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=400)
SPECIAL = "\x00\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\ud800\udfff"


@given(ANY_TEXT)
def test_clean_text_can_be_stored_encoded_and_shown(text: str) -> None:
    for made in (clean(text), one_line(text), beginning(text)):
        made.encode()
        assert not set(SPECIAL) & set(made)
    assert len(clean(text)) == len(text)
    assert "\n" not in one_line(text)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M")), max_size=200))
def test_clean_leaves_every_language_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_a_cut_never_splits_a_word() -> None:
    secret = "k" * 40
    assert one_line(f"the key {secret} is wrong", 20) == "the key…"
    assert secret[:8] not in one_line(f"{'x ' * 140}{secret}", 300)
    assert one_line("short") == "short"
    assert one_line("비트코인 " * 200, 60).endswith("…")
    assert one_line("x" * 10_000) == "…"


@given(st.binary(max_size=300))
def test_the_beginning_of_any_body_is_a_text(content: bytes) -> None:
    assert len(beginning(content)) <= 121
    beginning(content).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
        b"[" * 900 + b"]" * 900,  # json takes it, the next repr of it would not
        b"\xff",
        b"",
        b"NaN",
        b'{"a": -Infinity}',
        b"\xed\xa0",
    ],
)
def test_what_is_no_json_of_ours_is_bad_data(content: bytes) -> None:
    for read in (decode, decode_floats):
        with pytest.raises(BadData):
            read(content)


def test_depth_up_to_the_limit_is_read() -> None:
    assert decode(b"[" * DEEPEST + b"]" * DEEPEST)


BOMBS = (
    "1E+3000000",
    "1e99999999999999999999",
    "-1E-3000000",
    "0E+1000000",
    "1" * 300,
    "9" * 6000,
    "0." + "1" * 300,
    "1e31",
)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_number_beyond_the_bounds_costs_its_field_alone(bomb: str) -> None:
    document: Any = decode(f'[{{"a": {bomb}, "b": 1.5}}, {{"a": 2}}]')
    assert document[0]["b"] == Decimal("1.5")
    assert document[1]["a"] == 2
    for each in (document[0]["a"], bomb):
        assert to_decimal(each) is None


@pytest.mark.parametrize("bomb", ["1e999", "9" * 6000, "-1e999", "0." + "1" * 300])
def test_documents_of_floats_have_finite_ones_only(bomb: str) -> None:
    with pytest.raises(BadData):
        decode_floats(f"[{bomb}]")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.00000001", "0.00000001"),
        ("1_000", None),
        (" 1", None),
        ("\u0661", None),
        ("-0", "0"),
        (10**30, "1E+30"),
        (10**31, None),
        (10**4000, None),
        (Decimal("1E-30"), "1E-30"),
        (Decimal("1E-31"), None),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (1.5, None),
        (True, None),
    ],
)
def test_numbers_are_bounded_and_spelled_one_way(value: object, number: str | None) -> None:
    assert to_decimal(value) == (None if number is None else Decimal(number))


@given(st.text("0123456789.eE+-naNifty _", max_size=80))
@settings(max_examples=500)
def test_every_usable_number_can_be_spelled_and_cut_at_once(text: str) -> None:
    number = to_decimal(text)
    if number is not None:
        assert len(format(number, "f")) < 200
        assert abs(int(number)) < 10**31


@given(ANY_TEXT)
def test_no_header_is_more_than_a_wait_or_a_date(header: str) -> None:
    wait_s = retry_after_s(header, NOW)
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S
    date = http_date(header)
    assert date is None or date.tzinfo is UTC


@pytest.mark.parametrize(
    "header",
    [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 +1200",
        "Sat, 01 Jan 2050 00:00:00 GMT",
    ],
)
def test_dates_of_headers_are_capped_like_seconds(header: str) -> None:
    assert retry_after_s(header, NOW) == LONGEST_WAIT_S


def test_instants_have_years_that_trading_days_have() -> None:
    assert to_instant(NOW) == NOW
    assert to_instant(datetime.max.replace(tzinfo=UTC)) is None
    assert to_instant(LAST_INSTANT) is None
    assert to_instant(LAST_INSTANT - timedelta(seconds=1)) is not None
    assert to_instant(datetime(1969, 12, 31, tzinfo=UTC)) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | ANY_TEXT, st.lists, max_leaves=20))
def test_any_document_is_read_or_refused(document: object) -> None:
    text = json.dumps(document)
    for read in (decode, decode_floats):
        try:
            read(text)
        except BadData as exc:
            str(exc).encode()
