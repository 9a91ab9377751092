import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import respx

from jobs.core.cooldowns import Gates
from jobs.core.errors import (
    Ambiguous,
    BadData,
    NotSent,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from jobs.domain.exchange import Exchange, Quotes
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.errors import MarketOffline
from jobs.upbit.limits import Limit, Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.wire import OrderRequest

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST = OrderRequest(
    market="KRW-BTC",
    side="bid",
    ord_type="limit",
    identifier="id-1",
    price=Decimal("5E+7"),
    volume=Decimal("1E-5"),
)
MANY = {group: Limit(10_000) for group in ("market", "candle", "ticker", "orderbook")} | {
    group: Limit(10_000) for group in ("default", "order", "order-test")
}


def order(uuid: str = "u1", **changes: Any) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "market": "KRW-BTC",
        "side": "bid",
        "ord_type": "limit",
        "state": "wait",
        "created_at": "2026-01-31T20:00:00+09:00",
        "identifier": "id-1",
        "executed_volume": "0",
        **changes,
    }


@pytest.fixture
async def client() -> AsyncIterator[UpbitClient]:
    async with open_client(
        base_url="https://upbit.test",
        keys=Keys("access", "s" * 40),
        gates=Gates(lambda: NOW),
        limiter=Limiter(limits=MANY),
        clock=lambda: NOW,
    ) as client:
        yield client


@pytest.fixture
def upbit() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url="https://upbit.test") as router:
        yield router


def sent(route: respx.Route, call: int = -1) -> httpx.Request:
    request: httpx.Request = route.calls[call].request
    return request


def test_is_both_sides_of_a_venue(client: UpbitClient) -> None:
    exchange: Exchange = client
    quotes: Quotes = client
    assert callable(exchange.place)
    assert callable(quotes.tickers)


# --- quotation -----------------------------------------------------------------------------------


async def test_markets_come_with_details(client: UpbitClient, upbit: respx.MockRouter) -> None:
    row = {"market": "KRW-BTC", "korean_name": "비", "english_name": "B"}
    route = upbit.get("/v1/market/all").respond(json=[row])
    assert [market.market for market in await client.markets()] == ["KRW-BTC"]
    assert sent(route).url.params["is_details"] == "true"


TICKER = (
    '{"market":"KRW-BTC","trade_price":0.1000000000000000000001,"acc_trade_volume_24h":1,'
    '"acc_trade_price_24h":1.0E-9,"signed_change_rate":-0.1,"timestamp":0}'
)


async def test_tickers_of_many_markets_are_one_request_of_exact_numbers(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.get("/v1/ticker").respond(text=f"[{TICKER}]")
    (ticker,) = await client.tickers(["KRW-BTC", "KRW-ETH"])
    assert ticker.price == Decimal("0.1000000000000000000001")
    assert route.call_count == 1
    assert sent(route).url.params["markets"] == "KRW-BTC,KRW-ETH"


async def test_all_tickers_are_one_request(client: UpbitClient, upbit: respx.MockRouter) -> None:
    route = upbit.get("/v1/ticker/all").respond(text=f"[{TICKER}]")
    assert len(await client.all_tickers("BTC")) == 1
    assert sent(route).url.params["quote_currencies"] == "BTC"


async def test_nothing_asked_for_is_nothing_sent(client: UpbitClient) -> None:
    assert await client.tickers([]) == []
    assert await client.orderbooks([]) == []
    assert await client.instruments([]) == []
    assert await client.orders_by_ids() == []


async def test_candles_are_asked_for_in_utc(client: UpbitClient, upbit: respx.MockRouter) -> None:
    route = upbit.get("/v1/candles/minutes/5").respond(json=[])
    kst = datetime.fromisoformat("2026-01-01T09:00:00+09:00")
    assert await client.candles("KRW-BTC", 5, to=kst, count=7) == []
    assert dict(sent(route).url.params) == {
        "market": "KRW-BTC",
        "count": "7",
        "to": "2026-01-01T00:00:00Z",
    }
    await client.candles("KRW-BTC", 5)
    assert "to" not in sent(route).url.params


async def test_orderbooks_and_instruments(client: UpbitClient, upbit: respx.MockRouter) -> None:
    upbit.get("/v1/orderbook").respond(
        json=[{"market": "KRW-BTC", "timestamp": 0, "orderbook_units": []}]
    )
    upbit.get("/v1/orderbook/instruments").respond(
        json=[{"market": "KRW-BTC", "quote_currency": "KRW", "tick_size": "1000"}]
    )
    assert (await client.orderbooks(["KRW-BTC"]))[0].units == ()
    assert (await client.instruments(["KRW-BTC"]))[0].tick_size == 1000


async def test_the_servers_clock(client: UpbitClient, upbit: respx.MockRouter) -> None:
    route = upbit.get("/v1/ticker")
    route.respond(json=[], headers={"Date": "Sat, 31 Jan 2026 12:00:05 GMT"})
    assert await client.server_date() == NOW + timedelta(seconds=5)
    route.respond(json=[], headers={"Date": "now"})
    with pytest.raises(BadData):
        await client.server_date()


# --- account -------------------------------------------------------------------------------------


async def test_account_calls_are_signed(client: UpbitClient, upbit: respx.MockRouter) -> None:
    account = {"currency": "KRW", "balance": "1", "locked": "0", "avg_buy_price": "0"}
    route = upbit.get("/v1/accounts").respond(json=[account])
    assert (await client.accounts())[0].balance == 1
    assert sent(route).headers["Authorization"].startswith("Bearer ")


async def test_api_keys_and_chance(client: UpbitClient, upbit: respx.MockRouter) -> None:
    upbit.get("/v1/api_keys").respond(
        json=[{"access_key": "a", "expire_at": "2027-01-01T00:00:00+09:00"}]
    )
    side = {"currency": "KRW", "min_total": "5000"}
    market = {"id": "KRW-BTC", "bid": side, "ask": side, "max_total": "1", "state": "active"}
    upbit.get("/v1/orders/chance").respond(
        json={"bid_fee": "0.0005", "ask_fee": "0.0005", "market": market}
    )
    assert (await client.api_keys())[0].access_key == "a"
    assert (await client.chance("KRW-BTC")).bid_fee == Decimal("0.0005")


# --- placing -------------------------------------------------------------------------------------


async def test_a_placed_order_goes_out_as_plain_strings(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.post("/v1/orders").respond(201, json=order())
    placed = await client.place(replace(REQUEST, time_in_force="ioc", smp_type="none"))
    assert (placed.uuid, placed.state) == ("u1", "wait")
    assert list(json.loads(sent(route).content).items()) == [
        ("market", "KRW-BTC"),
        ("side", "bid"),
        ("volume", "0.00001"),
        ("price", "50000000"),
        ("ord_type", "limit"),
        ("identifier", "id-1"),
        ("time_in_force", "ioc"),
        ("smp_type", "none"),
    ]


async def test_what_an_order_does_not_have_is_left_out(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.post("/v1/orders").respond(201, json=order(identifier=None))
    await client.place(replace(REQUEST, ord_type="price", volume=None))
    assert "volume" not in json.loads(sent(route).content)


def failed(name: str, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"error": {"name": name, "message": "m"}})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (failed("insufficient_funds_bid"), Refused),
        (failed("duplicated_identifier"), Refused),
        (failed("market_offline", 403), MarketOffline),
        (failed("out_of_scope", 403), Unauthorized),
        (failed("too_many_requests", 429), RateLimited),
        (failed("too_many_request_order"), Ambiguous),
        (failed("internal_server_error", 500), Ambiguous),
        (httpx.Response(502, text="<html>"), Ambiguous),
        (httpx.Response(403, text="<html>"), Ambiguous),
        (httpx.Response(401, text="<html>"), Ambiguous),
        (httpx.Response(302), Ambiguous),
        (httpx.Response(201, text="not json"), Ambiguous),
        (httpx.Response(201, json={"uuid": "u1"}), Ambiguous),
        (httpx.Response(201, json=[]), Ambiguous),
        (httpx.Response(201, json=order(identifier="another")), Ambiguous),
        (httpx.ConnectError("refused"), NotSent),
        (httpx.ConnectTimeout("slow"), NotSent),
        (httpx.PoolTimeout("busy"), NotSent),
        (httpx.ReadTimeout("silent"), Ambiguous),
        (httpx.WriteTimeout("stuck"), Ambiguous),
        (httpx.ReadError("reset"), Ambiguous),
        (httpx.WriteError("reset"), Ambiguous),
        (httpx.RemoteProtocolError("closed"), Ambiguous),
        (httpx.ProxyError("who knows"), Ambiguous),
        (ConnectionResetError("raw"), Ambiguous),
        (TimeoutError(), Ambiguous),
    ],
)
async def test_what_became_of_an_order_and_never_a_second_post(
    client: UpbitClient, upbit: respx.MockRouter, answer: Any, kind: type[Exception]
) -> None:
    route = upbit.post("/v1/orders").mock(side_effect=[answer])
    with pytest.raises(kind) as caught:
        await client.place(REQUEST)
    assert type(caught.value) is kind
    assert route.call_count == 1


async def test_a_refusal_keeps_the_name_that_decides(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    upbit.post("/v1/orders").mock(return_value=failed("duplicated_identifier"))
    with pytest.raises(Refused) as caught:
        await client.place(REQUEST)
    assert caught.value.name == "duplicated_identifier"


async def test_behind_a_closed_gate_no_order_goes_out(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.post("/v1/orders").mock(return_value=failed("too_many_requests", 429))
    for _ in range(2):
        with pytest.raises(RateLimited):
            await client.place(REQUEST)
    assert route.call_count == 1


async def test_a_test_order_uses_no_identifier_up(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.post("/v1/orders/test").respond(201, json=order())
    await client.test_order(REQUEST)
    assert "identifier" not in json.loads(sent(route).content)


# --- looking, cancelling -------------------------------------------------------------------------


async def test_an_order_is_found_by_either_name(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.get("/v1/order").respond(json=order(trades=[]))
    found = await client.order(identifier="id-1")
    assert found is not None
    assert found.trades == ()
    assert sent(route).url.query == b"identifier=id-1"
    await client.order(identifier="id-1", uuid="u1")
    assert sent(route).url.query == b"uuid=u1"


async def test_an_unknown_order_is_none(client: UpbitClient, upbit: respx.MockRouter) -> None:
    upbit.get("/v1/order").mock(return_value=failed("order_not_found", 404))
    assert await client.order(uuid="u1") is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(404, text="<html>"), Unavailable),
        (failed("not_found", 404), Refused),
        (failed("invalid_parameter"), Refused),
    ],
)
async def test_no_other_failure_means_that_an_order_is_unknown(
    client: UpbitClient, upbit: respx.MockRouter, answer: httpx.Response, kind: type[Exception]
) -> None:
    upbit.get("/v1/order").mock(return_value=answer)
    with pytest.raises(kind):
        await client.order(uuid="u1")


@pytest.mark.parametrize("call", [UpbitClient.order, UpbitClient.cancel])
async def test_an_order_without_a_name_is_a_bug(
    client: UpbitClient, call: Callable[[UpbitClient], Awaitable[object]]
) -> None:
    with pytest.raises(ValueError, match="identifier"):
        await call(client)


async def test_a_cancel_goes_by_the_query(client: UpbitClient, upbit: respx.MockRouter) -> None:
    route = upbit.delete("/v1/order").respond(json=order())
    await client.cancel(identifier="id-1")
    assert sent(route).url.query == b"identifier=id-1"
    assert sent(route).content == b""


async def test_a_cancel_of_nothing_is_refused(client: UpbitClient, upbit: respx.MockRouter) -> None:
    upbit.delete("/v1/order").mock(return_value=failed("order_not_found", 404))
    with pytest.raises(Refused):
        await client.cancel(uuid="u1")


async def test_orders_by_ids_go_by_the_hundred(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.get("/v1/orders/uuids").respond(json=[order()])
    found = await client.orders_by_ids(identifiers=[str(number) for number in range(150)])
    assert len(found) == 2
    assert [len(call.request.url.params.get_list("identifiers[]")) for call in route.calls] == [
        100,
        50,
    ]
    await client.orders_by_ids(uuids=["u1"])
    assert sent(route).url.params.get_list("uuids[]") == ["u1"]


async def test_open_orders_are_read_to_the_last_page_each_once(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    first = [order(f"u{number}") for number in range(100)]
    second = [order("u99"), order("u100")]  # the set moved while we read
    route = upbit.get("/v1/orders/open").mock(
        side_effect=[httpx.Response(200, json=rows) for rows in (first, second)]
    )
    found = await client.open_orders("KRW-BTC")
    assert sorted(each.uuid for each in found) == sorted(f"u{number}" for number in range(101))
    assert sent(route).url.query == (
        b"market=KRW-BTC&states%5B%5D=wait&states%5B%5D=watch&limit=100&order_by=asc&page=2"
    )


async def test_pages_of_open_orders_are_counted_by_what_came(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    first = [order(f"u{number}") for number in range(99)]
    foreign = {**order("odd"), "identifier": "mine", "side": "?"}
    route = upbit.get("/v1/orders/open").mock(
        side_effect=[httpx.Response(200, json=rows) for rows in ([*first, foreign], [order("v")])]
    )
    assert len(await client.open_orders()) == 100
    assert route.call_count == 2


async def test_pages_of_open_orders_without_end_are_bad_data(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.get("/v1/orders/open").respond(json=[order(f"u{n}") for n in range(100)])
    with pytest.raises(BadData, match="do not end"):
        await client.open_orders()
    assert route.call_count == 100


async def test_open_orders_of_every_market(client: UpbitClient, upbit: respx.MockRouter) -> None:
    route = upbit.get("/v1/orders/open").respond(json=[])
    assert await client.open_orders() == []
    assert "market" not in sent(route).url.params


async def test_closed_orders_are_read_week_by_week(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    route = upbit.get("/v1/orders/closed").respond(json=[order(state="done")])
    found = await client.closed_orders("KRW-BTC", NOW - timedelta(days=10))
    assert len(found) == 1
    windows = [
        (call.request.url.params["start_time"], call.request.url.params["end_time"])
        for call in route.calls
    ]
    assert windows == [
        ("2026-01-21T12:00:00+00:00", "2026-01-28T12:00:00+00:00"),
        ("2026-01-28T12:00:00+00:00", "2026-01-31T12:00:01+00:00"),
    ]


async def test_a_full_page_of_closed_orders_is_followed_by_the_next(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    first = [
        order(f"u{number}", state="done", created_at="2026-01-31T20:30:00+09:00")
        for number in range(1000)
    ]
    second = [first[-1], order("last", state="cancel")]
    route = upbit.get("/v1/orders/closed").mock(
        side_effect=[httpx.Response(200, json=rows) for rows in (first, second)]
    )
    found = await client.closed_orders("KRW-BTC", NOW - timedelta(hours=2))
    assert len(found) == 1001
    assert sent(route).url.params["end_time"] == "2026-01-31T11:30:01+00:00"


async def test_a_page_without_anything_new_is_the_last(
    client: UpbitClient, upbit: respx.MockRouter
) -> None:
    page = [order(f"u{number}", state="done") for number in range(1000)]
    route = upbit.get("/v1/orders/closed").respond(json=page)
    assert len(await client.closed_orders("KRW-BTC", NOW - timedelta(hours=2))) == 1000
    assert route.call_count == 2
