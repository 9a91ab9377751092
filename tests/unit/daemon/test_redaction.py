"""Secrets and balances never pass the masker, whatever form they come in."""

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.redaction import MASK, Masker, forms_of, is_private, mask_address

SECRET = 'kR8x/Zp+"q\\7w=LmN2vT'
mask = Masker([SECRET])


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(json.dumps(SECRET)),
        repr(SECRET),
        repr({"key": SECRET}),
        json.dumps(repr(SECRET)),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"user2:{SECRET}!".encode()).decode(),
        base64.b64encode(f"us:{SECRET}".encode()).decode(),
    ],
)
def test_a_known_secret_is_found_in_every_form(form: str) -> None:
    masked = mask(f"before {form} after")
    assert MASK in masked
    for piece in forms_of(SECRET):
        assert piece not in masked


@given(st.text(min_size=8, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_survives_in_a_json_line(secret: str, before: str, after: str) -> None:
    line = json.dumps({"message": f"{before}{secret}{after}"}, ensure_ascii=False)
    masked = Masker([secret])(line)
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in masked.replace(MASK, "")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer eyJhbGciOiJIUzUxMiJ9.eyJhY2Nlc3Nfa2V5Ijoi.c2lnbmF0dXJl", "eyJ"),
        ("{'Authorization': 'Bearer abcdefgh12345678'}", "abcdefgh12345678"),
        ('{"authorization": "Bearer abcdefgh12345678"}', "abcdefgh12345678"),
        ("headers=[(b'authorization', b'Bearer abcdefgh12345678')]", "abcdefgh12345678"),
        ("(b'x-goog-api-key', b'verysecretkey')", "verysecretkey"),
        ("x-goog-api-key: verysecretkey", "verysecretkey"),
        ("key AIzaSyA0123456789abcdef is bad", "AIzaSyA0123456789"),
        ("https://x/v1beta/models?key=verysecretkey&alt=json", "verysecretkey"),
        ("postgresql://me:pw@db:5432/x?sslmode=require", ":pw@"),
        ("redis://:pw@cache/0", ":pw@"),
        ("could not connect to postgresql://me:p@ss@db/x", "p@ss"),
        ("postgresql://me:p@tailpart@db/x", "tailpart"),
        ("host=db password=verysecret dbname=x", "verysecret"),
        ("host=db password='very secret' dbname=x", "very"),
        ("UPBIT_SECRET_KEY=verysecretkey", "verysecretkey"),
        ("access_key: 'verysecretkey'", "verysecretkey"),
        ('"{\\"secret_key\\": \\"verysecretkey\\"}"', "verysecretkey"),
        ("Settings(token='verysecretkey', x=1)", "verysecretkey"),
        ("Cookie: session=verysecretkey", "verysecretkey"),
        ("{'currency': 'KRW', 'balance': '1234567.89', 'locked': 0.5}", "1234567"),
        ("Account(currency='KRW', balance=Decimal('1234567.89'))", "1234567"),
        ('[{\\"balance\\":\\"1234567\\",\\"locked\\":\\"99\\"}]', "1234567"),
        ("equity=1234567 cash_krw = 1,234,567", "234"),
        ("avg_buy_price: 1.5e8", "1.5e8"),
    ],
)  # fmt: skip
def test_the_shape_of_a_secret_is_enough(text: str, secret: str) -> None:
    assert secret not in Masker()(text)
    assert MASK in Masker()(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"tokens_in": 5, "tokens_out": 7, "max_output_tokens": 4096}',
        "GET https://api.upbit.com/v1/ticker/all?quote_currencies=KRW",
        "order 7f2c1a8e-1111-4222-8333-444455556666 is wait",
        "the key is: not here",
        "locked out since 09:00",
        '{"token": null, "password": null}',
        "Bearer of news",
        "price=152000000 volume=0.001 market=KRW-BTC",
        "keyboard=us",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert Masker(["unrelated-secret"])(text) == text


def test_json_stays_json() -> None:
    line = json.dumps(
        {
            "headers": "Authorization: Bearer abcdefgh.ijklmnop.qrst",
            "body": json.dumps({"balance": "123.4", "access_key": SECRET}),
            "url": "postgresql://me:pw@db/x",
            "nested": {"a": [SECRET]},
        }
    )
    document = json.loads(mask(line))
    assert document["nested"]["a"] == [MASK]
    assert "123.4" not in document["body"]


def test_masking_twice_changes_nothing() -> None:
    once = mask(f"Authorization: Bearer {SECRET} balance=5 postgresql://a:b@c/d")
    assert mask(once) == once


@pytest.mark.parametrize("secret", ["", "abc", "12345"])
def test_texts_too_short_to_be_secrets_are_not_searched_for(secret: str) -> None:
    assert Masker([secret])("12345 abc") == "12345 abc"


@pytest.mark.parametrize(
    ("field", "private"),
    [
        ("balance", True),
        ("Authorization", True),
        ("api_key", True),
        ("cash_krw", True),
        ("token", True),
        ("tokens_in", False),
        ("market", False),
        ("price", False),
        ("key", False),
        ("max_position_krw", False),
    ],
)  # fmt: skip
def test_private_fields_are_known_by_name(field: str, private: bool) -> None:
    assert is_private(field) is private


def test_an_address_without_a_password_stays() -> None:
    assert mask_address("postgresql://me@db/x") == "postgresql://me@db/x"
    assert mask_address("no address: at@all") == "no address: at@all"


@pytest.mark.parametrize(
    "text",
    [
        "token: GenerateContentInputTokensPerModelPerMinute-FreeTier",
        "api_key: GenerateRequestsPerDayPerProjectPerModel",
        "quota=GenerateRequestsPerMinute, name=API_KEY_INVALID",
        '{"api_key": "API_KEY_SERVICE_BLOCKED"}',
        '{"quotaId": "GenerateContentPaidTierInputTokensPerModelPerMinute"}',
    ],
)
def test_the_names_of_quotas_and_of_faults_with_keys_are_no_keys(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("secret", ["API_KEY_x9", "PerDayPass1", "my_secret_password", "Per"])
def test_what_only_begins_like_such_a_name_is_masked(secret: str) -> None:
    assert mask(f"password={secret}") == f"password={MASK}"


STUFF = ("a", "eyJ", "x://", "a://b:", "eyJaaaaa", "token ", "pwd\\\\", "AIza", "Bearer ", "?key=")


@pytest.mark.parametrize("tail", ["", "://", "://u:p", "."])
@pytest.mark.parametrize("stuff", STUFF)
def test_masking_a_hostile_text_is_no_bomb(stuff: str, tail: str) -> None:
    text = stuff * (200_000 // len(stuff)) + tail
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 5  # seconds of this process alone; quadratic: 80 and more
