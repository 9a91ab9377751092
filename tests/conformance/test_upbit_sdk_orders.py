"""The exchange's own SDK (upbit-sdk) trades at the sandbox; the ledger agrees to every digit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import upbit
from fixtures.sdk import valid
from fixtures.venue import Venue

FEE = Decimal("0.0005")
ZERO = Decimal(0)


def test_a_limit_order_from_placing_to_the_closed_list(client: upbit.Upbit, venue: Venue) -> None:
    before = venue.balances()
    price = venue.price("KRW-XRP", down_pct=20)
    placed = client.orders.create(
        market="KRW-XRP",
        side="bid",
        ord_type="limit",
        price=str(price),
        volume="10.5",
        identifier="sdk-limit",
    )
    valid(placed)
    assert (placed.state, placed.identifier, placed.smp_type) == (
        "wait",
        "sdk-limit",
        "cancel_maker",
    )
    locked = price * Decimal("10.5") * (1 + FEE)
    assert Decimal(placed.locked) == locked
    assert venue.balances()["KRW"] == (before["KRW"][0] - locked, locked)

    by_name = client.orders.retrieve(identifier="sdk-limit")
    valid(by_name)
    assert by_name == client.orders.retrieve(uuid=placed.uuid)
    assert (by_name.uuid, by_name.trades) == (placed.uuid, [])
    assert [each.uuid for each in client.orders.list_open(market="KRW-XRP")] == [placed.uuid]
    assert [
        each.uuid for each in client.orders.list_by_uuids(identifiers=["sdk-limit", "nobody"])
    ] == [placed.uuid]

    accepted = client.orders.cancel(identifier="sdk-limit")
    assert accepted.state == "wait"
    venue.until_closed(placed.uuid)
    closed = client.orders.list_closed(market="KRW-XRP", states=["done", "cancel"])
    assert [(each.uuid, each.state) for each in closed] == [(placed.uuid, "cancel")]
    assert list(client.orders.list_open(states=["wait", "watch"])) == []
    assert venue.balances() == before


def test_a_used_identifier_is_used_for_ever(client: upbit.Upbit, venue: Venue) -> None:
    order = {
        "market": "KRW-XRP",
        "side": "bid",
        "ord_type": "price",
        "price": "6000",
        "identifier": "sdk-once",
    }
    venue.until_closed(client.orders.create(**order).uuid)  # type: ignore[arg-type]
    with pytest.raises(upbit.BadRequestError) as refused:
        client.orders.create(**order)  # type: ignore[arg-type]
    assert refused.value.name == "duplicated_identifier"


def test_a_market_buy_ends_as_the_documentation_computes_it(
    client: upbit.Upbit, venue: Venue
) -> None:
    before = venue.balances()["KRW"][0]
    placed = client.orders.create(market="KRW-BTC", side="bid", ord_type="price", price="6000")
    valid(placed, without=["remaining_volume"])
    assert (placed.reserved_fee, placed.locked) == ("3", "6003")
    venue.until_closed(placed.uuid)
    found = client.orders.retrieve(uuid=placed.uuid)
    valid(found, without=["remaining_volume"])
    assert found.trades is not None
    funds = sum((Decimal(str(trade.funds)) for trade in found.trades), Decimal(0))
    volume = sum((Decimal(str(trade.volume)) for trade in found.trades), Decimal(0))
    assert volume == Decimal(found.executed_volume) == venue.balances()["BTC"][0]
    assert Decimal(found.paid_fee) == funds * FEE
    assert Decimal(found.remaining_fee) == 3 - funds * FEE
    assert Decimal(found.locked) == 6003 - funds * (1 + FEE)
    assert found.state == ("done" if funds == 6000 else "cancel")
    assert venue.balances()["KRW"] == (before - funds * (1 + FEE), ZERO)
    truth = venue.order(placed.uuid)
    assert [trade.uuid for trade in found.trades] == [fill["uuid"] for fill in truth["fills"]]


def test_best_orders_take_the_best_price_and_leave_nothing(
    client: upbit.Upbit, venue: Venue
) -> None:
    bought = client.orders.create(
        market="KRW-XRP", side="bid", ord_type="best", price="8000", time_in_force="ioc"
    )
    venue.until_closed(bought.uuid)
    found = client.orders.retrieve(uuid=bought.uuid)
    assert found.trades is not None
    assert len({trade.price for trade in found.trades}) == 1
    volume = venue.balances()["XRP"][0]
    assert volume == Decimal(found.executed_volume) > 0
    sold = client.orders.create(
        market="KRW-XRP",
        side="ask",
        ord_type="best",
        volume=format(volume, "f"),
        time_in_force="fok",
    )
    venue.until_closed(sold.uuid)
    assert client.orders.retrieve(uuid=sold.uuid).state == "done"
    assert "XRP" not in venue.balances()


@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
def test_a_limit_far_away_is_cancelled_at_once(
    client: upbit.Upbit, venue: Venue, time_in_force: Any
) -> None:
    before = venue.balances()
    placed = client.orders.create(
        market="KRW-XRP",
        side="bid",
        ord_type="limit",
        price=str(venue.price("KRW-XRP", down_pct=20)),
        volume="10",
        time_in_force=time_in_force,
    )
    truth = venue.until_closed(placed.uuid)
    assert (truth["state"], Decimal(truth["executed_volume"])) == ("cancel", ZERO)
    assert venue.balances() == before


def test_post_only_never_takes(client: upbit.Upbit, venue: Venue) -> None:
    crossing = client.orders.create(
        market="KRW-XRP",
        side="bid",
        ord_type="limit",
        price=str(venue.price("KRW-XRP", down_pct=-10)),
        volume="10",
        time_in_force="post_only",
    )
    truth = venue.until_closed(crossing.uuid)
    assert (truth["state"], Decimal(truth["executed_volume"])) == ("cancel", ZERO)
    with pytest.raises(upbit.BadRequestError) as refused:
        client.orders.create(
            market="KRW-XRP",
            side="bid",
            ord_type="limit",
            price=str(venue.price("KRW-XRP", down_pct=10)),
            volume="10",
            time_in_force="post_only",
            smp_type="cancel_taker",
        )
    assert refused.value.name == "invalid_post_only"


def test_cancel_and_new_moves_the_rest_to_another_price(client: upbit.Upbit, venue: Venue) -> None:
    old = client.orders.create(
        market="KRW-XRP",
        side="bid",
        ord_type="limit",
        price=str(venue.price("KRW-XRP", down_pct=20)),
        volume="10",
        identifier="sdk-old",
    )
    price = venue.price("KRW-XRP", down_pct=10)
    answer = client.orders.cancel_and_new(
        prev_order_identifier="sdk-old",
        new_ord_type="limit",
        new_price=str(price),
        new_volume="remain_only",
        new_identifier="sdk-new",
    )
    assert answer.uuid == old.uuid
    assert venue.until_closed(old.uuid)["state"] == "cancel"
    extra = answer.model_extra or {}
    new = client.orders.retrieve(identifier="sdk-new")
    assert (extra["new_order_uuid"], extra["new_order_identifier"]) == (new.uuid, "sdk-new")
    assert (new.state, Decimal(str(new.price)), Decimal(str(new.volume))) == (
        "wait",
        price,
        Decimal(10),
    )


def resting(client: upbit.Upbit, venue: Venue, market: str, identifier: str) -> str:
    return client.orders.create(
        market=market,
        side="bid",
        ord_type="limit",
        price=str(venue.price(market, down_pct=20)),
        volume=format((Decimal(6000) / venue.price(market, down_pct=20)).quantize(Decimal("1e-8"))),
        identifier=identifier,
    ).uuid


def test_orders_are_cancelled_in_batches(client: upbit.Upbit, venue: Venue) -> None:
    uuids = {
        name: resting(client, venue, market, name)
        for name, market in (("a", "KRW-XRP"), ("b", "KRW-XRP"), ("c", "KRW-DOGE"))
    }
    result = client.orders.cancel_by_uuids(identifiers=["a", "nobody"])
    valid(result)
    assert [each.uuid for each in result.success.orders] == [uuids["a"]]
    assert result.success.count == 1
    venue.until_closed(uuids["a"])
    result = client.orders.cancel_open(quote_currencies="KRW", excluded_pairs="KRW-XRP")
    valid(result)
    assert [(each.uuid, each.market) for each in result.success.orders] == [
        (uuids["c"], "KRW-DOGE")
    ]
    venue.until_closed(uuids["c"])
    assert [order.uuid for order in client.orders.list_open()] == [uuids["b"]]


def test_open_orders_are_paged_each_once(client: upbit.Upbit, venue: Venue) -> None:
    wanted = [resting(client, venue, "KRW-XRP", f"page-{number}") for number in range(5)]
    found = [order.uuid for order in client.orders.list_open(limit=2, order_by="asc")]
    assert found == wanted


def test_a_test_order_creates_nothing(client: upbit.Upbit, venue: Venue) -> None:
    before = venue.balances()
    tried = client.orders.test_create(
        market="KRW-BTC", side="bid", ord_type="price", price="6000", identifier="sdk-test"
    )
    valid(tried, without=["remaining_volume"])
    with pytest.raises(upbit.NotFoundError):
        client.orders.retrieve(uuid=tried.uuid)
    with pytest.raises(upbit.BadRequestError) as refused:
        client.orders.test_create(market="KRW-BTC", side="bid", ord_type="price", price="4999")
    assert refused.value.name == "under_min_total_bid"
    assert venue.balances() == before


async def test_the_asynchronous_client_trades_too(
    async_client: upbit.AsyncUpbit, venue: Venue
) -> None:
    before = venue.balances()
    (ticker,) = await async_client.tickers.list_by_trading_pairs(markets="KRW-XRP")
    valid(ticker)
    placed = await async_client.orders.create(
        market="KRW-XRP",
        side="bid",
        ord_type="limit",
        price=str(venue.price("KRW-XRP", down_pct=20)),
        volume="10",
        identifier="sdk-async",
    )
    valid(placed)
    opened = [order.uuid async for order in async_client.orders.list_open()]
    assert opened == [placed.uuid]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert await async_client.orders.list_closed(market="KRW-XRP", start_time=since) == []
    await async_client.orders.cancel(uuid=placed.uuid)
    assert venue.until_closed(placed.uuid)["state"] == "cancel"
    closed = await async_client.orders.list_closed(market="KRW-XRP", start_time=since)
    assert [order.identifier for order in closed] == ["sdk-async"]
    assert venue.balances() == before
    with pytest.raises(upbit.BadRequestError) as refused:
        await async_client.orders.create(
            market="KRW-XRP", side="bid", ord_type="price", price="6000", identifier="sdk-async"
        )
    assert refused.value.name == "duplicated_identifier"
