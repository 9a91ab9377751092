"""Others sell, lock or take the daemon's coins: the books follow, and a person hears of it once."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

import pytest
from fixtures.trading import BTC, FEE, PRICE, START_KRW, Killed, Trading, sell_by_hand
from sqlalchemy import select, text

from jobs.core.errors import BadData, Unavailable
from jobs.domain.ledger import Fill
from jobs.orders.foreign import why_locked
from jobs.orders.reconcile import Report, reconcile
from jobs.store import equity as equity_store
from jobs.store import positions as position_store
from jobs.store.orders import OrderRow
from jobs.store.tables import fills
from jobs.upbit.wire import Order, OrderRequest

ETH = "KRW-ETH"


async def compare(trading: Trading) -> Report:
    return await reconcile(trading.desk, trading.job.standing, timeout_s=60, deep=True)


async def hold(trading: Trading, market: str = BTC) -> Decimal:
    await trading.signal("buy", market)
    await trading.run()
    volume = (await trading.holding(market)).volume
    assert volume > 0
    await trading.clock.sleep(60)
    return volume


async def stored_fills(trading: Trading, order: OrderRow) -> list[Fill]:
    async with trading.db.begin() as conn:
        return [each.fill for each in await position_store.fills_of(conn, order.id)]


async def foreign_orders(trading: Trading) -> list[OrderRow]:
    return [order for order in await trading.orders() if order.purpose == "foreign"]


async def test_a_foreign_sale_is_booked_with_its_price_and_fee(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.quote(PRICE * 102 // 100)
    sold = sell_by_hand(trading, volume)
    report = await compare(trading)
    assert report.fits
    (order,) = await foreign_orders(trading)
    assert (order.uuid, order.side, order.state) == (sold.uuid, "ask", "done")
    assert order.executed_volume == volume
    assert order.paid_fee == order.executed_funds * FEE
    assert (await trading.holding()).volume == 0
    assert await trading.kinds(order) == ["foreign"]
    (told,) = trading.alerts.told
    assert (told.kind, told.market, told.order_id) == ("foreign_sale", BTC, order.id)
    async with trading.db.begin() as conn:
        realized = sum((await conn.execute(select(fills.c.realized_krw))).scalars(), Decimal(0))
    assert trading.venue.total("KRW") == START_KRW + realized


async def test_a_foreign_sale_is_told_once_and_booked_once(trading: Trading) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)
    for _ in range(3):
        await compare(trading)
    trading.restarted()
    assert (await compare(trading)).fits
    assert len(await foreign_orders(trading)) == 1
    assert [(each.kind, each.is_event) for each in trading.alerts.told] == [("foreign_sale", True)]
    assert trading.alerts.resolved == []  # nothing recovers from it


async def test_a_partial_sale_leaves_the_rest_to_the_exits(trading: Trading) -> None:
    volume = await hold(trading)
    part = volume / 4
    sell_by_hand(trading, part)
    assert (await compare(trading)).fits
    assert (await trading.holding()).volume == volume - part
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    assert [o.purpose for o in await trading.orders()][-1] == "stop_loss"
    assert (await trading.orders())[-1].volume == volume - part
    assert (await trading.holding()).volume == trading.venue.total("BTC") == 0


async def test_the_users_own_coins_are_sold_first(trading: Trading) -> None:
    """0.01 of the daemon's and 1 of the user's own: the sale takes only 0.004 of the former."""
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sell_by_hand(trading, Decimal(1) + Decimal("0.004"))
    assert (await compare(trading)).fits
    (order,) = await foreign_orders(trading)
    (fill,) = await stored_fills(trading, order)
    assert (fill.volume, fill.funds) == (Decimal("0.004"), Decimal("0.004") * PRICE)
    assert fill.fee == fill.funds * FEE
    assert (await trading.holding()).volume == volume - Decimal("0.004")


async def test_a_sale_of_the_users_own_coins_is_none_of_ours(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sell_by_hand(trading, Decimal(1))
    await trading.clock.sleep(6)
    assert (await compare(trading)).fits
    assert await foreign_orders(trading) == []
    assert (await trading.holding()).volume == volume
    # and does not explain coins that are gone later
    await trading.clock.sleep(600)
    trading.venue.engine.ledger.credit("BTC", -volume)
    report = await compare(trading)
    assert [each.about for each in report.mismatches] == ["balance:KRW-BTC"]
    assert await foreign_orders(trading) == []


async def test_after_a_restart_an_older_sale_explains_nothing(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sell_by_hand(trading, Decimal(1))
    await trading.clock.sleep(6)
    await compare(trading)
    await trading.clock.sleep(600)
    trading.venue.engine.ledger.credit("BTC", -volume)
    trading.restarted()
    assert not (await compare(trading)).fits
    assert await foreign_orders(trading) == []


async def test_several_sales_are_booked_newest_first(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sell_by_hand(trading, Decimal(1))
    await trading.clock.sleep(5)
    trading.venue.quote(PRICE * 101 // 100)
    sell_by_hand(trading, volume / 2)
    assert (await compare(trading)).fits
    (order,) = await foreign_orders(trading)
    assert order.executed_funds == volume / 2 * (PRICE * 101 // 100)
    assert (await trading.holding()).volume == volume / 2


async def test_what_no_sale_explains_is_a_mismatch_with_advice(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", -volume)  # withdrawn, staked or renamed
    report = await compare(trading)
    assert [each.about for each in report.mismatches] == ["balance:KRW-BTC"]
    (told,) = trading.alerts.told
    assert (told.kind, told.market) == ("reconcile_mismatch", BTC)
    assert "upbitd positions settle KRW-BTC" in (told.advice or "")


async def test_phantom_coins_neither_sell_nor_take_a_place_nor_lose(trading: Trading) -> None:
    await trading.set(max_open_positions=1, daily_loss_limit_krw=50_000, cooldown_s=0)
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", -volume)
    trading.venue.quote(PRICE // 2)
    for _ in range(20):
        await trading.run(after_s=10)
    assert [post.side for post in trading.venue.posts] == ["bid"]
    signal = await trading.signal("buy", ETH)
    await trading.run(after_s=10)
    assert (await trading.signal_status(signal))[0] == "executed"
    async with trading.db.begin() as conn:
        row = await equity_store.newest(conn, "live")
    assert row is not None
    assert row.cash_krw + row.positions_krw > START_KRW * 89 // 100
    assert row.pnl_krw > -10_000


async def test_a_manual_sale_is_found_in_the_next_passes(trading: Trading) -> None:
    """Not only every five minutes: what is worth a look each minute shows that coins are gone."""
    volume = await hold(trading)
    await trading.run(after_s=10)
    sell_by_hand(trading, volume)
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)  # the stop-loss is due
    await trading.run(after_s=10)
    assert len(await foreign_orders(trading)) == 1
    assert [post.side for post in trading.venue.posts] == ["bid"]


async def test_a_manual_sale_while_our_own_sale_is_open(trading: Trading) -> None:
    await trading.set(exit_order="limit", order_timeout_s=3600)
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", volume)  # the user's own
    trading.venue.depth = volume / 4
    trading.venue.quote(PRICE)
    await trading.signal("sell")
    await trading.run()
    assert (await trading.orders())[-1].state == "wait"
    sell_by_hand(trading, volume, limit=PRICE * 2)  # waits as well: nothing is missing
    assert (await compare(trading)).fits
    assert await foreign_orders(trading) == []
    await trading.settle_down()
    assert (await compare(trading)).fits


async def test_an_order_of_the_user_that_locks_coins_is_named(trading: Trading) -> None:
    volume = await hold(trading)
    assert await why_locked(trading.desk, BTC) is None
    resting = sell_by_hand(trading, volume, limit=PRICE * 2)
    said = await why_locked(trading.desk, BTC)
    assert said == f"locked by orders that are not the daemon's: {volume:f} by {resting.uuid}"
    signal = await trading.signal("sell")
    await trading.run(after_s=10)
    status = await trading.signal_status(signal)
    assert status == ("refused", f"{volume:f} are locked by orders that are not the daemon's")
    assert [post.side for post in trading.venue.posts] == ["bid"]


async def test_a_sale_of_another_bot_counts_as_foreign(trading: Trading) -> None:
    volume = await hold(trading)
    request = OrderRequest(
        market=BTC, side="ask", ord_type="market", identifier="other-bot-1", volume=volume
    )
    engine, now = trading.venue.engine, trading.clock()
    engine.place(request, now=now, book=trading.venue._book(BTC))
    engine.fill_due(now)
    assert (await compare(trading)).fits
    assert len(await foreign_orders(trading)) == 1


async def test_a_foreign_sale_counts_in_no_limit_of_the_day(trading: Trading) -> None:
    await trading.set(max_orders_per_day=2, cooldown_s=0)
    volume = await hold(trading)
    sell_by_hand(trading, volume)
    await compare(trading)
    signal = await trading.signal("buy", ETH)
    await trading.run(after_s=10)
    assert (await trading.signal_status(signal))[0] == "executed"


async def test_a_list_that_cannot_be_read_explains_nothing(trading: Trading) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)

    async def broken(market: str, start: datetime) -> list[Order]:
        raise BadData("no list of orders", market=market, start=start)

    real, trading.venue.closed_orders = trading.venue.closed_orders, broken  # type: ignore[method-assign]
    assert [m.about for m in (await compare(trading)).mismatches] == ["balance:KRW-BTC"]
    trading.venue.closed_orders = real  # type: ignore[method-assign]
    assert (await compare(trading)).fits


async def test_an_exchange_that_is_away_in_between_changes_nothing(trading: Trading) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)

    async def away(market: str, start: datetime) -> list[Order]:
        raise Unavailable("502", market=market, start=start)

    trading.venue.closed_orders = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await compare(trading)
    assert (await trading.holding()).volume == volume


async def test_two_processes_book_a_sale_once(trading: Trading) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)
    await compare(trading)
    async with trading.db.engine.begin() as conn:  # the other one still believes in the coins
        await conn.execute(text("UPDATE positions SET volume = 0.01, avg_price = 1"))
    report = await compare(trading)
    assert len(await foreign_orders(trading)) == 1
    assert not report.fits


async def test_the_paper_account_keeps_itself_to_itself(trading: Trading) -> None:
    """In paper mode the venue is the daemon's own: what the books hold is there."""
    await hold(trading)
    desk = replace(trading.desk, mode="paper")
    assert (await reconcile(desk, trading.job.standing, timeout_s=60)).fits


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_process_that_dies_while_booking_loses_and_doubles_nothing(
    trading: Trading, side: Literal["before", "after"]
) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)
    died = 0
    for number in range(1, 40):
        trading.db.revive(kill_at=(number, side))
        try:
            await compare(trading)
        except Killed:
            died += 1
            trading.restarted()
            continue
        break
    trading.db.revive()
    assert died > 3
    assert (await compare(trading)).fits
    assert len(await foreign_orders(trading)) == 1
    assert (await trading.holding()).volume == 0
    assert {each.incident for each in trading.alerts.told if each.kind == "foreign_sale"} == {
        f"foreign_sale:{(await foreign_orders(trading))[0].identifier}"
    }


async def test_an_exit_that_the_users_order_blocks_names_that_order(trading: Trading) -> None:
    volume = await hold(trading)
    resting = sell_by_hand(trading, volume, limit=PRICE * 2)
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(9):
        await trading.run(after_s=10)
    (told,) = [each for each in trading.alerts.told if each.kind == "exit_blocked"]
    assert resting.uuid in told.message
    assert [post.side for post in trading.venue.posts] == ["bid"]
    trading.venue.engine.cancel_at_once(resting.uuid, now=trading.clock())
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
