"""Only a fresh token of a known key, made for this very request, gets in."""

import warnings
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from jobs.matching.rules import VenueError
from sandbox.auth import NONCE_MEMORY, Key, admit, allow, check_hash, identify
from sandbox.options import Options

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "x" * 40


def key(**changes: object) -> Key:
    made = Key(
        access_key="ACCESS-KEY-FOR-TEST",
        secret_key=SECRET,
        pocket="main",
        expire_at=NOW + timedelta(days=1),
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


KEYS = {"ACCESS-KEY-FOR-TEST": key()}


def name_of(header: str | None) -> tuple[str, int]:
    with pytest.raises(VenueError) as caught:
        identify(KEYS, header)
    return caught.value.name, caught.value.status


def test_the_published_token_is_accepted() -> None:
    token = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
        ".eyJhY2Nlc3Nfa2V5IjoiQUNDRVNTLUtFWS1GT1ItVEVTVCIsIm5vbmNlIjoiMDAwMDAwMDAtMDAwMC00MDAwLTgw"
        "MDAtMDAwMDAwMDAwMDAwIn0.6pHYPLhh6GgIMQFmCKlCx1coLhj_BG_Zqv-IJCXbtBw"
    )
    found, claims = identify(KEYS, f"Bearer {token}")
    assert found.access_key == "ACCESS-KEY-FOR-TEST"
    assert claims["nonce"] == "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_three_algorithms_are_accepted(algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        token = jwt.encode({"access_key": "ACCESS-KEY-FOR-TEST"}, SECRET, algorithm=algorithm)
    assert identify(KEYS, f"Bearer {token}")[0].pocket == "main"


def test_what_is_no_token_of_ours_is_refused_by_name() -> None:
    good = jwt.encode({"access_key": "ACCESS-KEY-FOR-TEST"}, SECRET)
    stranger = jwt.encode({"access_key": "NOBODY"}, SECRET)
    forged = jwt.encode({"access_key": "ACCESS-KEY-FOR-TEST"}, "y" * 40)
    unsigned = jwt.encode({"access_key": "ACCESS-KEY-FOR-TEST"}, "", algorithm="none")
    listed = ".".join(["W10", "W10", "W10"])
    for header in (None, "", "Bearer", "Basic abc"):
        assert name_of(header) == ("no_authorization_token", 401)
    assert name_of(f"Bearer {stranger}") == ("invalid_access_key", 401)
    for token in (forged, unsigned, "a.b", "a.b.c", "....", listed, good[:-4] + "AAAA"):
        assert name_of(f"Bearer {token}") == ("jwt_verification", 401)


def admission(made: Key, claims: dict[str, object], now: datetime = NOW) -> str:
    with pytest.raises(VenueError) as caught:
        admit(made, claims, ip="10.0.0.1", now=now, options=Options())
    return caught.value.name


def test_a_nonce_is_good_once() -> None:
    made = key()
    admit(made, {"nonce": "n"}, ip="10.0.0.1", now=NOW, options=Options())
    assert admission(made, {"nonce": "n"}, NOW + NONCE_MEMORY) == "nonce_used"
    later = NOW + NONCE_MEMORY + timedelta(seconds=1)
    admit(made, {"nonce": "n"}, ip="10.0.0.1", now=later, options=Options())
    for missing in ({}, {"nonce": ""}, {"nonce": 7}):
        assert admission(made, dict(missing)) == "jwt_verification"


def test_time_and_place_are_checked() -> None:
    assert admission(key(), {"nonce": "n"}, NOW + timedelta(days=1)) == "expired_access_key"
    assert admission(key(ips=frozenset({"10.0.0.2"})), {"nonce": "n"}) == "no_authorization_ip"
    home = key(ips=frozenset({"10.0.0.1"}))
    admit(home, {"nonce": "n"}, ip="10.0.0.1", now=NOW, options=Options())


def test_the_hash_must_be_of_the_parameters() -> None:
    check_hash({}, "")
    for claims in ({}, {"query_hash": "0"}, {"query_hash": "0", "query_hash_alg": "MD5"}):
        with pytest.raises(VenueError) as caught:
            check_hash(claims, "a=1")
        assert caught.value.name == "invalid_query_payload"


def test_a_key_may_do_what_it_was_made_for() -> None:
    allow(key(), "orders", Options())
    allow(key(), None, Options())
    with pytest.raises(VenueError) as caught:
        allow(key(), "withdraw", Options(out_of_scope_status=403))
    assert (caught.value.name, caught.value.status) == ("out_of_scope", 403)
