"""Getting out: everything cancelled, everything sold, and every remainder explained."""

from decimal import Decimal

from fixtures.trading import BTC, PRICE, Trading

from jobs.errors import Unavailable
from jobs.trading.desk import Patience
from jobs.trading.flatten import Flattened, flatten


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
