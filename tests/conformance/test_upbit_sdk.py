"""The exchange's own SDK (upbit-sdk) is content with the sandbox: every call, every model, typed
errors, and both of its clients.

Its models name every field of the real answers, so each answer is validated by them.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import upbit
from fixtures.venue import Venue
from pydantic import BaseModel

FEE = Decimal("0.0005")
ZERO = Decimal(0)
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def client(venue: Venue) -> Iterator[upbit.Upbit]:
    """The synchronous client, without its automatic retries."""
    with upbit.Upbit(
        access_key=venue.access_key,
        secret_key=venue.secret_key,
        base_url=venue.base_url,
        max_retries=0,
    ) as made:
        yield made


@pytest.fixture
async def async_client(venue: Venue) -> AsyncIterator[upbit.AsyncUpbit]:
    """The asynchronous client, without its automatic retries."""
    async with upbit.AsyncUpbit(
        access_key=venue.access_key,
        secret_key=venue.secret_key,
        base_url=venue.base_url,
        max_retries=0,
    ) as made:
        yield made


def valid(answer: BaseModel, *, without: Sequence[str] = ()) -> None:
    """Every field is as the SDK's authors know it: none missing, wrong or invented.

    `without` are fields that the SDK calls required and the venue leaves out by its own rules.
    """
    told = answer.model_dump(exclude_unset=True, by_alias=True)
    filled = {name: "0" for name in without if name not in told}
    type(answer).model_validate({**told, **filled})
    assert not answer.model_extra or set(answer.model_extra) <= KNOWN_EXTRAS


KNOWN_EXTRAS = {
    "executed_funds",  # documented since 2024-06 for lists, not in the SDK's order
    "market_event",
    "order_types",  # deprecated, still sent
    "price_unit",
}


# -- quotation ---------------------------------------------------------------------------------


def test_trading_pairs(client: upbit.Upbit) -> None:
    pairs = client.trading_pairs.list(is_details=True)
    assert {"KRW-BTC", "KRW-XRP"} <= {pair.market for pair in pairs}
    for pair in pairs:
        valid(pair)


def test_tickers(client: upbit.Upbit) -> None:
    some = client.tickers.list_by_trading_pairs(markets="KRW-BTC,KRW-ETH")
    assert [ticker.market for ticker in some] == ["KRW-BTC", "KRW-ETH"]
    every = client.tickers.list_by_quote_currencies(quote_currencies="KRW")
    assert len(every) == len(client.trading_pairs.list())
    for ticker in (*some, *every):
        valid(ticker)
        assert Decimal(ticker.low_price) <= Decimal(ticker.trade_price)
        assert Decimal(ticker.trade_price) <= Decimal(ticker.high_price)


def test_candles_of_minutes_page_backwards(client: upbit.Upbit) -> None:
    first = client.candles.list_minutes(1, market="KRW-BTC", count=200)
    assert len(first) == 200
    older = client.candles.list_minutes(
        1, market="KRW-BTC", count=200, to=first[-1].candle_date_time_utc
    )
    starts = [candle.candle_date_time_utc for candle in (*first, *older)]
    assert starts == sorted(set(starts), reverse=True)
    for candle in (*first[:3], *older[:3]):
        valid(candle)


@pytest.mark.parametrize("width", ["seconds", "days", "weeks", "months"])
def test_candles_of_other_widths(client: upbit.Upbit, width: str) -> None:
    candles = getattr(client.candles, f"list_{width}")(market="KRW-BTC", count=2)
    assert 1 <= len(candles) <= 2
    for candle in candles:
        valid(candle)


def test_years_and_converted_prices(client: upbit.Upbit) -> None:
    valid(client.candles.list_years(market="KRW-BTC", count=1)[0])
    (day,) = client.candles.list_days(market="KRW-BTC", count=1, converting_price_unit="KRW")
    valid(day)
    assert day.converted_trade_price == day.trade_price


def test_trades_are_paged_by_cursor(client: upbit.Upbit) -> None:
    first = client.trades.list(market="KRW-BTC", count=10)
    older = client.trades.list(market="KRW-BTC", count=10, cursor=str(first[-1].sequential_id))
    numbers = [trade.sequential_id for trade in (*first, *older)]
    assert numbers == sorted(set(numbers), reverse=True)
    for trade in first:
        valid(trade)


def test_order_books_and_instruments(client: upbit.Upbit) -> None:
    for book in client.orderbooks.list(markets="KRW-BTC,KRW-DOGE", count=15):
        valid(book)
        assert len(book.orderbook_units) == 15
    for instrument in client.orderbooks.list_instruments(markets="KRW-BTC,KRW-DOGE"):
        valid(instrument)
        assert "0" in instrument.supported_levels


def test_every_answer_tells_the_rest_of_the_quota(client: upbit.Upbit) -> None:
    raw = client.tickers.with_raw_response.list_by_trading_pairs(markets="KRW-BTC")
    assert raw.headers["Remaining-Req"].startswith("group=ticker; min=600; sec=")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.tickers.list_by_trading_pairs(markets="KRW-NONE"), upbit.NotFoundError),
        (lambda c: c.candles.list_minutes(2, market="KRW-BTC"), upbit.BadRequestError),
        (lambda c: c.candles.list_minutes(1, market="KRW-BTC", to="noon"), upbit.BadRequestError),
        (lambda c: c.orderbooks.list(markets=""), upbit.BadRequestError),
    ],
)
def test_quotation_errors_are_typed(client: upbit.Upbit, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        call(client)
    body: Any = refused.value.body  # type: ignore[attr-defined]
    name = body["error"]["name"] if "error" in body else body["name"]
    assert name == refused.value.status_code, "quotation errors are numbers"  # type: ignore[attr-defined]


# -- the account -------------------------------------------------------------------------------


def test_accounts_keys_and_wallets(client: upbit.Upbit, venue: Venue) -> None:
    accounts = client.accounts.list()
    held = {row.currency: (Decimal(row.balance), Decimal(row.locked)) for row in accounts}
    assert held == venue.balances()
    (key,) = client.api_keys.list()
    assert key.access_key == venue.access_key
    wallets = client.wallet_status.list()
    assert "BTC" in {wallet.currency for wallet in wallets}
    for row in (*accounts, key, *wallets):
        valid(row)


def test_the_chance(client: upbit.Upbit, venue: Venue) -> None:
    chance = client.orders.retrieve_chance(market="KRW-BTC")
    valid(chance)
    assert Decimal(chance.bid_account.balance) == venue.balances()["KRW"][0]
    assert {"limit", "price", "best_ioc"} <= set(chance.market.bid_types)
    assert {"limit", "market", "best_fok"} <= set(chance.market.ask_types)


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
        market="KRW-XRP", side="bid", ord_type="best", price="30000", time_in_force="ioc"
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


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (
            {"side": "bid", "ord_type": "limit", "price": "100000000", "volume": "1"},
            "insufficient_funds_bid",
        ),
        ({"side": "ask", "ord_type": "market", "volume": "0.01"}, "insufficient_funds_ask"),
        ({"side": "bid", "ord_type": "price", "price": "4999"}, "under_min_total_bid"),
        ({"side": "bid", "ord_type": "price"}, "create_bid_error"),
        (
            {"side": "bid", "ord_type": "limit", "price": "100000500", "volume": "0.001"},
            "invalid_price_bid",
        ),
        (
            {"side": "bid", "ord_type": "limit", "price": "100000000", "volume": "11"},
            "over_krw_funds_bid",
        ),
        ({"side": "bid", "ord_type": "best", "price": "6000"}, "invalid_time_in_force"),
    ],
)
def test_refusals_of_orders_are_named(
    client: upbit.Upbit, order: dict[str, Any], name: str
) -> None:
    with pytest.raises(upbit.BadRequestError) as refused:
        client.orders.create(market="KRW-BTC", **order)
    assert refused.value.name == name


def test_an_unknown_order_is_not_found(client: upbit.Upbit) -> None:
    for call in (client.orders.retrieve, client.orders.cancel):
        with pytest.raises(upbit.NotFoundError) as refused:
            call(uuid=NOBODY)
        assert refused.value.name == "order_not_found"


def test_keys_that_are_wrong_are_named(client: upbit.Upbit) -> None:
    for wrong, name in (
        (client.with_options(secret_key="x" * 40), "jwt_verification"),
        (client.with_options(access_key="nobody"), "invalid_access_key"),
    ):
        with pytest.raises(upbit.AuthenticationError) as refused:
            wrong.accounts.list()
        assert refused.value.name == name


def test_too_many_requests_are_refused_and_then_blocked(client: upbit.Upbit, venue: Venue) -> None:
    venue.options(quotas=True, limits={"ticker": 0}, ban_after=2)
    for error in (upbit.RateLimitError, upbit.RateLimitError, upbit.RateLimitPenaltyError):
        with pytest.raises(error):
            client.tickers.list_by_trading_pairs(markets="KRW-BTC")


def test_maintenance_and_failures_are_typed(client: upbit.Upbit, venue: Venue) -> None:
    venue.options(offline=["KRW-BTC"])
    with pytest.raises(upbit.PermissionDeniedError) as refused:
        client.orders.test_create(market="KRW-BTC", side="bid", ord_type="price", price="6000")
    assert refused.value.name == "market_offline"
    venue.fault(path="/v1/accounts", action="answer", status=502, body="<html>Bad Gateway</html>")
    with pytest.raises(upbit.InternalServerError):
        client.accounts.list()


# -- why the daemon does not place orders with it ------------------------------------------------


def test_its_automatic_retry_doubles_an_order_whose_answer_was_lost(
    client: upbit.Upbit, venue: Venue
) -> None:
    """With its default settings a 502 after the commit makes it send the same order again."""
    eager = client.with_options(max_retries=2)
    venue.fault(
        method="POST", path="/v1/orders", action="answer", when="after", status=502, body="gone"
    )
    eager.orders.create(market="KRW-XRP", side="bid", ord_type="price", price="6000")
    assert len(venue.orders()) == 2, "one was asked for"


def test_an_identifier_keeps_its_retry_from_doubling_and_hides_the_order(
    client: upbit.Upbit, venue: Venue
) -> None:
    eager = client.with_options(max_retries=2)
    venue.fault(
        method="POST", path="/v1/orders", action="answer", when="after", status=502, body="gone"
    )
    with pytest.raises(upbit.BadRequestError) as refused:
        eager.orders.create(
            market="KRW-XRP", side="bid", ord_type="price", price="6000", identifier="sdk-lost"
        )
    assert refused.value.name == "duplicated_identifier"
    assert [order["identifier"] for order in venue.orders()] == ["sdk-lost"]


def test_without_retries_a_lost_answer_is_one_order(client: upbit.Upbit, venue: Venue) -> None:
    venue.fault(method="POST", path="/v1/orders", action="reset", when="after")
    with pytest.raises(upbit.APIConnectionError) as lost:
        client.orders.create(market="KRW-XRP", side="bid", ord_type="price", price="6000")
    assert isinstance(lost.value.__cause__, httpx.TransportError)
    assert len(venue.orders()) == 1


# -- the asynchronous client ---------------------------------------------------------------------


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
