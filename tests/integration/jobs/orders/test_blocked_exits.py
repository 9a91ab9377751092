"""Exits that the market or the exchange does not let through: they go on, and a person hears."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fixtures.trading import BTC, PRICE, Trading
from sqlalchemy import select

from jobs.core.errors import Refused, Unavailable
from jobs.core.job import Incident, Slot
from jobs.domain.due_exits import DueExit
from jobs.orders.account import Patience
from jobs.orders.exit_run import ExitRun
from jobs.store import due_exits as due_store
from jobs.store.listing import Page, list_positions
from jobs.store.tables import due_exits
from jobs.store.vitals import order_vitals
from jobs.upbit.wire import Order, OrderRequest

ETH = "KRW-ETH"
BLOCKED = f"exit_blocked:{BTC}"


async def hold(trading: Trading, market: str = BTC) -> None:
    await trading.signal("buy", market)
    await trading.run()
    assert (await trading.holding(market)).volume > 0


async def due(trading: Trading, market: str = BTC) -> DueExit | None:
    async with trading.db.begin() as conn:
        return (await due_store.read(conn, "live")).get(market)


def refuse_sales(trading: Trading, name: str) -> None:
    """Let the exchange refuse every sale by `name`, whatever its form."""
    real = trading.venue._enter

    def enter(request: OrderRequest) -> Order:
        if request.side == "ask":
            raise Refused("no", name=name, status=400)
        return real(request)

    trading.venue._enter = enter  # type: ignore[method-assign]  # a fault of the exchange


def accept_sales(trading: Trading) -> None:
    del trading.venue._enter


def incident(trading: Trading, key: str = BLOCKED) -> Incident:
    return trading.alerts.open[key]


async def test_a_sale_that_is_refused_again_and_again_is_told_and_ended_by_the_sale(
    trading: Trading,
) -> None:
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    assert BLOCKED not in trading.alerts.open
    await trading.run(after_s=10)
    told = incident(trading)
    assert (told.kind, told.severity, told.market) == ("exit_blocked", "critical", BTC)
    newest = (await trading.orders())[-1]
    assert (told.order_id, told.identifier) == (newest.id, newest.identifier)
    assert "the exchange refused the sale: volume_too_large" in told.message
    assert told.advice
    for _ in range(5):
        await trading.run(after_s=10)
    assert len([each for each in trading.alerts.told if each.kind == "exit_blocked"]) == 1
    accept_sales(trading)
    for _ in range(6):  # smaller orders first, each accepted one twice the size of the last
        await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    assert BLOCKED in trading.alerts.resolved
    assert await due(trading) is None
    await trading.assert_books_agree()


async def test_every_attempt_is_another_order_until_forms_are_used_up(trading: Trading) -> None:
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(8):
        await trading.run(after_s=10)
    sales = [o for o in await trading.orders() if o.side == "ask"]
    written = [(o.ord_type, o.price, o.volume) for o in sales]
    assert len(set(written)) == len(written) == 8
    await trading.run(after_s=10)  # now it would be the same again: after a minute
    assert len([o for o in await trading.orders() if o.side == "ask"]) == 8


async def test_refused_orders_use_up_no_orders_of_the_day(trading: Trading) -> None:
    await trading.set(max_orders_per_day=2)
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 94 // 100)
    for _ in range(4):
        await trading.run(after_s=10)
    entry = await trading.signal("buy", ETH)
    await trading.run(after_s=10)
    assert (await trading.signal_status(entry))[0] == "executed"


async def test_a_stop_in_a_market_under_maintenance_is_told_and_sold_when_it_is_back(
    trading: Trading,
) -> None:
    await hold(trading)
    trading.venue.offline = {BTC}
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(7):
        await trading.run(after_s=10)
    told = incident(trading)
    assert "the market is offline (maintenance)" in told.message
    assert "maintenance" in (told.advice or "")
    assert len([o for o in await trading.orders() if o.side == "ask"]) == 1
    trading.venue.offline = set()
    await trading.run(after_s=31)
    (sale,) = [o for o in await trading.orders() if o.side == "ask" and o.state != "refused"]
    # maintenance says nothing of the form: the reopened book is met with the closest bound
    assert sale.price == PRICE * 90 // 100 * 97 // 100
    assert BLOCKED in trading.alerts.resolved


async def test_a_thin_book_is_sold_into_piece_by_piece(trading: Trading) -> None:
    await hold(trading)
    low = int(PRICE * 90 // 100)
    trading.venue.price[BTC] = Decimal(low)
    trading.venue.show([(low, "0.002"), (low * 98 // 100, "0.001")])
    await trading.run(after_s=10)
    sold = [o.executed_volume for o in await trading.orders() if o.side == "ask"]
    assert sold == [Decimal("0.003")]
    trading.venue.show([(low, "0.002")])
    await trading.run(after_s=10)
    assert BLOCKED in trading.alerts.open  # two attempts, and still held
    trading.venue.show([(low, "1")])
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    assert BLOCKED in trading.alerts.resolved
    await trading.assert_books_agree()


async def test_a_stop_under_an_empty_book_waits_and_is_told(trading: Trading) -> None:
    await hold(trading)
    trading.venue.price[BTC] = PRICE * 90 // 100
    trading.venue.show([])
    for _ in range(9):
        await trading.run(after_s=10)
    assert "nobody buys" in incident(trading).message
    assert len(trading.venue.posts) == 1
    trading.venue.books.clear()
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0


async def test_a_limit_only_market_is_left_by_limit_orders(trading: Trading) -> None:
    await hold(trading)
    trading.venue.ask_types = ("limit",)
    trading.view._chances.clear()
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    sale = (await trading.orders())[1]
    assert (sale.ord_type, sale.time_in_force, sale.state) == ("limit", None, "done")
    assert (await trading.holding()).volume == 0


@pytest.mark.parametrize("kind", ["stop_loss", "take_profit"])
async def test_one_false_last_trade_sells_nothing(trading: Trading, kind: str) -> None:
    await hold(trading)
    price = int(PRICE)
    trading.venue.show([(price, "1000")])
    trading.venue.price[BTC] = PRICE * (33 if kind == "stop_loss" else 300) // 100
    for _ in range(3):
        await trading.run(after_s=10)
    assert len(await trading.orders()) == 1


async def test_a_swept_book_sells_nothing_while_the_market_trades_higher(trading: Trading) -> None:
    await hold(trading)
    trading.venue.show([(int(PRICE) // 3, "1000")])
    for _ in range(3):
        await trading.run(after_s=10)
    assert len(await trading.orders()) == 1


async def test_a_false_high_moves_no_trailing_stop(trading: Trading) -> None:
    await trading.set(trailing_stop_pct=3, take_profit_pct=0)
    await hold(trading)
    trading.venue.show([(int(PRICE), "1000")])
    trading.venue.price[BTC] = PRICE * 3
    await trading.run(after_s=10)
    assert (await trading.holding()).high_price == PRICE
    trading.venue.quote(PRICE)
    await trading.run(after_s=10)
    assert len(await trading.orders()) == 1


async def test_without_order_books_two_looks_decide(trading: Trading) -> None:
    await hold(trading)

    async def no_books(markets: Any) -> Any:
        raise Unavailable("no order books")

    trading.venue.orderbooks = no_books  # type: ignore[method-assign]  # that endpoint is away
    for percent, orders in [(33, 1), (100, 1), (90, 1), (90, 2)]:
        trading.venue.quote(PRICE * percent // 100)
        with pytest.raises(Unavailable):
            await trading.run(after_s=10)
        assert len(await trading.orders()) == orders, percent


async def test_a_stored_price_and_the_look_before_a_ban_sell(trading: Trading) -> None:
    """Banned from quotation every pass sees the same stored price: the look before stands by it."""
    await hold(trading)
    trading.venue.quote(PRICE * 97 // 100)
    await trading.run(after_s=10)

    async def banned(markets: Any) -> Any:
        raise Unavailable("no quotation")

    trading.venue.tickers = banned  # type: ignore[method-assign]  # that side is banned
    trading.venue.orderbooks = banned  # type: ignore[method-assign]
    await trading.collect(BTC, age_s=-5)
    for number, (stop_loss_pct, orders) in enumerate([(5, 1), (5, 1), (1, 2)]):
        await trading.set(stop_loss_pct=stop_loss_pct)
        trading.clock.now += timedelta(seconds=10)
        slot = Slot(job="orders", scheduled_at=trading.clock.now, run_id=f"banned-{number}")
        with pytest.raises(Unavailable):
            await trading.job.run(slot)
        assert len(await trading.orders()) == orders, stop_loss_pct
    assert (await trading.holding()).volume == 0


async def test_a_swept_ask_side_is_not_bought(trading: Trading) -> None:
    """The finding's own figures: last price 100 M, book 33 M / 300 M."""
    price = int(PRICE)
    trading.venue.show([(price // 3, "1000")], [(price * 3, "1000")])
    for style in ("limit", "market", "best"):
        await trading.set(entry_order=style)
        signal = await trading.signal("buy")
        await trading.run(after_s=10)
        assert await trading.signal_status(signal) == ("new", None)
    assert trading.venue.posts == []
    trading.venue.books.clear()
    await trading.run(after_s=10)
    assert (await trading.holding()).volume > 0


async def test_a_sell_signal_is_carried_through_to_the_end(trading: Trading) -> None:
    await hold(trading)
    trading.venue.show([(int(PRICE), "0.004")])
    signal = await trading.signal("sell")
    await trading.run(after_s=60)
    assert (await trading.signal_status(signal))[0] == "executed"
    assert (await trading.holding()).volume > 0
    trading.restarted()
    trading.venue.books.clear()
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    assert [o.purpose for o in await trading.orders()] == ["entry", "exit", "exit"]
    assert await due(trading) is None
    await trading.assert_books_agree()


async def test_what_a_signal_has_begun_to_sell_is_tied_to_no_price(trading: Trading) -> None:
    await hold(trading)
    trading.venue.show([(int(PRICE), "0.004")])
    await trading.signal("sell")
    await trading.run(after_s=60)
    low = int(PRICE) * 90 // 100
    trading.venue.price[BTC] = Decimal(low)
    trading.venue.show([(low, "0.001")])
    await trading.run(after_s=10)  # a stop-loss is due as well
    trading.venue.price[BTC] = PRICE
    trading.venue.show([(int(PRICE), "1000")])
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    assert {o.purpose for o in await trading.orders()} == {"entry", "exit"}


async def test_a_pass_that_is_cut_off_does_not_keep_the_alert_back(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold(trading)
    refuse_sales(trading, "create_ask_error")
    trading.venue.quote(PRICE * 90 // 100)

    async def cut_off(_: ExitRun) -> None:
        raise TimeoutError

    monkeypatch.setattr(ExitRun, "settle", cut_off)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await trading.run(after_s=10)
    assert BLOCKED not in trading.alerts.open
    with pytest.raises(TimeoutError):
        await trading.run(after_s=10)
    assert BLOCKED in trading.alerts.open


async def test_a_later_opinion_to_buy_ends_an_earlier_one_to_sell(trading: Trading) -> None:
    await hold(trading)
    trading.venue.show([(int(PRICE), "0.004")])
    await trading.signal("sell")
    await trading.run(after_s=60)
    trading.venue.show([])
    await trading.signal("buy")
    await trading.run(after_s=10)
    assert await due(trading) is None
    trading.venue.books.clear()
    await trading.run(after_s=10)
    assert (await trading.holding()).volume > 0


async def test_nothing_is_bought_where_a_stop_is_due(trading: Trading) -> None:
    await trading.set(entries_per_position=5, cooldown_s=0)
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    signal = await trading.signal("buy")
    await trading.run(after_s=10)
    assert await trading.signal_status(signal) == ("new", None)
    assert [o.side for o in await trading.orders()].count("bid") == 1


async def test_an_exit_that_nothing_asks_for_any_more_is_no_trouble(trading: Trading) -> None:
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(2):
        await trading.run(after_s=10)
    trading.venue.quote(PRICE)
    await trading.run(after_s=10)
    assert await due(trading) is None
    assert BLOCKED in trading.alerts.resolved


async def test_a_restart_forgets_neither_attempts_nor_the_alert(trading: Trading) -> None:
    await hold(trading)
    refuse_sales(trading, "create_ask_error")
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    trading.restarted()
    await trading.run(after_s=10)
    assert BLOCKED in trading.alerts.open
    found = await due(trading)
    assert found is not None
    assert (found.attempts, found.rung) == (2, 2)
    trading.restarted()
    accept_sales(trading)
    await trading.run(after_s=10)
    assert BLOCKED in trading.alerts.resolved


async def test_a_remainder_too_small_to_sell_is_told_once_and_is_no_blocked_exit(
    trading: Trading,
) -> None:
    await hold(trading)
    trading.venue.quote(PRICE / 2500)
    for _ in range(4):
        await trading.run(after_s=10)
    told = [each for each in trading.alerts.told if each.kind == "exit_blocked"]
    assert [(each.severity, each.market) for each in told] == [("warning", BTC)]
    found = await due(trading)
    assert found is not None
    assert found.blocked_at is None
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    assert BLOCKED in trading.alerts.resolved


async def test_halting_is_no_blocked_exit(trading: Trading) -> None:
    await hold(trading)
    await trading.set(halted="all")
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(9):
        await trading.run(after_s=10)
    assert BLOCKED not in trading.alerts.open
    async with trading.db.begin() as conn:
        assert (await conn.execute(select(due_exits))).all() == []


async def test_an_unanswered_sale_that_stays_so_is_told(trading: Trading) -> None:
    await hold(trading)
    trading.restarted(patience=Patience(over_s=3600))
    trading.venue.troubles = ["never_arrived"]
    trading.venue.quote(PRICE * 90 // 100)
    for _ in range(8):
        await trading.run(after_s=10)
    assert "sells it already and is unknown" in incident(trading).message


async def test_health_is_told_of_blocked_exits_and_of_how_long_orders_may_rest(
    trading: Trading,
) -> None:
    await trading.set(order_timeout_s=7200)
    await hold(trading)
    refuse_sales(trading, "volume_too_large")
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    assert list((await order_vitals(trading.db, "live")).blocked) == []
    await trading.run(after_s=10)
    vitals = await order_vitals(trading.db, "live")
    (blocked,) = vitals.blocked
    assert (blocked.market, blocked.purpose, blocked.attempts) == (BTC, "stop_loss", 2)
    assert blocked.cause == "the exchange refused the sale: volume_too_large"
    assert vitals.settings.order_timeout_s == 7200
    assert list((await order_vitals(trading.db, "paper")).blocked) == []
    accept_sales(trading)
    await trading.run(after_s=10)
    assert list((await order_vitals(trading.db, "live")).blocked) == []


async def test_positions_name_what_is_to_be_sold_and_what_is_too_small(trading: Trading) -> None:
    await hold(trading)
    (row,) = await list_positions(trading.db, Page(), mode="live")
    assert (row.exit_due, row.is_dust) == (None, False)
    refuse_sales(trading, "create_ask_error")
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    (row,) = await list_positions(trading.db, Page(), mode="live")
    assert row.exit_due == "stop_loss: the exchange refused the sale: create_ask_error"
    accept_sales(trading)
    trading.venue.quote(PRICE / 2500)
    await trading.run(after_s=10)
    (row,) = await list_positions(trading.db, Page(), mode="live")
    assert row.is_dust
    assert row.exit_due == "stop_loss: what is left is worth less than the exchange's minimum"
