"""The engine follows the venue's money rules to the last digit, whatever is thrown at it."""

import contextlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.matching.balances import exact
from jobs.matching.engine import Engine, Rules, VenueError
from jobs.matching.ticket import Ticket, from_json, to_json
from jobs.upbit.wire import Account, Level, Orderbook, OrderRequest, OrdType, Side

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
BTC = "KRW-BTC"

Pair = tuple[str, str]


def D(text: str | int) -> Decimal:  # noqa: N802 - as short as what it stands for
    return Decimal(text)


def book(asks: list[Pair], bids: list[Pair], *, market: str = BTC, at: datetime = NOW) -> Orderbook:
    empty: Pair = ("0", "0")
    units = tuple(
        Level(ask_price=D(ask[0]), ask_size=D(ask[1]), bid_price=D(bid[0]), bid_size=D(bid[1]))
        for ask, bid in itertools.zip_longest(asks, bids, fillvalue=empty)
    )
    return Orderbook(market=market, ts=at, units=units)


DEEP = book(
    [("100001000", "0.5"), ("100002000", "1"), ("100003000", "2")],
    [("100000000", "0.5"), ("99999000", "1"), ("99998000", "2")],
)


def new_engine(
    *, krw: str = "10000000", coins: str = "0", rules: Rules | None = None, delay_s: int = 0
) -> Engine:
    numbers = itertools.count(1)
    rows = [("KRW", krw), ("BTC", coins)]
    return Engine(
        [
            Account(currency=c, balance=D(b), locked=D(0), avg_buy_price=D(0))
            for c, b in rows
            if D(b)
        ],
        new_uuid=lambda: f"uuid-{next(numbers)}",
        delay=lambda: timedelta(seconds=delay_s),
        rules=rules,
    )


def request(side: str = "bid", ord_type: str = "limit", **fields: str | None) -> OrderRequest:
    amounts = {
        name: D(value) for name, value in fields.items() if name in ("price", "volume") and value
    }
    return OrderRequest(
        market=fields.get("market") or BTC,
        side=cast(Side, side),
        ord_type=cast(OrdType, ord_type),
        identifier=fields.get("identifier") or "",
        price=amounts.get("price"),
        volume=amounts.get("volume"),
        time_in_force=fields.get("tif"),
        smp_type=fields.get("smp"),
    )


def limit(side: str, price: str, volume: str, **fields: str | None) -> OrderRequest:
    return request(side, "limit", price=price, volume=volume, **fields)


def held(engine: Engine, currency: str) -> tuple[object, ...]:
    row = engine.ledger.account(currency)
    return row.balance, row.locked


def got(*values: object) -> tuple[object, ...]:
    """Values to compare with plain numbers."""
    return values


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(VenueError) as caught:
        call()
    return caught.value.name


def placed(engine: Engine, order: OrderRequest, at: Orderbook = DEEP) -> Ticket:
    """Place, let it meet the book, and return the order as it then is."""
    uuid = engine.place(order, now=NOW, book=at).uuid
    engine.fill_due(NOW)
    ticket = engine.find(uuid=uuid)
    assert ticket is not None
    return ticket


# -- published examples ----------------------------------------------------------------------


def test_the_published_market_buy_ends_in_cancel_with_its_fill() -> None:
    engine = new_engine()
    at = book([("160594000", "1")], [("160593000", "1")])
    first = engine.place(request(ord_type="price", price="6000"), now=NOW, book=at)
    assert got(first.state, first.reserved_fee, first.locked) == ("wait", 3, 6003)
    assert first.volume is first.remaining_volume is None
    assert held(engine, "KRW") == (D(9993997), 6003)
    engine.fill_due(NOW)
    order = engine.order(uuid=first.uuid)
    assert order is not None
    assert order.trades is not None
    assert [(t.volume, t.funds) for t in order.trades] == [(D("0.00003736"), D("5999.79184"))]
    assert (order.state, order.paid_fee) == ("cancel", D("2.99989592"))
    assert (order.remaining_fee, order.locked) == (D("0.00010408"), D("0.20826408"))
    assert held(engine, "KRW") == (D("9993997.20826408"), 0)


def test_the_published_limit_bid_locks_its_amount_and_fee() -> None:
    engine = new_engine()
    order = engine.place(limit("bid", "155772000", "0.0001"), now=NOW)
    assert (order.reserved_fee, order.locked) == (D("7.7886"), D("15584.9886"))


def test_the_published_market_sell_pays_its_fee_out_of_the_proceeds() -> None:
    engine = new_engine(krw="0", coins="0")
    engine.ledger.credit("XRP", D("5.377594"))
    at = book([("1376", "100")], [("1375", "100")], market="KRW-XRP")
    ticket = placed(engine, request("ask", "market", volume="5.377594", market="KRW-XRP"), at)
    assert got(ticket.state, ticket.reserved_fee, ticket.locked) == ("done", 0, 0)
    assert (ticket.executed_funds, ticket.paid_fee) == (D("7394.19175"), D("3.697095875"))
    assert held(engine, "KRW") == (D("7390.494654125"), 0)
    assert held(engine, "XRP") == (0, 0)


def test_a_recorded_bid_filled_below_its_limit_shows_what_was_given_back() -> None:
    engine = new_engine()
    # 54,352,000 was on a tick of 1,000; filled 13,371.74112 for 0.00024608
    at = book([("54339000", "1")], [("54338000", "1")])
    ticket = placed(engine, limit("bid", "54352000", "0.00024608"), at)
    assert (ticket.state, ticket.reserved_fee) == ("done", D("6.68747008"))
    assert ticket.paid_fee == D("6.68587056")
    assert (ticket.remaining_fee, ticket.locked) == (D("0.00159952"), D("3.20063952"))
    assert held(engine, "KRW") == (D("9986621.57300944"), 0)


def test_a_market_buy_that_divides_exactly_is_done() -> None:
    engine = new_engine()
    at = book([("500", "1000")], [("499", "1000")], market="KRW-LSK")
    ticket = placed(engine, request(ord_type="price", price="5000", market="KRW-LSK"), at)
    assert got(ticket.state, ticket.executed_volume, ticket.paid_fee) == ("done", 10, D("2.5"))
    assert got(ticket.locked, ticket.remaining_fee) == (0, 0)


# -- kinds of orders -------------------------------------------------------------------------


def test_an_order_waits_until_it_is_due() -> None:
    engine = new_engine(delay_s=1)
    uuid = engine.place(limit("bid", "100001000", "0.05"), now=NOW, book=DEEP).uuid
    engine.fill_due(NOW)
    assert engine.open_orders()[0].executed_volume == 0
    assert engine.next_due() == LATER
    engine.fill_due(LATER)
    assert engine.closed_orders(BTC)[0].uuid == uuid
    assert engine.next_due() is None


def test_an_order_waits_for_the_first_book() -> None:
    engine = new_engine()
    engine.place(request(ord_type="price", price="6000"), now=NOW)
    engine.fill_due(LATER)
    assert engine.open_orders(BTC)
    engine.on_book(DEEP, now=LATER)
    assert not engine.open_orders()


def test_a_limit_bid_takes_level_by_level_and_rests_with_the_remainder() -> None:
    engine = new_engine(krw="1000000000")
    ticket = placed(engine, limit("bid", "100002000", "2"))
    assert [got(f.price, f.volume) for f in ticket.fills] == [
        (100001000, D("0.5")),
        (100002000, D(1)),
    ]
    assert [f.trend for f in ticket.fills] == ["up", "up"]
    assert (ticket.state, ticket.remaining_volume) == ("wait", D("0.5"))
    assert held(engine, "KRW")[1] == ticket.locked


def test_a_resting_order_fills_at_its_own_price_when_the_market_comes_to_it() -> None:
    engine = new_engine()
    ticket = placed(engine, limit("bid", "99000000", "0.05"))
    engine.on_book(book([("99000000", "0.02")], [("98999000", "1")]), now=LATER)
    assert (ticket.state, ticket.executed_volume) == ("wait", D("0.02"))
    engine.on_book(book([("98500000", "1")], [("98499000", "1")]), now=LATER)
    assert ticket.state == "done"
    assert [got(f.price, f.volume, f.is_maker) for f in ticket.fills] == [
        (99000000, D("0.02"), True),
        (99000000, D("0.03"), True),
    ]
    assert ticket.locked == ticket.remaining_fee == 0


def test_the_same_book_again_brings_nothing_new() -> None:
    engine = new_engine(krw="1000000000")
    first = placed(engine, limit("bid", "100001000", "0.8"))
    engine.on_book(DEEP, now=LATER)
    assert first.executed_volume == D("0.5")
    engine.on_book(replace(DEEP, ts=LATER), now=LATER)
    assert first.state == "done"


def test_better_and_older_resting_orders_come_first() -> None:
    engine = new_engine(coins="1")
    high = placed(engine, limit("ask", "101000000", "0.1"))
    low = placed(engine, limit("ask", "100500000", "0.1"))
    young = placed(engine, limit("ask", "100500000", "0.1"))
    engine.on_book(book([("102000000", "1")], [("101000000", "0.15")]), now=LATER)
    assert got(low.state, young.executed_volume, high.executed_volume) == ("done", D("0.05"), 0)
    assert low.fills[0].price == 100500000


@pytest.mark.parametrize(
    ("side", "fields", "state", "volume"),
    [
        ("bid", {"price": "100001000", "volume": "0.6", "tif": "ioc"}, "cancel", "0.5"),
        ("bid", {"price": "100002000", "volume": "0.6", "tif": "ioc"}, "done", "0.6"),
        ("bid", {"price": "100001000", "volume": "0.6", "tif": "fok"}, "cancel", "0"),
        ("bid", {"price": "100002000", "volume": "0.6", "tif": "fok"}, "done", "0.6"),
        ("bid", {"price": "99000000", "volume": "0.6", "tif": "fok"}, "cancel", "0"),
        ("bid", {"price": "99000000", "volume": "0.6", "tif": "ioc"}, "cancel", "0"),
        ("bid", {"price": "100001000", "volume": "0.1", "tif": "post_only"}, "cancel", "0"),
        ("bid", {"price": "100000000", "volume": "0.1", "tif": "post_only"}, "wait", "0"),
        ("ask", {"price": "100000000", "volume": "0.1", "tif": "post_only"}, "cancel", "0"),
        ("ask", {"price": "100001000", "volume": "0.1", "tif": "post_only"}, "wait", "0"),
        ("ask", {"price": "99999000", "volume": "1.6", "tif": "fok"}, "cancel", "0"),
        ("ask", {"price": "99999000", "volume": "1.5", "tif": "fok"}, "done", "1.5"),
    ],
)
def test_time_in_force(side: str, fields: dict[str, str], state: str, volume: str) -> None:
    engine = new_engine(krw="1000000000", coins="10")
    ticket = placed(engine, request(side, "limit", **fields))
    assert (ticket.state, ticket.executed_volume) == (state, D(volume))
    if state != "wait":
        assert held(engine, "KRW")[1] == held(engine, "BTC")[1] == 0


@pytest.mark.parametrize(
    ("side", "fields", "state", "volume"),
    [
        ("bid", {"price": "1000010", "tif": "ioc"}, "done", "0.01"),
        ("bid", {"price": "100001000", "tif": "ioc"}, "cancel", "0.5"),
        ("bid", {"price": "100001000", "tif": "fok"}, "cancel", "0"),
        ("bid", {"price": "1000010", "tif": "fok"}, "done", "0.01"),
        ("ask", {"volume": "0.6", "tif": "ioc"}, "cancel", "0.5"),
        ("ask", {"volume": "0.6", "tif": "fok"}, "cancel", "0"),
        ("ask", {"volume": "0.5", "tif": "fok"}, "done", "0.5"),
    ],
)
def test_best_orders_take_the_best_level_alone(
    side: str, fields: dict[str, str], state: str, volume: str
) -> None:
    engine = new_engine(krw="1000000000", coins="10")
    ticket = placed(engine, request(side, "best", **fields))
    assert (ticket.state, ticket.executed_volume) == (state, D(volume))
    assert {fill.price for fill in ticket.fills} <= {D(100001000), D(100000000)}


def test_a_best_order_without_offers_ends_unfilled() -> None:
    empty = book([], [("100000000", "1")])
    ticket = placed(new_engine(), request("bid", "best", price="6000", tif="fok"), empty)
    assert got(ticket.state, ticket.executed_volume, ticket.locked) == ("cancel", 0, 6003)


def test_a_market_buy_walks_the_book_and_keeps_what_buys_nothing_more() -> None:
    engine = new_engine(krw="1000000000")
    ticket = placed(engine, request(ord_type="price", price="60000000"))
    assert [f.price for f in ticket.fills] == [100001000, 100002000]
    assert ticket.state == "cancel"
    assert ticket.locked == D(60030000) - ticket.executed_funds - ticket.paid_fee
    assert D(0) < D(60000000) - ticket.executed_funds < D("1.00002")


def test_a_capped_order_stays_partly_filled() -> None:
    engine = new_engine(coins="1")
    uuid = engine.place(limit("bid", "100001000", "0.01"), now=NOW, book=DEEP, share=D("0.3")).uuid
    engine.fill_due(NOW)
    engine.on_book(replace(DEEP, ts=LATER), now=LATER)
    assert engine.open_orders()[0].executed_volume == D("0.003")
    market = engine.place(request(ord_type="price", price="10000"), now=NOW, share=D("0.5")).uuid
    engine.fill_due(LATER)
    ticket = engine.find(uuid=market)
    assert ticket is not None
    assert ticket.state == "cancel"
    assert D(4990) < ticket.executed_funds <= 5000
    engine.cancel(uuid=uuid, now=LATER)


# -- the account's money ---------------------------------------------------------------------


def test_the_average_price_follows_buys_and_ends_with_the_coins() -> None:
    engine = new_engine(krw="1000000000")
    placed(engine, limit("bid", "100001000", "0.3"))
    placed(engine, limit("bid", "100002000", "0.3"))
    cost = D("0.5") * 100001000 + D("0.1") * 100002000
    average = engine.ledger.account("BTC").avg_buy_price
    assert average == (cost / D("0.6")).quantize(D("0.00000001"))
    placed(engine, request("ask", "market", volume="0.1"))
    assert engine.ledger.account("BTC").avg_buy_price == average
    placed(engine, request("ask", "market", volume="0.5"), replace(DEEP, ts=LATER))
    assert engine.ledger.account("BTC").avg_buy_price == 0
    assert [row.currency for row in engine.accounts()] == ["KRW"]


def test_crediting_never_goes_below_zero() -> None:
    engine = new_engine(krw="100")
    engine.ledger.credit("KRW", D(-100))
    with pytest.raises(ValueError, match="below zero"):
        engine.ledger.credit("KRW", D("-0.01"))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
@exact
def test_nothing_appears_or_disappears(data: st.DataObject) -> None:
    engine = new_engine(krw="5000000.123456789012", coins="0.07654321", rules=Rules())
    tick = st.integers(-5, 5).map(lambda n: str(100000000 + n * 1000))
    smp = st.sampled_from([None, "none", "reduce", "cancel_maker", "cancel_taker"])
    volume = st.integers(6000, 3_000_000).map(lambda n: format(D(n).scaleb(-8), "f"))
    orders = st.one_of(
        st.builds(
            lambda side, price, volume, tif, smp: limit(side, price, volume, tif=tif, smp=smp),
            *(st.sampled_from(["bid", "ask"]), tick, volume),
            *(st.sampled_from([None, None, "ioc", "fok"]), smp),
        ),
        st.builds(lambda n: request(ord_type="price", price=str(n)), st.integers(5000, 90000)),
        st.builds(lambda v: request("ask", "market", volume=v), volume),
        st.builds(
            lambda n: request(ord_type="best", price=str(n), tif="ioc"), st.integers(5000, 9000)
        ),
    )
    now = NOW
    for step in range(data.draw(st.integers(1, 14))):
        now += timedelta(seconds=1)
        middle = 100000000 + 1000 * data.draw(st.integers(-6, 6))
        at = book(
            [(str(middle + 1000), "0.01"), (str(middle + 2000), "0.02")],
            [(str(middle), "0.01"), (str(middle - 1000), "0.02")],
            at=now,
        )
        with contextlib.suppress(VenueError):
            engine.place(data.draw(orders), now=now, book=at)
        engine.on_book(at, now=now)
        if step % 4 == 3 and engine.open_orders():
            engine.cancel(uuid=engine.open_orders()[0].uuid, now=now)
    check_conservation(engine, D("5000000.123456789012"), D("0.07654321"))


def check_conservation(engine: Engine, krw: Decimal, coins: Decimal) -> None:
    for ticket in engine.tickets():
        funds = sum((f.funds for f in ticket.fills), D(0))
        volume = sum((f.volume for f in ticket.fills), D(0))
        fees = sum((f.fee for f in ticket.fills), D(0))
        assert (funds, volume, fees) == (
            ticket.executed_funds,
            ticket.executed_volume,
            ticket.paid_fee,
        )
        sign = -1 if ticket.side == "bid" else 1
        krw += sign * funds - fees
        coins -= sign * volume
        assert ticket.locked >= 0
        assert ticket.remaining_fee >= 0
    bound = {"bid": D(0), "ask": D(0)}
    for ticket in engine.tickets(is_open=True):
        bound[ticket.side] += ticket.locked
    assert held(engine, "KRW") == (krw - bound["bid"], bound["bid"])
    assert held(engine, "BTC") == (coins - bound["ask"], bound["ask"])
    assert all(row.balance >= 0 and row.locked >= 0 for row in engine.accounts())


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (limit("bid", "100000500", "0.1"), "invalid_price_bid"),
        (limit("ask", "100000500", "0.1"), "invalid_price_ask"),
        (limit("bid", "0", "0.1"), "invalid_price_bid"),
        (limit("bid", "100000000", "0.000000001"), "invalid_volume_bid"),
        (limit("ask", "100000000", "0.123456789"), "invalid_volume_ask"),
        (limit("bid", "100000000", "0.00004999"), "under_min_total_bid"),
        (limit("ask", "100000000", "0.00004999"), "under_min_total_ask"),
        (limit("bid", "100000000", "10.1"), "over_krw_funds_bid"),
        (limit("ask", "100000000", "10.1"), "over_krw_funds_ask"),
        (limit("bid", "100000000", "0.2"), "insufficient_funds_bid"),
        (limit("ask", "100000000", "0.2"), "insufficient_funds_ask"),
        (request(ord_type="price", price="4999.99"), "under_min_total_bid"),
        (request(ord_type="price", price="5000.123456789"), "invalid_price_bid"),
        (request(ord_type="price", price="9999000"), "insufficient_funds_bid"),
        (request("ask", "market", volume="0.00004999"), "under_min_total_ask"),
        (request("ask", "market", volume="1"), "insufficient_funds_ask"),
        (request("ask", "market", volume="4"), "volume_too_large"),
        (request(ord_type="price", price="350008501"), "invalid_funds"),
        (request(ord_type="price", price="6000", volume="1"), "create_bid_error"),
        (request(ord_type="price", volume="1"), "create_bid_error"),
        (request("ask", "price", price="6000"), "create_ask_error"),
        (request("bid", "market", volume="1"), "create_bid_error"),
        (request("ask", "market", price="6000"), "create_ask_error"),
        (request("bid", "limit", price="100000000"), "create_bid_error"),
        (request("bid", "stop", price="100000000"), "invalid_parameter"),
        (request("buy", "limit", price="100000000", volume="1"), "invalid_parameter"),
        (request("bid", "best", price="6000"), "invalid_time_in_force"),
        (request("bid", "best", price="6000", tif="post_only"), "invalid_time_in_force"),
        (request("bid", "price", price="6000", tif="ioc"), "invalid_time_in_force"),
        (limit("bid", "100000000", "0.01", tif="gtc"), "invalid_time_in_force"),
        (limit("bid", "100000000", "0.01", smp="cancel_both"), "invalid_parameter"),
        (limit("bid", "100000000", "0.01", tif="post_only", smp="reduce"), "invalid_post_only"),
        (limit("bid", "100000000", "0.01", identifier="x" * 65), "invalid_parameter"),
        (limit("bid", "100000000", "0.01", market="KRWBTC"), "notfoundmarket"),
    ],
)
def test_refusals_have_the_venues_names_and_change_nothing(order: OrderRequest, name: str) -> None:
    engine = new_engine(coins="0.1")
    assert refused(lambda: engine.place(order, now=NOW, book=DEEP)) == name
    assert held(engine, "KRW") == (10000000, 0)
    assert not engine.tickets()


def test_market_rules_come_from_the_rules() -> None:
    engine = new_engine(rules=Rules(listed=frozenset({BTC, "KRW-ETH"}), offline=frozenset({BTC})))
    with pytest.raises(VenueError) as caught:
        engine.place(limit("bid", "100000000", "0.01"), now=NOW)
    assert (caught.value.name, caught.value.status) == ("market_offline", 403)
    unlisted = limit("bid", "100", "100", market="KRW-XRP")
    assert refused(lambda: engine.place(unlisted, now=NOW)) == "notfoundmarket"
    engine.rules = replace(engine.rules, fees={BTC: D("0.001")}, offline=frozenset())
    order = engine.place(limit("bid", "100000000", "0.01"), now=NOW)
    assert order.reserved_fee == 1000


def test_other_quote_currencies_have_their_own_fee_and_limits() -> None:
    engine = new_engine(krw="0")
    engine.ledger.credit("BTC", D(1))
    order = limit("bid", "0.00000002", "100000", market="BTC-LUNC")
    assert engine.place(order, now=NOW).reserved_fee == D("0.000005")
    tiny = limit("bid", "0.00000002", "2000", market="BTC-LUNC")
    assert refused(lambda: engine.place(tiny, now=NOW)) == "under_min_total_bid"


def test_an_identifier_is_used_up_even_by_a_refused_order() -> None:
    engine = new_engine()
    assert refused(lambda: engine.place(limit("bid", "100000000", "9", identifier="a"), now=NOW))
    again = limit("bid", "100000000", "0.01", identifier="a")
    assert refused(lambda: engine.place(again, now=NOW)) == "duplicated_identifier"
    assert refused(lambda: engine.test(again, now=NOW)) == "duplicated_identifier"
    assert engine.is_used("a")
    assert engine.find(identifier="a") is None


def test_an_identifier_can_be_spared_by_rule_and_by_a_bad_shape() -> None:
    engine = new_engine(rules=Rules(refusal_burns_identifier=False))
    assert refused(lambda: engine.place(limit("bid", "100000000", "9", identifier="a"), now=NOW))
    order = engine.place(limit("bid", "100000000", "0.01", identifier="a"), now=NOW)
    assert engine.find(identifier="a") is engine.find(uuid=order.uuid) is not None
    strict = new_engine()
    misshapen = request("bid", "price", price="6000", tif="ioc", identifier="b")
    assert refused(lambda: strict.place(misshapen, now=NOW))
    assert not strict.is_used("b")


def test_a_crossing_post_only_can_be_refused_at_once() -> None:
    engine = new_engine(coins="1", rules=Rules(refuse_crossing_post_only=True))
    for side, crossing, resting in (
        ("bid", "100001000", "100000000"),
        ("ask", "100000000", "100001000"),
    ):
        order = limit(side, crossing, "0.01", tif="post_only")
        assert refused(partial(engine.place, order, now=NOW, book=DEEP)) == "invalid_post_only"
        assert placed(engine, limit(side, resting, "0.01", tif="post_only")).state == "wait"


def test_a_test_order_is_checked_and_leaves_no_trace() -> None:
    engine = new_engine()
    order = limit("bid", "100000000", "0.01", identifier="t")
    shown = engine.test(order, now=NOW, book=DEEP)
    assert got(shown.state, shown.locked) == ("wait", 1000500)
    assert engine.order(uuid=shown.uuid) is None
    assert not engine.is_used("t")
    too_dear = limit("bid", "100000000", "0.2")
    assert refused(lambda: engine.test(too_dear, now=NOW)) == "insufficient_funds_bid"


# -- cancels ---------------------------------------------------------------------------------


def test_a_cancel_is_accepted_first_and_done_later() -> None:
    engine = new_engine(delay_s=1)
    uuid = engine.place(limit("bid", "99000000", "0.01", identifier="c"), now=NOW, book=DEEP).uuid
    engine.fill_due(LATER)
    assert engine.cancel(identifier="c", now=LATER).state == "wait"
    assert engine.cancel(uuid=uuid, now=LATER).state == "wait"
    engine.fill_due(LATER)
    assert engine.open_orders()
    engine.fill_due(LATER + timedelta(seconds=1))
    order = engine.order(uuid=uuid)
    assert order is not None
    assert got(order.state, order.executed_volume) == ("cancel", 0)
    assert held(engine, "KRW") == (10000000, 0)
    assert refused(lambda: engine.cancel(uuid=uuid, now=LATER)) == "order_not_found"
    assert refused(lambda: engine.cancel(uuid="unknown", now=LATER)) == "order_not_found"
    assert refused(lambda: engine.cancel_at_once(uuid, now=LATER)) == "order_not_found"


def test_a_fill_that_comes_before_the_cancel_wins() -> None:
    engine = new_engine(delay_s=1)
    engine.place(limit("bid", "99000000", "0.01"), now=NOW, book=DEEP)
    engine.fill_due(LATER)
    uuid = engine.open_orders()[0].uuid
    engine.cancel(uuid=uuid, now=LATER)
    engine.on_book(book([("99000000", "1")], [("98999000", "1")]), now=LATER)
    order = engine.order(uuid=uuid)
    assert order is not None
    assert order.state == "done"


def test_a_cancel_that_is_due_before_the_order_met_the_book_prevents_it() -> None:
    waits = iter([timedelta(seconds=2), timedelta(seconds=1)])
    engine = new_engine()
    engine._delay = lambda: next(waits)
    uuid = engine.place(limit("bid", "100001000", "0.01"), now=NOW, book=DEEP).uuid
    engine.cancel(uuid=uuid, now=NOW)
    engine.fill_due(NOW + timedelta(seconds=5))
    assert engine.closed_orders()[0].executed_volume == 0


def test_an_order_that_is_due_before_its_pending_cancel_is_filled() -> None:
    waits = iter([timedelta(seconds=2), timedelta(seconds=3)])
    engine = new_engine()
    engine._delay = lambda: next(waits)
    uuid = engine.place(limit("bid", "100001000", "0.01"), now=NOW, book=DEEP).uuid
    engine.cancel(uuid=uuid, now=NOW)
    engine.fill_due(NOW + timedelta(seconds=5))
    assert engine.closed_orders()[0].state == "done"


def test_the_venue_itself_cancels_at_once() -> None:
    engine = new_engine()
    ticket = placed(engine, limit("bid", "99000000", "0.01"))
    engine.cancel_at_once(ticket.uuid, now=NOW)
    assert (ticket.state, held(engine, "KRW")) == ("cancel", (10000000, 0))


def test_cancel_and_new_places_the_rest_under_a_new_name() -> None:
    engine = new_engine(krw="1000000000")
    old = placed(engine, limit("bid", "100001000", "0.6", identifier="old"))
    assert old.executed_volume == D("0.5")
    follow = request("bid", "limit", price="99000000", identifier="new")
    shown, uuid = engine.cancel_and_new(follow, identifier="old", now=LATER)
    assert (shown.uuid, shown.state) == (old.uuid, "wait")
    engine.fill_due(LATER)
    new = engine.order(identifier="new")
    assert new is not None
    assert (new.uuid, new.volume, new.state) == (uuid, D("0.1"), "wait")
    assert old.state == "cancel"
    assert (
        refused(lambda: engine.cancel_and_new(follow, identifier="old", now=LATER))
        == "order_not_found"
    )


def test_cancel_and_new_comes_to_nothing_when_the_old_order_fills_first() -> None:
    engine = new_engine(delay_s=1)
    engine.place(limit("bid", "99000000", "0.01"), now=NOW, book=DEEP)
    engine.fill_due(LATER)
    old = engine.open_orders()[0].uuid
    follow = limit("bid", "98000000", "0.01", identifier="n")
    _, uuid = engine.cancel_and_new(follow, uuid=old, now=LATER)
    engine.on_book(book([("99000000", "1")], [("98999000", "1")]), now=LATER)
    engine.fill_due(LATER + timedelta(seconds=9))
    assert engine.find(uuid=uuid) is None
    assert engine.is_used("n")


def test_cancel_and_new_comes_to_nothing_when_the_account_does_not_cover_it() -> None:
    engine = new_engine(krw="1000500")
    old = placed(engine, limit("bid", "99000000", "0.01"))
    follow = limit("bid", "98000000", "0.02")
    _, uuid = engine.cancel_and_new(follow, uuid=old.uuid, now=NOW)
    engine.fill_due(NOW)
    assert (old.state, engine.find(uuid=uuid)) == ("cancel", None)


def test_cancel_and_new_stays_in_its_market_and_side() -> None:
    engine = new_engine(coins="1")
    old = placed(engine, limit("bid", "99000000", "0.01"))
    wrong = limit("ask", "99000000", "0.01")
    assert (
        refused(lambda: engine.cancel_and_new(wrong, uuid=old.uuid, now=NOW)) == "invalid_parameter"
    )
    off_tick = limit("bid", "99000500", "0.01")
    assert (
        refused(lambda: engine.cancel_and_new(off_tick, uuid=old.uuid, now=NOW))
        == "invalid_price_bid"
    )


# -- self-match prevention -------------------------------------------------------------------


def crossing(
    taker_smp: str | None, *, maker: str = "0.02", taker: str = "0.01"
) -> tuple[Engine, Ticket, Ticket]:
    """An own ask inside the spread, then an own bid that meets it."""
    wide = book([("101000000", "1")], [("99000000", "1")])
    engine = new_engine(coins="1")
    own = placed(engine, limit("ask", "100000000", maker), wide)
    return engine, own, placed(engine, limit("bid", "100000000", taker, smp=taker_smp), wide)


def test_by_default_the_resting_order_gives_way() -> None:
    engine, maker, taker = crossing(None)
    assert taker.smp_type == "cancel_maker"
    assert got(maker.state, maker.prevented_volume, maker.locked) == ("cancel", D("0.02"), 0)
    assert maker.prevented_locked == D("0.02")
    assert (taker.state, taker.is_resting) == ("wait", True)
    assert held(engine, "BTC") == (1, 0)


def test_the_taker_may_give_way_instead() -> None:
    engine, maker, taker = crossing("cancel_taker")
    assert (maker.state, taker.state) == ("wait", "cancel")
    assert got(taker.prevented_volume, taker.locked, taker.remaining_fee) == (D("0.01"), 0, 0)
    assert taker.prevented_locked == D("1000500")
    assert held(engine, "KRW") == (10000000, 0)


def test_reducing_takes_the_overlap_from_both() -> None:
    engine, maker, taker = crossing("reduce")
    assert (maker.state, maker.prevented_volume, maker.remaining_volume) == (
        "wait",
        D("0.01"),
        D("0.01"),
    )
    assert (taker.state, taker.prevented_volume) == ("cancel", D("0.01"))
    assert (held(engine, "BTC"), held(engine, "KRW")) == ((D("0.99"), D("0.01")), (10000000, 0))
    kinds = [event.kind for event in engine.drain().events]
    assert kinds == ["wait", "wait", "prevented", "cancel"]


def test_reducing_works_for_an_order_that_spends_an_amount() -> None:
    wide = book([("101000000", "1")], [("99000000", "1")])
    engine = new_engine(coins="1")
    maker = placed(engine, limit("ask", "100000000", "0.01"), wide)
    taker = placed(engine, request(ord_type="price", price="3000000", smp="reduce"), wide)
    assert (maker.state, maker.prevented_volume) == ("cancel", D("0.01"))
    assert taker.prevented_locked == D("1000500")
    assert taker.executed_funds <= 2000000
    assert taker.executed_funds > 1999998
    check_conservation(engine, D(10000000), D(1))


def test_prevention_can_be_off_and_then_both_trade() -> None:
    engine, maker, taker = crossing("none", maker="0.01")
    assert (maker.state, taker.state) == ("done", "done")
    assert maker.fills[0].is_maker
    assert not taker.fills[0].is_maker
    check_conservation(engine, D(10000000), D(1))


def test_the_market_comes_before_the_own_order_at_the_same_price() -> None:
    engine = new_engine(coins="1")
    own = placed(engine, limit("ask", "100001000", "0.01"))
    taker = placed(engine, limit("bid", "100001000", "0.01"))
    assert (own.state, taker.state) == ("wait", "done")


def test_fill_or_kill_counts_own_offers_only_without_prevention() -> None:
    wide = book([("101000000", "1")], [("99000000", "1")])
    for smp, state in (("none", "done"), ("reduce", "cancel")):
        engine = new_engine(coins="1")
        placed(engine, limit("ask", "100000000", "0.01"), wide)
        order = limit("bid", "100000000", "0.01", tif="fok", smp=smp)
        assert placed(engine, order, wide).state == state


def test_post_only_prevents_nothing_by_default() -> None:
    engine = new_engine(rules=Rules(default_smp="reduce"))
    assert placed(engine, limit("bid", "99000000", "0.01", tif="post_only")).smp_type == "none"
    assert placed(engine, limit("bid", "99000000", "0.01")).smp_type == "reduce"


# -- storing ---------------------------------------------------------------------------------


def test_drain_tells_each_touched_row_once_in_its_newest_state() -> None:
    engine = new_engine()
    placed(engine, request(ord_type="price", price="6000"))
    changes = engine.drain()
    assert [event.kind for event in changes.events] == ["wait", "trade", "cancel"]
    assert changes.events[0].ticket.fills == ()
    assert changes.events[1].fill == changes.tickets[0].fills[0]
    assert [ticket.state for ticket in changes.tickets] == ["cancel"]
    assert {row.currency for row in changes.accounts} == {"KRW", "BTC"}
    assert engine.drain().tickets == ()


def test_an_account_continues_from_what_was_stored() -> None:
    first = new_engine(krw="1000000000", delay_s=1)
    first.place(limit("bid", "100001000", "0.6", identifier="s"), now=NOW, book=DEEP)
    first.fill_due(LATER)
    uuid = first.open_orders()[0].uuid
    first.cancel(uuid=uuid, now=LATER)
    changes = first.drain()
    stored = json.loads(json.dumps([to_json(ticket) for ticket in changes.tickets]))
    second = Engine(
        changes.accounts,
        new_uuid=lambda: "fresh",
        tickets=[from_json(row) for row in stored],
        identifiers=["burnt"],
    )
    assert second.find(uuid=uuid) == first.find(uuid=uuid)
    assert held(second, "KRW") == held(first, "KRW")
    for used in ("s", "burnt"):
        again = limit("bid", "100000000", "0.01", identifier=used)
        assert refused(partial(second.place, again, now=LATER)) == "duplicated_identifier"
    second.fill_due(LATER + timedelta(seconds=1))
    assert second.closed_orders()[0].state == "cancel"
    assert second.place(limit("bid", "100000000", "0.01"), now=LATER).uuid == "fresh"
