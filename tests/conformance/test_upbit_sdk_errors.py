"""The exchange's own SDK (upbit-sdk) names every refusal, and shows why retries cost orders."""

from typing import Any

import httpx
import pytest
import upbit
from fixtures.venue import Venue

NOBODY = "00000000-0000-4000-8000-000000000000"


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
