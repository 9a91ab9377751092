"""Parameters keep their order and spelling, because a token is made for exactly that."""

import hashlib

import pytest

from jobs.matching.rules import VenueError
from sandbox.params import from_json, from_query


def test_the_published_query_vector() -> None:
    wire = "market=KRW-BTC&states%5B%5D=wait&states%5B%5D=watch&limit=10"
    params = from_query(wire)
    assert params.hashed == "market=KRW-BTC&states[]=wait&states[]=watch&limit=10"
    assert hashlib.sha512(params.hashed.encode()).hexdigest().startswith("e3cfc649139c595e1c26a8")
    assert params.all("states") == ["wait", "watch"]
    assert from_query(params.hashed) == params


def test_the_published_body_vector() -> None:
    body = (
        b'{"market":"KRW-BTC","side":"bid","volume":"0.001","price":"50000000","ord_type":"limit"}'
    )
    params = from_json(body)
    assert params.hashed == "market=KRW-BTC&side=bid&volume=0.001&price=50000000&ord_type=limit"
    assert hashlib.sha512(params.hashed.encode()).hexdigest().startswith("7a1eb1d7da6191e65ee8ae")


def test_numbers_and_flags_in_a_body_keep_their_spelling() -> None:
    params = from_json(
        b'{"a": 1.0, "b": 1e-05, "c": 50000000, "d": true, "e": null, "f": ["x", "y"]}'
    )
    assert params.hashed == "a=1.0&b=1e-05&c=50000000&d=true&f[]=x&f[]=y"
    assert params.get("e") is None
    assert params.all("f") == ["x", "y"]


def test_a_plus_is_a_space_for_the_reader_and_itself_for_the_hash() -> None:
    params = from_query("to=2025-06-24T13:56:53+09:00&x=%2B")
    assert params.get("to") == "2025-06-24T13:56:53 09:00"
    assert params.hashed == "to=2025-06-24T13:56:53+09:00&x=+"


def test_the_last_value_counts_and_an_empty_one_is_none() -> None:
    params = from_query("a=1&a=2&b=&c&d=1,2,,3&d=4")
    assert params.get("a") == "2"
    assert params.get("b") is params.get("c") is None
    assert params.listed("d") == ["1", "2", "3", "4"]
    assert from_query("").pairs == from_json(b"").pairs == ()


@pytest.mark.parametrize(
    "body", [b"[1]", b"1", b"{", b"market=KRW-BTC", b'{"a": {"b": 1}}', b"\xff"]
)
def test_a_body_that_is_no_flat_object_is_refused(body: bytes) -> None:
    with pytest.raises(VenueError) as caught:
        from_json(body)
    assert (caught.value.name, caught.value.status) == ("invalid_parameter", 400)
