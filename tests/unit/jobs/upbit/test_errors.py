from datetime import UTC, datetime, timedelta

import pytest

from jobs.core.errors import Refused, Unauthorized, Unavailable
from jobs.upbit.errors import (
    MarketOffline,
    block_s,
    is_unnamed,
    parse_date,
    read_fault,
    retry_after_s,
    to_error,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def named(name: str, message: str = "m") -> bytes:
    return f'{{"error":{{"message":"{message}","name":"{name}"}}}}'.encode()


def error_for(status: int, content: bytes) -> Exception:
    return to_error(read_fault(status, content), call="GET /v1/x", request_id="r")


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, named("insufficient_funds_bid"), Refused),
        (404, named("order_not_found"), Refused),
        (404, b'{"error":{"name":404,"message":"Code not found"}}', Refused),
        (404, named("not_found", "no Route matched with those values"), Refused),
        (401, named("no_authorization_ip"), Unauthorized),
        (401, named("no_authorization_i_p"), Unauthorized),
        (401, named("nonce_used"), Unauthorized),
        (401, named("jwt_verification"), Unauthorized),
        (401, named("out_of_scope"), Unauthorized),
        (403, named("out_of_scope"), Unauthorized),
        (401, named("a_name_of_tomorrow"), Unauthorized),
        (401, b"nginx", Unauthorized),
        (403, named("market_offline"), MarketOffline),
        (400, named("too_many_request_order"), Unavailable),
        (500, named("internal_server_error"), Unavailable),
        (502, b"<html>Bad Gateway</html>", Unavailable),
        (503, b"", Unavailable),
        (404, b"<html>Not Found</html>", Unavailable),
        (403, b"<html>Forbidden</html>", Unavailable),
        (302, b"", Unavailable),
    ],
)
def test_kind_by_name_first_and_status_second(
    status: int, content: bytes, kind: type[Exception]
) -> None:
    assert type(error_for(status, content)) is kind


def test_a_refusal_keeps_its_name_and_status() -> None:
    error = error_for(400, named("under_min_total_bid", "too little"))
    assert isinstance(error, Refused)
    assert (error.name, error.status) == ("under_min_total_bid", 400)
    assert error.context["text"] == "too little"


def test_names_of_quotation_are_their_digits() -> None:
    error = error_for(404, b'{"error":{"name":404,"message":"Code not found"}}')
    assert isinstance(error, Refused)
    assert error.name == "404"
    assert not is_unnamed(error)


def test_an_unnamed_refusal_says_so() -> None:
    error = error_for(401, b"who are you")
    assert isinstance(error, Refused)
    assert is_unnamed(error)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b"{}",
        b'{"error":"x"}',
        b'{"error":{"message":"x"}}',
        b'{"error":{"name":true}}',
        b'{"error":{"name":{}}}',
        b'{"error":null}',
        b'{"error":' * 50_000,
        b'{"error":{"name":1E+99999999999999999999}}',
        b'{"error":{"name":' + b"1" * 6000 + b"}}",
    ],
)
def test_any_body_is_tolerated(content: bytes) -> None:
    assert read_fault(500, content).name is None


def test_texts_of_an_error_are_clean_short_and_on_one_line() -> None:
    body = r'{"error":{"name":"n\u0000\ud800","message":"a\n\u001b[2J\u202e\ud83d b%s"}}' % (
        " w" * 500
    )
    fault = read_fault(400, body.encode())
    assert fault.name == "n\ufffd\ufffd"
    assert fault.text.startswith("a \ufffd[2J\ufffd\ufffd b w")
    assert len(fault.text) <= 201
    (str(to_error(fault, call="c", request_id="r")) + fault.name).encode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60초 동안 차단되었습니다.", 60),
        ("5분간 차단", 300),
        ("1시간 30분 동안 요청이 제한됩니다", 5400),
        ("Blocked for 120 seconds.", 120),
        ("retry in 3 minutes", 180),
        ("banned: 2 hours", 7200),
        ("wait 90s", 90),
        ("Try again after 10 Sec", 10),
        ("too many requests", None),
        ("10 requests were too many", None),
        ("", None),
        ("9999999 hours", 7 * 86400),
    ],
)
def test_block_time_of_a_ban(text: str, seconds: float | None) -> None:
    assert block_s(text) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0.5 ", 0.5),
        ("0", 0.0),
        ("Mon, 05 Jan 2026 00:00:07 GMT", 7.0),
        ("Sun, 04 Jan 2026 00:00:07 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 7 * 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
        ("9" * 5000, None),
        ("9" * 200, 7 * 86400.0),
        ("soon", None),
        ("nan", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


def test_dates_without_a_zone_are_utc() -> None:
    assert parse_date("Mon, 05 Jan 2026 00:00:00 -0000") == NOW
    assert parse_date("Mon, 05 Jan 2026 09:00:00 +0900") == NOW + timedelta(0)
    assert parse_date(None) is None
