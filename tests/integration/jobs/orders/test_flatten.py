"""Getting out: everything cancelled, everything sold, and every remainder explained."""

from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, Trading, sell_by_hand

from jobs.core.errors import Refused, Unavailable
from jobs.orders.account import Patience
from jobs.orders.flatten import Flattened, flatten
from jobs.upbit.wire import Account, Chance, Order, OrderRequest


async def leave(trading: Trading) -> Flattened:
    trading.restarted(epoch=0)
    return await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)


async def hold(trading: Trading, market: str = BTC) -> None:
    await trading.signal("buy", market)
    await trading.run()


async def test_open_orders_are_cancelled_and_positions_sold_even_when_halted(
    trading: Trading,
) -> None:
    await hold(trading)
    await hold(trading, "KRW-ETH")
    trading.venue.depth = Decimal(10)
    await hold(trading, "KRW-XRP")
    trading.venue.depth = Decimal(1000)
    await trading.set(halted=True)
    result = await leave(trading)
    assert result.is_flat, result
    assert len(result.cancelled) == 1
    assert set(result.sold) == {BTC, "KRW-ETH", "KRW-XRP"}
    assert [trading.venue.total(coin) for coin in ("BTC", "ETH", "XRP")] == [0, 0, 0]
    await trading.assert_books_agree()


async def test_nothing_to_do_is_flat(trading: Trading) -> None:
    assert await leave(trading) == Flattened()
    assert trading.venue.posts == []


async def test_dust_is_left_and_explained(trading: Trading) -> None:
    await hold(trading)
    trading.venue.quote(PRICE / 1000)
    result = await leave(trading)
    assert not result.is_flat
    assert result.left[BTC].startswith("dust: ")


async def test_a_thin_book_is_sold_into_step_by_step(trading: Trading) -> None:
    await hold(trading)
    trading.venue.show([(int(PRICE), "0.004"), (int(PRICE) * 96 // 100, "0.003"), (50_000_000, 1)])
    result = await leave(trading)
    assert result.is_flat, result
    assert result.sold == {BTC: Decimal("0.01")}
    prices = [o.price for o in await trading.orders() if o.side == "ask"]
    assert prices == sorted(prices, key=lambda price: -(price or 0))
    await trading.assert_books_agree()


async def test_a_limit_only_market_is_left_although_nobody_buys_near_the_price(
    trading: Trading,
) -> None:
    await hold(trading)
    trading.venue.ask_types = ("limit",)
    trading.venue.show([(int(PRICE), "0.004"), (50_000_000, "1")])
    result = await leave(trading)
    assert result.is_flat, result
    assert {o.ord_type for o in await trading.orders()} == {"limit"}
    await trading.assert_books_agree()


async def test_a_sale_refused_in_one_form_is_tried_in_the_next(trading: Trading) -> None:
    await hold(trading)
    real = trading.venue._enter

    def enter(request: OrderRequest) -> Order:
        if request.ord_type == "limit":
            raise Refused("no", name="create_ask_error", status=400)
        return real(request)

    trading.venue._enter = enter  # type: ignore[method-assign]  # takes market orders alone
    result = await leave(trading)
    assert result.is_flat, result
    assert [o.ord_type for o in await trading.orders()][1:] == ["limit", "limit", "limit", "market"]


async def test_what_was_blocked_is_over_when_it_is_flat(trading: Trading) -> None:
    await hold(trading)
    trading.venue.offline = {BTC}
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(7):
        await trading.run(after_s=10)
    assert f"exit_blocked:{BTC}" in trading.alerts.open
    assert (await leave(trading)).left == {BTC: "refused by the venue: market_offline"}
    trading.venue.offline = set()
    assert (await leave(trading)).is_flat
    assert f"exit_blocked:{BTC}" not in trading.alerts.open


async def test_coins_of_the_users_own_are_not_sold(trading: Trading) -> None:
    await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(3))
    assert (await leave(trading)).is_flat
    assert trading.venue.total("BTC") == 3


async def test_a_refused_sale_is_left_with_the_venues_word(trading: Trading) -> None:
    await hold(trading)
    trading.venue.troubles = ["refused"]
    result = await leave(trading)
    assert result.left == {BTC: "refused by the venue: insufficient_funds_bid"}


async def test_an_unanswered_sale_is_followed_until_it_is_known(trading: Trading) -> None:
    await hold(trading)
    trading.venue.troubles = ["late"]
    assert (await leave(trading)).is_flat
    await trading.assert_books_agree()


async def test_trouble_in_one_market_does_not_keep_the_others(trading: Trading) -> None:
    await hold(trading)
    await hold(trading, "KRW-ETH")
    trading.venue.troubles = ["not_sent"]
    result = await leave(trading)
    assert result.left == {BTC: "no connection"}
    assert list(result.sold) == ["KRW-ETH"]


@pytest.mark.parametrize("error", [RecursionError, ArithmeticError, UnicodeError])
async def test_a_bug_about_one_order_does_not_keep_the_others_in(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    await hold(trading)
    await hold(trading, "KRW-ETH")
    ask = trading.venue.chance

    async def odd(market: str) -> Chance:
        if market == BTC:
            raise error("odd")
        return await ask(market)

    monkeypatch.setattr(trading.venue, "chance", odd)
    trading.view._chances.clear()
    result = await leave(trading)
    assert result.left == {BTC: f"{error.__name__}: odd"}
    assert list(result.sold) == ["KRW-ETH"]


async def test_without_quotes_the_stored_prices_do(trading: Trading) -> None:
    await hold(trading)
    trading.venue.quotes_down = Unavailable("no answer")
    assert (await leave(trading)).is_flat


async def test_what_is_still_open_at_the_end_is_named(trading: Trading) -> None:
    trading.venue.depth = Decimal(10)
    await hold(trading, "KRW-XRP")
    order = await trading.only_order()
    assert order.state == "wait"
    trading.venue.down = Unavailable("no answer")
    result = await leave(trading)
    assert result.left[order.identifier] == "no answer"
    assert not result.is_flat


async def test_an_order_that_stays_unknown_is_named(trading: Trading) -> None:
    trading.desk = trading.restarted(patience=Patience(over_s=3600)).desk
    trading.venue.troubles = ["late"]
    trading.venue.late_s = 3600
    await trading.signal("buy")
    await trading.run()
    order = await trading.only_order()
    assert (await leave(trading)).left == {order.identifier: "still unknown"}


# -- others were faster ------------------------------------------------------------------------


async def test_what_the_user_sold_by_hand_is_booked_and_flat(trading: Trading) -> None:
    await hold(trading)
    await trading.clock.sleep(60)
    sell_by_hand(trading, (await trading.holding()).volume)
    result = await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)
    assert (result.is_flat, result.sold, result.gone) == (True, {}, {})
    assert [order.purpose for order in await trading.orders()] == ["entry", "foreign"]
    assert (await trading.holding()).volume == 0


async def test_coins_that_are_gone_leave_nothing_to_sell_and_are_named(trading: Trading) -> None:
    await hold(trading)
    await trading.clock.sleep(60)
    trading.venue.engine.ledger.credit("BTC", -(await trading.holding()).volume)
    result = await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)
    assert (result.is_flat, result.sold) == (True, {})
    assert "upbitd positions settle KRW-BTC" in result.gone[BTC]
    assert [post.side for post in trading.venue.posts] == ["bid"]


async def test_what_is_left_of_them_is_sold(trading: Trading) -> None:
    await hold(trading)
    await trading.clock.sleep(60)
    quarter = (await trading.holding()).volume / 4
    trading.venue.engine.ledger.credit("BTC", -3 * quarter)
    result = await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)
    assert (result.is_flat, result.sold) == (True, {BTC: quarter})
    assert list(result.gone) == [BTC]
    assert trading.venue.total("BTC") == 0


async def test_coins_that_the_users_order_locks_are_left_with_its_name(trading: Trading) -> None:
    await hold(trading)
    await trading.clock.sleep(60)
    resting = sell_by_hand(trading, (await trading.holding()).volume, limit=PRICE * 2)
    result = await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)
    assert not result.is_flat
    assert resting.uuid in result.left[BTC]


async def test_balances_that_cannot_be_had_keep_nobody_from_selling(trading: Trading) -> None:
    await hold(trading)

    async def away() -> list[Account]:
        raise Unavailable("502")

    trading.venue.accounts = away  # type: ignore[method-assign]
    result = await flatten(trading.desk, trading.view, sleep=trading.clock.sleep)
    assert (result.is_flat, list(result.sold)) == (True, [BTC])
