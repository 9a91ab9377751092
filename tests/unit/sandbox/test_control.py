"""The control endpoint tells the venue's truth and moves its levers."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fixtures.local_venue import ORIGIN, START, LocalVenue

LIMIT = {
    "market": "KRW-BTC",
    "side": "bid",
    "ord_type": "limit",
    "price": "100000000",
    "volume": "0.0001",
}


async def test_the_overview_says_what_runs(local_venue: LocalVenue) -> None:
    found = await local_venue.get("/sandbox")
    assert found["now"] == START.isoformat()
    assert (found["pockets"], len(found["markets"])) == (["main"], 36)


async def test_the_ledger_has_balances_orders_and_fills(local_venue: LocalVenue) -> None:
    await local_venue.good("POST", "/v1/orders", **LIMIT, identifier="l")
    body = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "6000"}
    await local_venue.good("POST", "/v1/orders", **body)
    pocket = (await local_venue.get("/sandbox/ledger"))["pockets"]["main"]
    resting, bought = pocket["orders"]
    assert (resting["identifier"], resting["state"], resting["locked"]) == ("l", "wait", "10005")
    assert bought["state"] == "cancel"
    (fill,) = bought["fills"]
    assert Decimal(fill["fee"]) == Decimal(fill["funds"]) * Decimal("0.0005")
    assert pocket["credited"] == {"KRW": "10000000"}
    assert {row["currency"] for row in pocket["accounts"]} == {"KRW", "BTC"}


async def test_time_can_be_moved(local_venue: LocalVenue) -> None:
    moved = await local_venue.tell("time", advance_s=60)
    assert moved["now"] == (START + timedelta(minutes=1)).isoformat()
    moved = await local_venue.tell("time", advance_s=30)
    assert moved["shift_s"] == 90
    moved = await local_venue.tell("time", shift_s=0)
    assert moved["now"] == START.isoformat()


async def test_a_price_can_be_forced_and_given_back(local_venue: LocalVenue) -> None:
    before = (await local_venue.get("/v1/ticker", markets="KRW-BTC"))[0]["trade_price"]
    shown = await local_venue.tell("price", market="KRW-BTC", price="1000000")
    assert shown == {"market": "KRW-BTC", "price": "1000000"}
    assert (await local_venue.get("/sandbox"))["forced_prices"] == {"KRW-BTC": "1000000"}
    (row,) = await local_venue.get("/v1/ticker", markets="KRW-BTC")
    assert row["trade_price"] == 1000000
    await local_venue.tell("price", market="KRW-BTC", price=None)
    (row,) = await local_venue.get("/v1/ticker", markets="KRW-BTC")
    assert row["trade_price"] == before


async def test_a_book_can_be_shown_in_place_of_the_made_one(local_venue: LocalVenue) -> None:
    shown = await local_venue.tell(
        "book", market="KRW-BTC", asks=[["300000000", "2"]], bids=[["33333000", "1"], [33000000, 3]]
    )
    assert shown == {"market": "KRW-BTC", "levels": 2}
    (book,) = await local_venue.get("/v1/orderbook", markets="KRW-BTC")
    assert book["orderbook_units"] == [
        {"ask_price": 300000000, "bid_price": 33333000, "ask_size": 2, "bid_size": 1},
        {"ask_price": 0, "bid_price": 33000000, "ask_size": 0, "bid_size": 3},
    ]
    await local_venue.tell("credit", currency="BTC", amount="9")
    sale = {"market": "KRW-BTC", "side": "ask", "ord_type": "market", "volume": "4.1"}
    assert await local_venue.refusal("POST", "/v1/orders", **sale) == (400, "volume_too_large")
    await local_venue.tell("book", market="KRW-BTC")
    (book,) = await local_venue.get("/v1/orderbook", markets="KRW-BTC")
    assert len(book["orderbook_units"]) == 30


async def test_money_comes_and_goes(local_venue: LocalVenue) -> None:
    pocket = await local_venue.tell("credit", currency="BTC", amount="0.5")
    assert pocket["credited"] == {"KRW": "10000000", "BTC": "0.5"}
    await local_venue.tell("credit", currency="BTC", amount="-0.5")
    assert len(await local_venue.good("GET", "/v1/accounts")) == 1
    new = await local_venue.tell("credit", pocket="new", currency="KRW", amount="7")
    assert new["accounts"][0]["balance"] == "7"


async def test_the_exchange_may_cancel_by_itself(local_venue: LocalVenue) -> None:
    for market in ("KRW-BTC", "KRW-ETH"):
        body = LIMIT | {"market": market, "price": "1000000", "volume": "0.01"}
        await local_venue.good("POST", "/v1/orders", **body)
    assert await local_venue.tell("cancel", market="KRW-ETH") == {"cancelled": 1}
    assert await local_venue.tell("cancel") == {"cancelled": 1}
    states = [row["state"] for row in await local_venue.good("GET", "/v1/orders/closed")]
    assert states == ["cancel", "cancel"]


async def test_quotas_can_be_forgotten(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True, limits={"market": 1})
    for expected in (200, 429):
        assert (await local_venue.http.get("/v1/market/all")).status_code == expected
    await local_venue.http.delete("/sandbox/quotas")
    assert (await local_venue.http.get("/v1/market/all")).status_code == 200
    assert (await local_venue.get("/sandbox/ledger"))["refusals"] == {"429": 1, "418": 0}


async def test_keys_are_made_changed_and_revoked(local_venue: LocalVenue) -> None:
    made = await local_venue.tell(
        "keys",
        access_key="A",
        secret_key="s" * 40,
        pocket="p",
        permissions=["assets", "withdraw"],
        ips=["127.0.0.1"],
        expire_at="2026-12-01T00:00:00+09:00",
    )
    assert made["expire_at"] == "2026-11-30T15:00:00+00:00"
    assert made["permissions"] == ["assets", "withdraw"]
    assert len(await local_venue.get("/sandbox/keys")) == 2
    local_venue.access_key, local_venue.secret_key = "A", "s" * 40
    await local_venue.good("GET", "/v1/accounts")
    assert (await local_venue.refusal("POST", "/v1/orders", **LIMIT))[1] == "out_of_scope"
    dropped = await local_venue.http.delete("/sandbox/keys/A")
    assert dropped.json() == {"dropped": True}
    assert (await local_venue.refusal("GET", "/v1/accounts"))[1] == "invalid_access_key"
    assert (await local_venue.http.delete("/sandbox/keys/A")).json() == {"dropped": False}


async def test_options_are_shown_and_changed(local_venue: LocalVenue) -> None:
    assert (await local_venue.get("/sandbox/options"))["ban_s"] == 60
    assert (await local_venue.tell("options", ban_s=5))["ban_s"] == 5


async def test_every_stored_candle_can_be_traced_to_the_recording(local_venue: LocalVenue) -> None:
    tape = await local_venue.get("/sandbox/tape")
    assert tape["origin"] == ORIGIN.isoformat()
    btc = tape["markets"]["KRW-BTC"]
    (window,) = btc["windows"]
    assert (window["plays_at"], window["source"]) == (
        ORIGIN.isoformat(),
        "2025-09-01T00:00:00+00:00",
    )
    for market in ("KRW-BTC", "KRW-ZBT"):
        rows = await local_venue.get("/v1/candles/minutes/1", market=market, count="5")
        for row in rows[1:]:
            ts = row["candle_date_time_utc"]
            found = await local_venue.get("/sandbox/tape/source", market=market, ts=ts)
            candle = {key: Decimal(value) for key, value in found["candle"].items()}
            assert candle["open"] == row["opening_price"]
            assert candle["volume"] == Decimal(str(row["candle_acc_trade_volume"]))
            if market == "KRW-BTC":
                shift = timedelta(seconds=btc["shift_s"])
                source = datetime.fromisoformat(found["source"])
                assert source + shift == datetime.fromisoformat(ts + "+00:00")
    early = await local_venue.get(
        "/sandbox/tape/source", market="KRW-BTC", ts="2026-01-01T00:00:00"
    )
    assert early == {"market": "KRW-BTC", "source": None, "candle": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("options", {"nonsense": 1}),
        ("faults", {"action": "explode"}),
        ("price", {"market": "KRW-XXX", "price": "1"}),
        ("price", {"market": "KRW-BTC", "price": "-1"}),
        ("price", {"market": "KRW-BTC"}),
        ("credit", {"currency": "KRW", "amount": "much"}),
        ("credit", {"currency": "KRW", "amount": "-99999999"}),
        ("keys", {"access_key": "A"}),
        ("keys", {"access_key": "A", "secret_key": "s", "permissions": ["everything"]}),
        ("keys", {"access_key": "A", "secret_key": "s", "ips": "127.0.0.1"}),
        ("time", {"advance_s": "soon"}),
    ],
)
async def test_wrong_levers_are_refused_with_a_reason(
    local_venue: LocalVenue, path: str, body: dict[str, Any]
) -> None:
    answer = await local_venue.http.post(f"/sandbox/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    listed = await local_venue.http.post(f"/sandbox/{path}", json=[1])
    assert listed.status_code == 400
