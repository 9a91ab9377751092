"""No web page drives the exchange."""

import pytest
from fixtures.local_venue import LocalVenue
from starlette.datastructures import Headers

from sandbox.control_gate import why_not

LOCAL = {"host": "127.0.0.1:8788"}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", LOCAL, None),
        ("DELETE", LOCAL, None),
        ("POST", LOCAL, None),
        ("POST", LOCAL | JSON | {"content-length": "2"}, None),
        ("POST", LOCAL | {"content-type": "application/json; charset=utf-8"}, None),
        ("GET", {"host": "[::1]:8788"}, None),
        ("GET", {"host": "a.localhost"}, None),
        ("GET", {"host": "192.0.2.7:8788"}, None),
        ("POST", LOCAL | {"content-type": "text/plain"}, 415),
        ("POST", LOCAL | {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", LOCAL | {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("POST", LOCAL | {"content-length": "2"}, 415),
        ("POST", LOCAL | {"transfer-encoding": "chunked"}, 415),
        ("POST", LOCAL | JSON | {"origin": "https://evil.example"}, 403),
        ("POST", LOCAL | JSON | {"origin": "null"}, 403),
        ("GET", LOCAL | {"origin": "http://127.0.0.1:8788"}, 403),
        ("GET", LOCAL | {"sec-fetch-site": "cross-site"}, 403),
        ("GET", {"host": "evil.example"}, 421),
        ("GET", {"host": "127.0.0.1.evil.example"}, 421),
        ("GET", {}, 421),
    ],
)
def test_who_is_let_in(method: str, headers: dict[str, str], status: int | None) -> None:
    refusal = why_not(method, Headers(headers))
    assert (None if refusal is None else refusal[0]) == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sandbox/credit"),
        ("POST", "/sandbox/faults"),
        ("GET", "/sandbox/keys"),
        ("DELETE", "/sandbox/faults"),
        ("POST", "/sandbox/gemini/script"),
        ("GET", "/sandbox"),
    ],
)
async def test_a_pages_request_changes_and_tells_nothing(
    local_venue: LocalVenue, method: str, path: str
) -> None:
    body = '{"currency": "KRW", "amount": "1", "pocket": "main"}'
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    answer = await local_venue.http.request(method, path, content=body, headers=headers)
    assert answer.status_code == 403
    assert answer.json() == {"error": "the control endpoint takes no requests of web pages"}


async def test_the_exchange_itself_is_as_before(local_venue: LocalVenue) -> None:
    headers = {"Origin": "https://evil.example"}
    answer = await local_venue.http.get("/v1/market/all", headers=headers)
    assert answer.status_code == 200
