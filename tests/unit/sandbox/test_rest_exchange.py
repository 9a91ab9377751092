"""The looking half of the exchange interface: tokens, balances, queries and their errors."""

import warnings
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from fixtures.local_venue import START, LocalVenue

from jobs.upbit.wire import parse_account, parse_api_key, parse_chance, parse_order
from sandbox.auth import Key


async def buy(venue: LocalVenue, **changes: Any) -> Any:
    """A limit bid far below the market, which therefore rests."""
    body = {
        "market": "KRW-BTC",
        "side": "bid",
        "ord_type": "limit",
        "price": "100000000",
        "volume": "0.0001",
    }
    return await venue.good("POST", "/v1/orders", **(body | changes))


async def test_accounts_show_free_and_locked_money(local_venue: LocalVenue) -> None:
    (row,) = await local_venue.good("GET", "/v1/accounts")
    assert row == {
        "currency": "KRW",
        "balance": "10000000",
        "locked": "0",
        "avg_buy_price": "0",
        "avg_buy_price_modified": False,
        "unit_currency": "KRW",
    }
    await buy(local_venue)
    (row,) = await local_venue.good("GET", "/v1/accounts")
    assert (row["balance"], row["locked"]) == ("9989995", "10005")
    assert parse_account(row).locked == 10005


async def test_chance_tells_fees_types_and_limits(local_venue: LocalVenue) -> None:
    row = await local_venue.good("GET", "/v1/orders/chance", market="KRW-BTC")
    chance = parse_chance(row)
    assert (chance.bid_fee, chance.bid_min_total) == (Decimal("0.0005"), Decimal(5000))
    assert "best_ioc" in chance.bid_types
    assert row["market"]["name"] == "BTC/KRW"
    assert (row["bid_account"]["currency"], row["ask_account"]["currency"]) == ("KRW", "BTC")
    refusal = local_venue.refusal
    assert await refusal("GET", "/v1/orders/chance") == (400, "invalid_parameter")
    assert await refusal("GET", "/v1/orders/chance", market="KRW-X") == (400, "notfoundmarket")
    await local_venue.tell("options", offline=["KRW-BTC"])
    row = await local_venue.good("GET", "/v1/orders/chance", market="KRW-BTC")
    assert row["market"]["state"] == "inactive"


async def test_an_order_is_found_by_uuid_and_identifier(local_venue: LocalVenue) -> None:
    made = await buy(local_venue, identifier="mine")
    by_uuid = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    both = await local_venue.good("GET", "/v1/order", identifier="other", uuid=made["uuid"])
    assert by_uuid == both == await local_venue.good("GET", "/v1/order", identifier="mine")
    assert by_uuid["trades"] == []
    assert parse_order(by_uuid).identifier == "mine"
    refusal = local_venue.refusal
    assert await refusal("GET", "/v1/order", uuid="x") == (404, "order_not_found")
    assert await refusal("GET", "/v1/order", identifier="x") == (404, "order_not_found")
    assert await refusal("GET", "/v1/order") == (400, "invalid_parameter")


async def test_a_filled_order_shows_its_trades(local_venue: LocalVenue) -> None:
    body = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "6000"}
    made = await local_venue.good("POST", "/v1/orders", **body)
    order = await local_venue.good("GET", "/v1/order", uuid=made["uuid"])
    (trade,) = order["trades"]
    assert set(trade) == {
        *("market", "uuid", "price", "volume", "funds", "trend", "created_at", "side"),
    }
    assert order["state"] == "cancel"
    assert Decimal(trade["funds"]) == Decimal(trade["price"]) * Decimal(trade["volume"])
    assert trade["created_at"].endswith("+09:00")
    assert "volume" not in order


async def test_inapplicable_keys_can_be_null(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", inapplicable_keys="null")
    body = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "6000"}
    made = await local_venue.good("POST", "/v1/orders", **body)
    assert made["volume"] is made["identifier"] is made["time_in_force"] is None


async def test_open_orders_are_paged_newest_first(local_venue: LocalVenue) -> None:
    uuids = []
    for number in range(5):
        local_venue.time.pass_s(1)
        uuids.append((await buy(local_venue, identifier=f"n{number}"))["uuid"])
    await buy(local_venue, market="KRW-ETH", price="5000000", volume="0.002")

    async def listed(**params: str) -> list[str]:
        rows = await local_venue.good("GET", "/v1/orders/open", market="KRW-BTC", **params)
        assert all("trades" not in row for row in rows)
        return [row["uuid"] for row in rows]

    assert await listed() == uuids[::-1]
    assert await listed(order_by="asc") == uuids
    assert await listed(limit="2", page="2") == [uuids[2], uuids[1]]
    assert await listed(state="wait") == uuids[::-1]
    assert await listed(state="watch") == []
    assert len(await local_venue.good("GET", "/v1/orders/open")) == 6
    both = await local_venue.good("GET", "/v1/orders/open", states_list=["wait", "watch"])
    assert len(both) == 6


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("open", {"state": "done"}),
        ("open", {"state": "wait", "states_list": ["wait"]}),
        ("open", {"limit": "101"}),
        ("open", {"limit": "0"}),
        ("open", {"page": "x"}),
        ("open", {"order_by": "up"}),
        ("closed", {"state": "wait"}),
        ("closed", {"limit": "1001"}),
        ("closed", {"start_time": "yesterday"}),
        ("closed", {"start_time": "99999999999999999999"}),
        ("closed", {"start_time": "2026-11-01T00:00:00Z", "end_time": "2026-11-08T00:00:01Z"}),
        ("closed", {"start_time": "2026-11-02T00:00:00Z", "end_time": "2026-11-01T00:00:00Z"}),
        ("uuids", {}),
        ("uuids", {"uuids_list": ["a"], "identifiers_list": ["b"]}),
        ("uuids", {"uuids_list": ["a"] * 101}),
    ],
)
async def test_lists_refuse_what_does_not_fit(
    local_venue: LocalVenue, path: str, params: dict[str, Any]
) -> None:
    refusal = await local_venue.refusal("GET", f"/v1/orders/{path}", **params)
    assert refusal == (400, "invalid_parameter")
    market = await local_venue.refusal("GET", "/v1/orders/open", market="KRW-XXX")
    assert market == (400, "notfoundmarket")


async def test_closed_orders_of_at_most_seven_days(local_venue: LocalVenue) -> None:
    made = await buy(local_venue)
    await local_venue.good("DELETE", "/v1/order", uuid=made["uuid"])
    begin = START.isoformat()
    for params in (
        {},
        {"market": "KRW-BTC", "state": "cancel"},
        {"states_list": ["done", "cancel"]},
        {"start_time": begin},
        {"end_time": (START + timedelta(minutes=1)).isoformat()},
        {"start_time": str(int(START.timestamp() * 1000))},
        {"start_time": "2026-11-09T13:30:00"},
    ):
        rows = await local_venue.good("GET", "/v1/orders/closed", **params)
        assert [row["uuid"] for row in rows] == [made["uuid"]]
    for params in ({"state": "done"}, {"market": "KRW-ETH"}, {"end_time": "2026-11-09T00:00:00Z"}):
        assert await local_venue.good("GET", "/v1/orders/closed", **params) == []
    local_venue.time.pass_s(8 * 86400)
    assert await local_venue.good("GET", "/v1/orders/closed") == []


async def test_orders_by_ids(local_venue: LocalVenue) -> None:
    one = await buy(local_venue, identifier="one")
    two = await buy(
        local_venue, identifier="two", market="KRW-ETH", price="5000000", volume="0.002"
    )
    path = "/v1/orders/uuids"
    found = await local_venue.good("GET", path, uuids_list=[one["uuid"], two["uuid"], "x"])
    assert {row["uuid"] for row in found} == {one["uuid"], two["uuid"]}
    named = await local_venue.good("GET", path, identifiers_list=["one", "two"], market="KRW-ETH")
    assert [row["identifier"] for row in named] == ["two"]


async def test_the_legacy_list_still_answers(local_venue: LocalVenue) -> None:
    made = await buy(local_venue, identifier="a")
    path = "/v1/orders"
    (row,) = await local_venue.good("GET", path, market="KRW-BTC", state="wait", page="1")
    assert row["uuid"] == made["uuid"]
    mixed = await local_venue.good("GET", path, states_list=["wait", "cancel", "done"])
    assert len(mixed) == 1
    (row,) = await local_venue.good("GET", path, identifiers_list=["a"])
    assert row["uuid"] == made["uuid"]
    assert await local_venue.good("GET", path, state="done") == []


async def test_keys_wallets_and_pockets(local_venue: LocalVenue) -> None:
    (key,) = await local_venue.good("GET", "/v1/api_keys")
    assert parse_api_key(key).expire_at == START.replace(microsecond=0) + timedelta(days=365)
    wallets = await local_venue.good("GET", "/v1/status/wallet")
    assert {row["wallet_state"] for row in wallets} == {"working"}
    (pocket,) = await local_venue.good("GET", "/v1/pockets")
    assert (pocket["name"], pocket["type"]) == ("main", "main")
    (group,) = await local_venue.good("GET", "/v1/pockets/api_keys", uuids_list=[pocket["uuid"]])
    assert group["keys"][0]["permissions"] == ["view_account", "make_orders", "view_orders"]
    assert await local_venue.good("GET", "/v1/pockets/api_keys", uuids_list=["x"]) == []


async def test_what_a_key_may_not_see(local_venue: LocalVenue) -> None:
    refusal = local_venue.refusal
    assert await refusal("GET", "/v1/withdraws") == (401, "out_of_scope")
    await local_venue.tell("options", out_of_scope_status=403)
    assert await refusal("GET", "/v1/deposits") == (403, "out_of_scope")
    local_venue.venue.keys[local_venue.access_key].permissions |= {"withdraw_view"}
    assert await local_venue.good("GET", "/v1/withdraws") == []


async def test_a_withdrawal_that_never_was_can_only_be_called_back_with_the_right(
    local_venue: LocalVenue,
) -> None:
    refusal, path = local_venue.refusal, "/v1/withdraws/coin"
    assert await refusal("DELETE", path, uuid="x") == (401, "out_of_scope")
    local_venue.venue.keys[local_venue.access_key].permissions |= {"withdraw"}
    assert await refusal("DELETE", path, uuid="x") == (404, "withdraw_not_found")
    assert (await refusal("DELETE", path))[0] == 400


async def test_tokens_are_checked_on_every_call(local_venue: LocalVenue) -> None:
    http, path = local_venue.http, "/v1/accounts"
    bare = await http.get(path)
    assert (bare.status_code, bare.json()["error"]["name"]) == (401, "no_authorization_token")
    assert bare.headers["remaining-req"] == "group=default; min=1800; sec=30"
    once = local_venue.token()
    assert (await http.get(path, headers=once)).status_code == 200
    assert (await http.get(path, headers=once)).json()["error"]["name"] == "nonce_used"
    key = local_venue.venue.keys[local_venue.access_key]
    key.ips = frozenset({"10.9.8.7"})
    assert await local_venue.refusal("GET", path) == (401, "no_authorization_ip")
    await local_venue.tell("options", ip_error="no_authorization_i_p")
    assert await local_venue.refusal("GET", path) == (401, "no_authorization_i_p")
    key.ips = frozenset({"127.0.0.1"})
    key.expire_at = START
    assert await local_venue.refusal("GET", path) == (401, "expired_access_key")


async def test_the_hash_is_of_the_query_as_sent(local_venue: LocalVenue) -> None:
    http = local_venue.http

    async def name(query: str, hashed: str) -> object:
        answer = await http.get(f"/v1/orders/open?{query}", headers=local_venue.token(hashed))
        return answer.json()["error"]["name"] if answer.is_error else None

    for query in ("market=KRW-BTC&states[]=wait", "market=KRW-BTC&states%5B%5D=wait"):
        assert await name(query, "market=KRW-BTC&states[]=wait") is None
        assert await name(query, "states[]=wait&market=KRW-BTC") == "invalid_query_payload"
        assert await name(query, "") == "invalid_query_payload"
    assert await name("market=KRW-BTC", "market=KRW-ETH") == "invalid_query_payload"


async def test_all_three_algorithms_sign(local_venue: LocalVenue) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        for local_venue.algorithm in ("HS256", "HS384", "HS512"):
            await local_venue.good("GET", "/v1/accounts")


async def test_old_clients_send_parameters_in_the_body(local_venue: LocalVenue) -> None:
    made = await buy(local_venue)
    form = urlencode({"uuid": made["uuid"]})
    kind = {"content-type": "application/x-www-form-urlencoded"}

    async def get() -> int:
        headers = local_venue.token(form) | kind
        answer = await local_venue.http.request("GET", "/v1/order", content=form, headers=headers)
        return answer.status_code

    async def delete(query: str = "") -> tuple[int, str]:
        answer = await local_venue.http.request(
            *("DELETE", f"/v1/order{query}"),
            json={"uuid": made["uuid"]},
            headers=local_venue.token(form),
        )
        return answer.status_code, answer.text

    assert await get() == 200
    assert (await delete())[0] == 200
    status, text = await delete(f"?{form}")
    assert (status, "QUERY_PARAMETER_NOT_SUPPORTED" in text) == (400, True)
    await local_venue.tell("options", get_body="refuse", delete_body="refuse")
    assert await get() == 400
    status, text = await delete()
    assert (status, "QUERY_PARAMETER_NOT_SUPPORTED" in text) == (400, True)


async def test_pockets_have_their_own_orders_and_quota(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True, limits={"default": 2})
    await local_venue.tell("credit", pocket="other", currency="KRW", amount="5")
    local_venue.venue.add_key(
        Key(
            access_key="OTHER",
            secret_key="y" * 40,
            pocket="other",
            expire_at=START + timedelta(days=1),
        )
    )
    statuses = [(await local_venue.call("GET", "/v1/accounts")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = await local_venue.call("GET", "/v1/accounts")
    assert answer.json()["error"]["name"] == "too_many_requests"
    assert answer.headers["remaining-req"] == "group=default; min=120; sec=0"
    local_venue.access_key, local_venue.secret_key = "OTHER", "y" * 40
    (row,) = await local_venue.good("GET", "/v1/accounts")
    assert row["balance"] == "5"


async def test_a_blocked_pocket_is_told_for_how_long(local_venue: LocalVenue) -> None:
    await local_venue.tell("options", quotas=True, limits={"default": 0}, ban_after=1, ban_s=7.0)
    assert (await local_venue.refusal("GET", "/v1/accounts"))[0] == 429
    answer = await local_venue.call("GET", "/v1/accounts")
    assert answer.status_code == 418
    assert "7 seconds" in answer.json()["error"]["message"]
    overview = (await local_venue.http.get("/sandbox")).json()
    assert overview["blocked"] == {"pocket:main": 7.0}
