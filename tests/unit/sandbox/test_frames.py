"""Request frames are read as the venue reads them, and every format spells the same numbers."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.frames import (
    Format,
    FrameError,
    Subscription,
    book_code,
    encode,
    error_frame,
    exponent_form,
    merged,
    parse_request,
)


def frame(*items: object) -> str:
    return json.dumps([{"ticket": "t"}, *items])


def refusal(text: str, *, private: bool = False) -> str:
    with pytest.raises(FrameError) as caught:
        parse_request(text, private=private)
    return caught.value.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("not json", "WRONG_FORMAT"),
        ('{"ticket": "t"}', "WRONG_FORMAT"),
        ('[{"ticket": "t"}, "ticker"]', "WRONG_FORMAT"),
        ('[{"type": "ticker", "codes": ["KRW-BTC"]}]', "NO_TICKET"),
        ('[{"ticket": ""}, {"type": "ticker", "codes": ["KRW-BTC"]}]', "NO_TICKET"),
        ('[{"ticket": 7}, {"type": "ticker", "codes": ["KRW-BTC"]}]', "NO_TICKET"),
        ("[]", "NO_TICKET"),
        (frame(), "NO_TYPE"),
        (frame({"format": "SIMPLE"}), "NO_TYPE"),
        (frame({"codes": ["KRW-BTC"]}), "NO_TYPE"),
        (frame({"type": "ticker"}), "NO_CODES"),
        (frame({"type": "ticker", "codes": []}), "NO_CODES"),
        (frame({"type": "ticker", "codes": "KRW-BTC"}), "WRONG_FORMAT"),
        (frame({"type": "ticker", "codes": [1]}), "WRONG_FORMAT"),
        (frame({"type": "tickers", "codes": ["KRW-BTC"]}), "INVALID_PARAM"),
        (frame({"type": 3, "codes": ["KRW-BTC"]}), "INVALID_PARAM"),
        (frame({"type": "candle.2m", "codes": ["KRW-BTC"]}), "INVALID_PARAM"),
        (frame({"type": "myOrder"}), "INVALID_AUTH"),
        (
            frame({"type": "ticker", "codes": ["KRW-BTC"], "is_only_snapshot": 1}),
            "WRONG_FORMAT",
        ),
        (frame({"type": "ticker", "codes": ["KRW-BTC"]}, {"format": "XML"}), "WRONG_FORMAT"),
    ],
)
def test_a_broken_request_is_refused_by_the_venues_name(text: str, name: str) -> None:
    assert refusal(text) == name


def test_private_types_have_their_own_rules() -> None:
    assert refusal(frame({"type": "myAsset", "codes": ["KRW"]}), private=True) == "WRONG_FORMAT"
    assert refusal(frame({"type": "ticker", "codes": ["KRW-BTC"]}), private=True) == "INVALID_PARAM"
    request = parse_request(
        frame({"type": "myOrder", "codes": []}, {"type": "myAsset"}), private=True
    )
    assert request.subscriptions == (
        Subscription(type="myOrder", snapshot=False),
        Subscription(type="myAsset", snapshot=False),
    )


@pytest.mark.parametrize(
    ("flags", "snapshot", "realtime"),
    [
        ({}, True, True),
        ({"is_only_snapshot": True}, True, False),
        ({"is_only_realtime": True}, False, True),
        ({"isOnlyRealtime": True}, False, True),
        ({"isOnlySnapshot": True, "isOnlyRealtime": False}, True, False),
        ({"is_only_snapshot": True, "is_only_realtime": True}, True, True),
    ],
)
def test_snapshot_and_realtime_are_chosen_by_flags_old_and_new(
    flags: dict[str, bool], snapshot: bool, realtime: bool
) -> None:
    request = parse_request(frame({"type": "trade", "codes": ["KRW-BTC"]} | flags), private=False)
    (only,) = request.subscriptions
    assert (only.snapshot, only.realtime) == (snapshot, realtime)


def test_a_listing_needs_no_type_and_may_bring_a_format() -> None:
    request = parse_request(
        frame({"method": "LIST_SUBSCRIPTIONS"}, {"format": "SIMPLE"}), private=False
    )
    assert (request.listing, request.format, request.subscriptions) == (True, "SIMPLE", ())


def test_a_code_asked_for_twice_is_streamed_once() -> None:
    request = parse_request(
        frame(
            {"type": "ticker", "codes": ["KRW-BTC", "KRW-BTC"]},
            {"type": "ticker", "codes": ["KRW-ETH", "KRW-BTC"]},
            {"type": "ticker", "codes": ["KRW-BTC"]},
            {"type": "trade", "codes": ["KRW-BTC"]},
        ),
        private=False,
    )
    assert [(each.type, each.codes) for each in merged(request.subscriptions)] == [
        ("ticker", ("KRW-BTC",)),
        ("ticker", ("KRW-ETH",)),
        ("trade", ("KRW-BTC",)),
    ]


def test_merging_keeps_a_private_type_without_codes() -> None:
    assert merged((Subscription(type="myAsset"),)) == [Subscription(type="myAsset")]


@pytest.mark.parametrize(
    ("code", "market", "depth"),
    [
        ("KRW-BTC", "KRW-BTC", 30),
        ("KRW-BTC.1", "KRW-BTC", 1),
        ("KRW-BTC.15", "KRW-BTC", 15),
        ("KRW-BTC.7", "KRW-BTC", 30),
        ("KRW-BTC.x", "KRW-BTC", 30),
    ],
)
def test_a_books_depth_stands_behind_a_dot(code: str, market: str, depth: int) -> None:
    assert book_code(code) == (market, depth)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("116539000", "1.16539E8"),
        ("100000000", "1.0E8"),
        ("10000000", "1.0E7"),
        ("9999999.5", "9999999.5"),
        ("95", "95.0"),
        ("0.001", "0.001"),
        ("0.00006314", "6.314E-5"),
        ("-0.00000001", "-1.0E-8"),
        ("-306", "-306.0"),
        ("0", "0.0"),
        ("0.00000000", "0.0"),
    ],
)
def test_public_numbers_look_like_doubles(number: str, text: str) -> None:
    assert exponent_form(Decimal(number)) == text


@given(st.decimals(min_value="-1e15", max_value="1e15", places=8).filter(lambda n: n.is_finite()))
def test_the_exponent_form_reads_back_as_the_same_double(number: Decimal) -> None:
    assert float(exponent_form(number)) == float(number)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("DEFAULT", '{"type":"ticker","code":"KRW-BTC","trade_price":1.16539E8}'),
        ("SIMPLE", '{"ty":"ticker","cd":"KRW-BTC","tp":1.16539E8}'),
        ("JSON_LIST", '[{"type":"ticker","code":"KRW-BTC","trade_price":1.16539E8}]'),
        ("SIMPLE_LIST", '[{"ty":"ticker","cd":"KRW-BTC","tp":1.16539E8}]'),
    ],
)
def test_every_format_spells_the_same_message(wanted: Format, text: str) -> None:
    message = {"type": "ticker", "code": "KRW-BTC", "trade_price": Decimal(116539000)}
    assert encode(message, wanted).decode() == text


def test_private_numbers_keep_every_digit() -> None:
    balance = Decimal("1386929.37231066771348207123")
    message = {"type": "myAsset", "assets": [{"currency": "KRW", "balance": balance}]}
    assert json.loads(encode(message, "SIMPLE"), parse_float=Decimal) == {
        "ty": "myAsset",
        "ast": [{"cu": "KRW", "b": balance}],
    }


def test_short_keys_depend_on_the_type() -> None:
    for kind, short in (("ticker", "tdt"), ("trade", "td")):
        assert json.loads(encode({"type": kind, "trade_date": "20260101"}, "SIMPLE")) == {
            "ty": kind,
            short: "20260101",
        }
    nested = {"type": "orderbook", "orderbook_units": [{"ask_price": Decimal(1)}]}
    assert encode(nested, "SIMPLE") == b'{"ty":"orderbook","obu":[{"ap":1.0}]}'
    candle = {"type": "candle.1m", "candle_date_time_utc": "2026-01-01T00:00:00"}
    assert encode(candle, "SIMPLE") == b'{"ty":"candle.1m","cdttmu":"2026-01-01T00:00:00"}'


def test_a_listing_shows_what_runs() -> None:
    assert Subscription(type="orderbook", codes=("KRW-BTC",), level="10000").listed() == {
        "type": "orderbook",
        "codes": ["KRW-BTC"],
        "level": "10000",
    }
    assert Subscription(type="myAsset").listed() == {"type": "myAsset"}


def test_candle_units_are_minutes() -> None:
    assert Subscription(type="candle.240m").candle_unit == 240
    assert Subscription(type="ticker").candle_unit is None


def test_an_error_frame_is_shaped_like_a_rest_error() -> None:
    assert json.loads(error_frame("NO_TICKET", "why")) == {
        "error": {"name": "NO_TICKET", "message": "why"}
    }
