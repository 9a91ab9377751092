import json
import warnings

import jwt
import pytest

from jobs.upbit.signing import Keys, Signer, encoded, query_hash, query_string

SECRET = "x" * 40
KEYS = Keys("ACCESS-KEY-FOR-TEST", SECRET)
NONCE = "00000000-0000-4000-8000-000000000000"
QUERY = [("market", "KRW-BTC"), ("states[]", "wait"), ("states[]", "watch"), ("limit", "10")]
QUERY_HASH = (
    "e3cfc649139c595e1c26a8aa2b3c8504f4b15011fc2b819081451e5e845172bd"
    "5dbbb5110ec5d7a3d1d32ff71f46a78323a040e8bedf8672021fd2206190a3a8"
)
BODY = '{"market":"KRW-BTC","side":"bid","volume":"0.001","price":"50000000","ord_type":"limit"}'
BODY_HASH = (
    "7a1eb1d7da6191e65ee8ae0fcb65c83f16b88bf05a9d252cd075a6c0abfcf304"
    "5e3c377378a034a11da9abf9cb00ad1435525991ddf110614b81814773499233"
)


def test_the_query_is_hashed_as_it_reads_and_sent_percent_encoded() -> None:
    assert query_string(QUERY) == "market=KRW-BTC&states[]=wait&states[]=watch&limit=10"
    assert encoded(QUERY) == "market=KRW-BTC&states%5B%5D=wait&states%5B%5D=watch&limit=10"
    assert query_hash(QUERY) == QUERY_HASH


def test_spaces_and_signs_are_encoded_so_that_every_server_reads_them_back() -> None:
    assert encoded([("to", "2026-01-01T00:00:00+09:00 x")]) == (
        "to=2026-01-01T00%3A00%3A00%2B09%3A00%20x"
    )


def test_a_body_is_hashed_as_its_pairs_in_order() -> None:
    pairs = list(json.loads(BODY).items())
    assert query_hash(pairs) == BODY_HASH


def test_the_token_of_the_reference() -> None:
    signer = Signer(KEYS, algorithm="HS256", new_nonce=lambda: NONCE)
    assert signer.token() == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJhY2Nlc3Nfa2V5IjoiQUNDRVNTLUtFWS1GT1ItVEVTVCIsIm5vbmNlIjoiMDAwMDAwMDAtMDAwMC00MDAwLTgw"
        "MDAtMDAwMDAwMDAwMDAwIn0.6pHYPLhh6GgIMQFmCKlCx1coLhj_BG_Zqv-IJCXbtBw"
    )


def test_tokens_are_hs512_and_another_library_accepts_them() -> None:
    token = Signer(KEYS).token(QUERY)
    assert jwt.get_unverified_header(token)["alg"] == "HS512"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader, not our signer, warns of the key's length
        claims = jwt.decode(token, SECRET, algorithms=["HS512"])
    assert claims["access_key"] == "ACCESS-KEY-FOR-TEST"
    assert claims["query_hash"] == QUERY_HASH
    assert claims["query_hash_alg"] == "SHA512"
    assert len(claims["nonce"]) == 36


def test_without_parameters_there_is_no_hash() -> None:
    claims = jwt.decode(Signer(KEYS).token(), options={"verify_signature": False})
    assert set(claims) == {"access_key", "nonce"}


def test_signing_with_a_short_secret_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Signer(KEYS).token()


def test_every_token_has_its_own_nonce() -> None:
    signer = Signer(KEYS)
    tokens = [signer.token() for _ in range(100)]
    nonces = {jwt.decode(each, options={"verify_signature": False})["nonce"] for each in tokens}
    assert len(nonces) == 100


@pytest.mark.parametrize("text", [repr(KEYS), str(KEYS), f"{KEYS}", f"{[KEYS]}"])
def test_keys_do_not_show(text: str) -> None:
    assert "xx" not in text
    assert "ACCESS" not in text
