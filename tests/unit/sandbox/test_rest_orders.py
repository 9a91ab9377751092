"""Orders and cancels over HTTP: what is accepted, what is answered, what becomes of it."""

from decimal import Decimal
from typing import Any

import pytest
from fixtures.local_venue import LocalVenue

from jobs.upbit.wire import parse_order
from sandbox.recording import from_minute
from sandbox.tape import Tape

LIMIT = {
    "market": "KRW-BTC",
    "side": "bid",
    "ord_type": "limit",
    "price": "100000000",
    "volume": "0.0001",
}
MARKET_BUY = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "6000"}


async def place(venue: LocalVenue, **changes: Any) -> Any:
    return await venue.good("POST", "/v1/orders", **(LIMIT | changes))


async def test_a_new_order_waits_with_its_money_locked(local_venue: LocalVenue) -> None:
    answer = await local_venue.call("POST", "/v1/orders", **LIMIT, identifier="i")
    assert answer.status_code == 201
    assert answer.headers["remaining-req"] == "group=order; min=720; sec=11"
    row = answer.json()
    assert row == row | {
        "state": "wait",
        "price": "100000000",
        "volume": "0.0001",
        "remaining_volume": "0.0001",
        "executed_volume": "0",
        "reserved_fee": "5",
        "remaining_fee": "5",
        "paid_fee": "0",
        "locked": "10005",
        "trades_count": 0,
        "identifier": "i",
        "smp_type": "cancel_maker",
        "prevented_volume": "0",
        "created_at": "2026-11-09T13:30:20+09:00",
    }
    assert "trades" not in row
    assert "time_in_force" not in row
    assert parse_order(row).locked == 10005


async def test_numbers_may_be_json_numbers(local_venue: LocalVenue) -> None:
    body = (
        b'{"market":"KRW-BTC","side":"bid","ord_type":"limit","price":100000000,"volume":0.00010}'
    )
    hashed = "market=KRW-BTC&side=bid&ord_type=limit&price=100000000&volume=0.00010"
    answer = await local_venue.http.post(
        "/v1/orders", content=body, headers=local_venue.token(hashed)
    )
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"market": ""}, (400, "validation_error")),
        ({"side": ""}, (400, "validation_error")),
        ({"price": "1e8"}, (400, "validation_error")),
        ({"volume": "-1"}, (400, "validation_error")),
        ({"volume": "NaN"}, (400, "validation_error")),
        ({"market": "KRW-XXX"}, (400, "notfoundmarket")),
        ({"price": "100000500"}, (400, "invalid_price_bid")),
        ({"volume": "9"}, (400, "insufficient_funds_bid")),
        ({"ord_type": "price"}, (400, "create_bid_error")),
        ({"time_in_force": "gtc"}, (400, "invalid_time_in_force")),
    ],
)
async def test_refusals_name_what_is_wrong(
    local_venue: LocalVenue, changes: dict[str, str], refusal: tuple[int, str]
) -> None:
    assert await local_venue.refusal("POST", "/v1/orders", **(LIMIT | changes)) == refusal
    assert local_venue.venue.pockets["main"].engine.tickets() == []


async def test_a_body_that_is_no_json_is_refused(local_venue: LocalVenue) -> None:
    answer = await local_venue.http.post(
        "/v1/orders", data=LIMIT, headers=local_venue.token("market=KRW-BTC")
    )
    assert answer.json()["error"]["name"] == "invalid_parameter"


async def test_maintenance_refuses_orders_until_it_is_over(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", offline=["KRW-BTC"])
    for path in ("/v1/orders", "/v1/orders/test"):
        assert await local_venue.refusal("POST", path, **LIMIT) == (403, "market_offline")
    await local_venue.tell("options", offline=[])
    await place(local_venue)


async def test_a_market_may_take_some_forms_of_orders_alone(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", order_types={"KRW-BTC": ["limit"]})
    chance = await local_venue.good("GET", "/v1/orders/chance", market="KRW-BTC")
    assert (chance["market"]["bid_types"], chance["market"]["ask_types"]) == (["limit"], ["limit"])
    for body in (MARKET_BUY, LIMIT | {"time_in_force": "ioc"}):
        refusal = await local_venue.refusal("POST", "/v1/orders", **body)
        assert refusal == (400, "not_supported_ord_type")
    await local_venue.good("POST", "/v1/orders", **LIMIT)


async def test_another_tick_is_demanded_of_limit_prices(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", ticks={"KRW-BTC": "3000"})
    refusal = await local_venue.refusal("POST", "/v1/orders", **LIMIT)
    assert refusal == (400, "invalid_price_bid")
    await local_venue.good("POST", "/v1/orders", **(LIMIT | {"price": "100002000"}))


async def test_a_test_order_answers_and_creates_nothing(local_venue: LocalVenue) -> None:
    answer = await local_venue.call("POST", "/v1/orders/test", **LIMIT, identifier="t")
    assert answer.status_code == 201
    assert answer.headers["remaining-req"].startswith("group=order-test; min=480; sec=7")
    row = answer.json()
    assert (row["state"], row["locked"]) == ("wait", "10005")
    assert await local_venue.refusal("GET", "/v1/order", uuid=row["uuid"]) == (
        404,
        "order_not_found",
    )
    await place(local_venue, identifier="t")


async def test_fills_come_after_the_configured_delay(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", fill_min_ms=200, fill_max_ms=200)
    made = await local_venue.good("POST", "/v1/orders", **MARKET_BUY)
    early = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (early["state"], early["trades"]) == ("wait", [])
    local_venue.time.pass_s(0.2)
    late = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (late["state"], late["trades_count"]) == ("cancel", 1)


async def test_a_resting_order_fills_when_the_market_comes(local_venue: LocalVenue) -> None:
    made = await place(local_venue)
    await local_venue.tell("price", market="KRW-BTC", price="99000000")
    row = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (row["state"], row["trades"][0]["price"]) == ("done", "100000000")
    balances = {r["currency"]: r for r in await local_venue.good("GET", "/v1/accounts")}
    assert balances["BTC"]["balance"] == "0.0001"
    assert balances["KRW"]["balance"] == "9989995"


def find_dip(tape: Tape) -> tuple[int, Decimal]:
    """A recorded hour that ends near where it began, and the price it fell to in between."""
    for start in range(tape.first, tape.first + 20_000, 60):
        hour = [tape.row("KRW-BTC", minute) for minute in range(start, start + 61)]
        rows = [row for row in hour if row is not None]
        low = min(row.low for row in rows[1:60])
        if low < rows[0].close - 300_000 and rows[-1].low > rows[0].close - 50_000:
            return start, low
    raise AssertionError("no dip in the recording")


async def test_a_resting_order_is_filled_by_what_happened_between_two_looks(
    local_venue: LocalVenue,
) -> None:
    start, low = find_dip(local_venue.venue.quotes.tape)
    local_venue.time.now = from_minute(start + 1)
    price = low + 100_000
    made = await place(local_venue, price=str(price))
    assert (await local_venue.good("GET", "/v1/order", uuid=made["uuid"]))["state"] == "wait"
    local_venue.time.pass_s(59 * 60)
    row = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (row["state"], row["trades"][0]["price"]) == ("done", str(price))
    assert local_venue.venue.quotes.last_trade("KRW-BTC", local_venue.time.now).price > price


async def test_a_cancel_is_accepted_and_then_done(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", fill_min_ms=100, fill_max_ms=100)
    made = await place(local_venue, identifier="c")
    local_venue.time.pass_s(1)
    answer = await local_venue.call("DELETE", "/v1/order", identifier="c")
    assert (answer.status_code, answer.json()["state"]) == (200, "wait")
    assert answer.headers["remaining-req"].startswith("group=default")
    local_venue.time.pass_s(0.1)
    row = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    assert (row["state"], row["executed_volume"]) == ("cancel", "0")
    refusal = local_venue.refusal
    assert await refusal("DELETE", "/v1/order", uuid=made["uuid"]) == (404, "order_not_found")
    assert await refusal("DELETE", "/v1/order") == (400, "invalid_parameter")


async def test_cancels_by_ids_tell_which_failed(local_venue: LocalVenue) -> None:
    one, two = await place(local_venue, identifier="one"), await place(local_venue)
    await local_venue.good("DELETE", "/v1/order", uuid=two["uuid"])
    path = "/v1/orders/uuids"
    result = await local_venue.good("DELETE", path, uuids_list=[one["uuid"], two["uuid"]])
    assert result == {
        "success": {
            "count": 1,
            "orders": [{"uuid": one["uuid"], "market": "KRW-BTC", "identifier": "one"}],
        },
        "failed": {"count": 1, "orders": [{"uuid": two["uuid"], "market": "KRW-BTC"}]},
    }
    many = {"uuids_list": ["x"] * 21}
    assert await local_venue.refusal("DELETE", path, **many) == (400, "invalid_parameter")


async def test_cancelling_everything_has_a_default_and_filters(local_venue: LocalVenue) -> None:
    await local_venue.tell("credit", currency="BTC", amount="1")
    for number in range(21):
        await place(local_venue, identifier=f"b{number}", volume="0.00006")
    await place(local_venue, market="KRW-ETH", price="5000000", volume="0.002")
    await place(local_venue, side="ask", price="200000000")
    path = "/v1/orders/open"

    async def cancelled(**params: str) -> int:
        result = await local_venue.good("DELETE", path, **params)
        await local_venue.good("GET", "/v1/accounts")
        return int(result["success"]["count"])

    assert await cancelled(pairs="KRW-ETH") == 1
    assert await cancelled(cancel_side="ask") == 1
    assert await cancelled(excluded_pairs="KRW-BTC") == 0
    assert await cancelled(exclude_pairs="KRW-BTC") == 0
    assert await cancelled(quote_currencies="BTC") == 0
    assert await cancelled(count="1", order_by="asc") == 1
    assert local_venue.venue.pockets["main"].engine.find(identifier="b0").state == "cancel"  # type: ignore[union-attr]
    await place(local_venue)
    assert await cancelled() == 20
    assert await cancelled(quote_currencies="KRW,BTC") == 1
    for wrong in ({"count": "301"}, {"cancel_side": "x"}, {"pairs": "a", "quote_currencies": "b"}):
        assert await local_venue.refusal("DELETE", path, **wrong) == (400, "invalid_parameter")


async def test_cancelling_everything_has_a_quota_of_its_own(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True)
    answer = await local_venue.call("DELETE", "/v1/orders/open")
    assert answer.headers["remaining-req"] == "group=order-cancel-all; min=30; sec=0"
    assert (await local_venue.refusal("DELETE", "/v1/orders/open"))[0] == 429
    local_venue.time.pass_s(2)
    await local_venue.good("DELETE", "/v1/orders/open")


async def test_cancel_and_new_answers_with_both(local_venue: LocalVenue) -> None:
    old = await place(local_venue, identifier="old")
    path = "/v1/orders/cancel_and_new"
    body = {"new_ord_type": "limit", "new_price": "101000000", "new_volume": "remain_only"}
    answer = await local_venue.call(
        "POST", path, prev_order_identifier="old", new_identifier="new", **body
    )
    assert answer.status_code == 201
    row = answer.json()
    assert (row["uuid"], row["new_order_identifier"]) == (old["uuid"], "new")
    new = await local_venue.good("GET", "/v1/order", identifier="new")
    assert (new["uuid"], new["volume"], new["price"]) == (
        row["new_order_uuid"],
        "0.0001",
        "101000000",
    )
    assert (await local_venue.good("GET", "/v1/order", uuid=old["uuid"]))["state"] == "cancel"
    follow = body | {"new_volume": "0.0002"}
    again = await local_venue.good("POST", path, prev_order_uuid=new["uuid"], **follow)
    assert "new_order_identifier" not in again
    refusal = local_venue.refusal
    assert await refusal("POST", path, **body) == (400, "invalid_parameter")
    uuid = again["new_order_uuid"]
    del follow["new_volume"]
    assert await refusal("POST", path, prev_order_uuid=uuid, **follow) == (
        400,
        "invalid_parameter",
    )
    assert await refusal("POST", path, prev_order_uuid="x", **body) == (404, "order_not_found")


async def test_a_new_order_can_be_hidden_for_a_while(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", hide_new_order_ms=500)
    made = await place(local_venue, identifier="h")
    refusal = local_venue.refusal
    assert await refusal("GET", "/v1/order", identifier="h") == (404, "order_not_found")
    assert await refusal("DELETE", "/v1/order", uuid=made["uuid"]) == (404, "order_not_found")
    assert await local_venue.good("GET", "/v1/orders/open") == []
    assert await local_venue.good("GET", "/v1/orders/uuids", uuids_list=[made["uuid"]]) == []
    duplicate = await refusal("POST", "/v1/orders", **LIMIT, identifier="h")
    assert duplicate == (400, "duplicated_identifier")
    local_venue.time.pass_s(0.5)
    assert (await local_venue.good("GET", "/v1/order", identifier="h"))["uuid"] == made["uuid"]


async def test_the_old_days_without_self_match_prevention(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", default_smp="none")
    assert (await place(local_venue))["smp_type"] == "none"
    await local_venue.tell("options", crossing_post_only="refuse")
    crossing = LIMIT | {"price": "300000000", "time_in_force": "post_only", "volume": "0.0001"}
    assert await local_venue.refusal("POST", "/v1/orders", **crossing) == (
        400,
        "invalid_post_only",
    )


async def test_the_ledger_balances_to_the_last_digit(local_venue: LocalVenue) -> None:
    for number in range(6):
        local_venue.time.pass_s(7)
        await local_venue.good("POST", "/v1/orders", **MARKET_BUY | {"price": str(70000 + number)})
    accounts = {r["currency"]: r for r in await local_venue.good("GET", "/v1/accounts")}
    sell = {"market": "KRW-BTC", "side": "ask", "ord_type": "market"}
    volume = str(Decimal(accounts["BTC"]["balance"]) / 2)
    await local_venue.good("POST", "/v1/orders", **sell, volume=f"{Decimal(volume):.8f}")
    await local_venue.good("GET", "/v1/accounts")
    pocket = (await local_venue.http.get("/sandbox/ledger")).json()["pockets"]["main"]
    krw, coins = Decimal(pocket["credited"]["KRW"]), Decimal(0)
    for order in pocket["orders"]:
        sign = -1 if order["side"] == "bid" else 1
        for fill in order["fills"]:
            krw += sign * Decimal(fill["funds"]) - Decimal(fill["fee"])
            coins -= sign * Decimal(fill["volume"])
    held = {row["currency"]: Decimal(row["balance"]) for row in pocket["accounts"]}
    assert held == {"KRW": krw, "BTC": coins}
