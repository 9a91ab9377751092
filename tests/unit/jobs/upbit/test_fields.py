from datetime import UTC, datetime
from decimal import Decimal

import pytest

from jobs.core.errors import BadData
from jobs.upbit.fields import Fields, decode, every, rows, to_decimal


def fields(**raw: object) -> Fields:
    return Fields.of("thing", raw)


def test_fractions_are_decoded_to_the_last_digit() -> None:
    assert decode(b'{"a": 0.1000000000000000055511151231257827, "b": 1.16539E8, "c": 3}') == {
        "a": Decimal("0.1000000000000000055511151231257827"),
        "b": Decimal("1.16539E8"),
        "c": 3,
    }


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff"])
def test_what_is_no_json_is_said_to_be(content: bytes) -> None:
    with pytest.raises(BadData):
        decode(content)


@pytest.mark.parametrize("raw", [None, {}, "x", [1, "x"]])
def test_rows_refuse_all_but_a_list_of_good_rows(raw: object) -> None:
    with pytest.raises(BadData):
        rows(raw, lambda row: Fields.of("thing", row))


@pytest.mark.parametrize("value", [True, None, 1.5, "x", "NaN", "Infinity", [], ""])
def test_what_is_no_number_is_none(value: object) -> None:
    assert to_decimal(value) is None


@pytest.mark.parametrize("value", ["1.50", Decimal("1.50"), "1.5e0"])
def test_numbers_come_in_several_shapes(value: object) -> None:
    assert to_decimal(value) == Decimal("1.5")


def test_absent_and_null_are_the_same() -> None:
    for thing in (fields(), fields(key=None)):
        assert thing.maybe_text("key") is None
        assert thing.maybe_number("key") is None
        assert thing.amount_or_zero("key") == 0
        assert thing.count("key") == 0
        assert thing.texts("key") == ()


def test_values() -> None:
    thing = fields(t="x", n="1.5", c=3, ts=["a"], o={"n": 1}, ms=1754725931000)
    assert thing.text("t") == thing.maybe_text("t") == "x"
    assert thing.number("n") == thing.maybe_number("n") == Decimal("1.5")
    assert thing.count("c") == 3
    assert thing.texts("ts") == ("a",)
    assert thing.inner("o").number("n") == 1
    assert thing.instant_ms("ms") == datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-08-09T16:52:11+09:00", datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC)),
        ("2025-08-09T16:52:11.123456+09:00", datetime(2025, 8, 9, 7, 52, 11, 123456, tzinfo=UTC)),
        ("2025-08-09T16:52:11+09:0", datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC)),
        ("2025-08-09T16:52:11", datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC)),
        ("2025-08-09T07:52:11Z", datetime(2025, 8, 9, 7, 52, 11, tzinfo=UTC)),
    ],
)
def test_instants_are_utc(text: str, instant: datetime) -> None:
    assert fields(key=text).instant("key") == instant
    assert fields(key=text).instant("key").tzinfo is UTC


def test_a_time_without_a_zone_is_in_the_zone_it_is_documented_in() -> None:
    assert fields(key="2025-08-09T07:52:00").instant("key", zone=UTC).hour == 7


@pytest.mark.parametrize(
    ("read", "value"),
    [
        ("text", 1),
        ("text", ""),
        ("maybe_text", 1),
        ("number", "x"),
        ("count", "1.5"),
        ("texts", "x"),
        ("texts", [1]),
        ("inner", []),
        ("instant_ms", 10**18),
        ("instant_ms", None),
        ("instant", "yesterday"),
        ("instant", None),
        ("instant", "0001-01-01T00:00:00+09:00"),
    ],
)
def test_every_doubt_names_its_field(read: str, value: object) -> None:
    with pytest.raises(BadData, match=r"thing has no usable key"):
        getattr(fields(key=value), read)("key")


def test_rows_leaves_odd_ones_out_and_every_does_not() -> None:
    assert rows([1, "x"], _whole) == [1]
    with pytest.raises(BadData):
        every([1, "x"], _whole)


def _whole(row: object) -> object:
    if not isinstance(row, int):
        raise BadData("no number")
    return row
