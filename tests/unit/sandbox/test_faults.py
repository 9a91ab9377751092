"""Faults hit exactly the requests they name, and what they do to an order is what they say."""

import asyncio
import base64
import gzip
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fixtures.local_venue import LocalVenue

from sandbox.faults import Fault, Faults

ORDER = {
    "market": "KRW-BTC",
    "side": "bid",
    "ord_type": "limit",
    "price": "100000000",
    "volume": "0.0001",
}


async def fault(venue: LocalVenue, **fields: Any) -> int:
    return int((await venue.tell("faults", **fields))["number"])


async def orders(venue: LocalVenue) -> int:
    return len(venue.venue.pockets["main"].engine.tickets())


def test_matching_by_method_path_market_and_number() -> None:
    faults = Faults()
    hit = faults.add(Fault.of({"method": "POST", "path": "/v1/orders*", "nth": 2, "count": 2}))
    never = faults.add(Fault.of({"market": "KRW-ETH", "count": 0}))
    requests = [
        ("GET", "/v1/orders", ""),
        ("POST", "/v1/orders", ""),
        ("POST", "/v1/orders/test", ""),
        ("POST", "/v1/order", ""),
        ("POST", "/v1/orders", ""),
        ("POST", "/v1/orders", ""),
        ("GET", "/v1/ticker", "markets=KRW-ETH"),
        ("GET", "/v1/ticker", "markets=KRW-ETH"),
    ]
    found = [faults.match(*request) for request in requests]
    assert found == [None, None, hit, None, hit, None, never, never]
    assert (hit.seen, hit.hits) == (4, 2)
    faults.clear(hit.number)
    faults.clear(99)
    assert faults.listed() == [never]
    faults.clear()
    assert faults.listed() == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"stauts": 500}, "no such field: stauts"),
        ({"number": 1}, "no such field: number"),
        ({"action": "explode"}, "action is one of"),
        ({"when": "during"}, "when of"),
        ({"nth": "1"}, "whole numbers"),
        ({"share": "1.5"}, "from 0 to 1"),
        ({"raw": "no base64!"}, "base64"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault.of(raw)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ({"error": {"name": "server_error"}}, "application/json", '{"error": {"name": "ser'),
        ("<html>bad gateway</html>", "text/html", "<html>bad"),
        ("garbage", "text/plain", "garbage"),
    ],
)
async def test_an_answer_instead_of_the_venues(
    local_venue: LocalVenue, body: object, kind: str, text: str
) -> None:
    await fault(local_venue, path="/v1/orders", action="answer", status=502, body=body)
    answer = await local_venue.call("POST", "/v1/orders", **ORDER)
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith(kind)
    assert answer.text.startswith(text)
    assert await orders(local_venue) == 0
    assert (await local_venue.call("POST", "/v1/orders", **ORDER)).status_code == 201


async def test_an_order_may_exist_behind_an_error(local_venue: LocalVenue) -> None:
    await fault(local_venue, path="/v1/orders", action="answer", when="after", status=502)
    answer = await local_venue.call("POST", "/v1/orders", **ORDER, identifier="x")
    assert (answer.status_code, await orders(local_venue)) == (502, 1)
    assert (await local_venue.good("GET", "/v1/order", identifier="x"))["state"] == "wait"


async def test_headers_can_be_added_and_taken_away(local_venue: LocalVenue) -> None:
    headers = {"Remaining-Req": None, "Retry-After": "3"}
    await fault(local_venue, path="/v1/market/all", headers=headers)
    answer = await local_venue.http.get("/v1/market/all")
    assert answer.status_code == 200
    assert "remaining-req" not in answer.headers
    assert answer.headers["retry-after"] == "3"
    assert len(answer.json()) == 36


async def test_a_created_order_with_a_broken_body(local_venue: LocalVenue) -> None:
    await fault(local_venue, path="/v1/orders", action="garble")
    answer = await local_venue.call("POST", "/v1/orders", **ORDER)
    assert answer.status_code == 201
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert await orders(local_venue) == 1


async def test_a_slow_body_arrives_whole(local_venue: LocalVenue) -> None:
    await fault(local_venue, path="/v1/market/all", action="drip", drip_ms=20)
    assert len((await local_venue.http.get("/v1/market/all")).json()) == 36


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
async def test_a_request_can_hang(local_venue: LocalVenue, when: str, made: int) -> None:
    await fault(local_venue, path="/v1/orders", action="hang", when=when, delay_ms=1)
    waiting = asyncio.ensure_future(local_venue.call("POST", "/v1/orders", **ORDER))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await orders(local_venue) == made
    (entry,) = await local_venue.get("/sandbox/requests", path="/v1/orders")
    assert (entry["status"], entry["fault"]) == (None, 1)


async def test_an_order_can_be_hidden_and_filled_in_part(local_venue: LocalVenue) -> None:
    await fault(local_venue, method="POST", path="/v1/orders", hide_ms=300, share="0.25")
    made = await local_venue.good("POST", "/v1/orders", **ORDER | {"price": "300000000"})
    assert await local_venue.refusal("GET", "/v1/order", uuid=made["uuid"]) == (
        404,
        "order_not_found",
    )
    local_venue.time.pass_s(0.3)
    row = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (row["state"], row["executed_volume"]) == ("wait", "0.000025")


async def test_gemini_is_subject_to_faults_and_the_control_endpoint_is_not(
    local_venue: LocalVenue,
) -> None:
    await fault(local_venue, path="*", action="answer", status=503, count=0, body={})
    for path in ("/v1beta/models", "/v1/market/all"):
        assert (await local_venue.http.get(path)).status_code == 503
    (shown,) = await local_venue.get("/sandbox/faults")
    assert (shown["hits"], shown["status"]) == (2, 503)
    assert (await local_venue.http.delete("/sandbox/faults/1")).status_code == 200
    assert (await local_venue.http.get("/v1/market/all")).status_code == 200
    await fault(local_venue, action="answer", status=500)
    await local_venue.http.delete("/sandbox/faults")
    assert (await local_venue.http.get("/v1/market/all")).status_code == 200


async def test_the_log_tells_what_became_of_requests(local_venue: LocalVenue) -> None:
    await local_venue.call("POST", "/v1/orders", **ORDER)
    await local_venue.http.get("/v1/ticker?markets=KRW-XXX")
    ledger = await local_venue.get("/sandbox/ledger")
    assert ledger["requests"] == {"GET /v1/ticker": {"404": 1}, "POST /v1/orders": {"201": 1}}
    (entry,) = await local_venue.get("/sandbox/requests", method="POST")
    assert (entry["path"], entry["status"], entry["fault"]) == ("/v1/orders", 201, None)
    assert '"price"' in entry["body"]
    assert entry["at"] == local_venue.time.now.isoformat()
    await local_venue.http.delete("/sandbox/requests")
    assert await local_venue.get("/sandbox/requests") == []


async def test_a_share_is_exact(local_venue: LocalVenue) -> None:
    await fault(local_venue, method="POST", share="0.5")
    body = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "10000"}
    made = await local_venue.good("POST", "/v1/orders", **body)
    row = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert row["state"] == "cancel"
    assert Decimal(4990) < Decimal(row["executed_funds"]) <= 5000


async def test_other_kinds_of_scope_pass_untouched(local_venue: LocalVenue) -> None:
    await fault(local_venue, action="answer", status=500, count=0)
    with pytest.raises(httpx.HTTPStatusError):
        (await local_venue.http.get("/v1/market/all")).raise_for_status()


async def test_a_body_can_be_given_byte_for_byte(local_venue: LocalVenue) -> None:
    body = gzip.compress(b"[\xff")
    headers = {"content-encoding": "gzip"}
    raw = base64.b64encode(body).decode()
    shown = await local_venue.tell("faults", action="answer", status=200, raw=raw, headers=headers)
    assert shown["raw"] == len(raw)
    answer = await local_venue.http.get("/v1/market/all")
    assert (answer.status_code, answer.content) == (200, b"[\xff")
    assert answer.headers["content-length"] == str(len(body))
