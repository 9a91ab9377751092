"""The orders job: one pass after the other against a venue with a ledger."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from fixtures.trading import BTC, PRICE, START, START_KRW, Trading
from sqlalchemy import insert, select

from jobs.core.errors import BadData, Banned, NotSent, RateLimited, Unavailable
from jobs.domain.ceilings import Ceilings
from jobs.store import equity as equity_store
from jobs.store import positions as position_store
from jobs.store.tables import equity, settings
from jobs.upbit.wire import Chance, Order

if TYPE_CHECKING:
    from loguru import Record

ETH, XRP = "KRW-ETH", "KRW-XRP"


async def hold(trading: Trading, market: str = BTC) -> None:
    await trading.signal("buy", market)
    await trading.run()
    assert (await trading.holding(market)).volume > 0


# -- signals -----------------------------------------------------------------------------------


async def test_a_signal_becomes_an_order_its_fills_and_a_position(trading: Trading) -> None:
    signal = await trading.signal("buy")
    assert await trading.run() > 0
    order = await trading.only_order()
    assert (order.state, order.purpose, order.signal_id) == ("done", "entry", signal)
    assert await trading.kinds(order) == ["intent", "post", "accepted", "fills", "final"]
    assert await trading.signal_status(signal) == ("executed", f"order {order.identifier}")
    await trading.assert_books_agree()


@pytest.mark.parametrize("style", ["limit", "market", "best"])
async def test_there_and_back_again_leaves_books_that_agree(trading: Trading, style: str) -> None:
    await trading.set(entry_order=style)
    await hold(trading)
    trading.venue.quote(PRICE + 2_000_000)
    await trading.signal("sell")
    await trading.run(after_s=60)
    assert (await trading.holding()).volume == 0
    assert [o.purpose for o in await trading.orders()] == ["entry", "exit"]
    await trading.assert_books_agree()


async def test_a_market_buy_ends_in_cancel_with_fills(trading: Trading) -> None:
    await trading.set(entry_order="market", max_entry_deviation_pct=0)
    trading.venue.quote(Decimal(97_777_000))
    await hold(trading)
    order = await trading.only_order()
    assert (order.ord_type, order.state) == ("price", "cancel")
    assert order.executed_volume > 0
    await trading.assert_books_agree()


async def test_every_end_of_a_signal_has_its_reason(trading: Trading) -> None:
    old = await trading.signal("buy", age_s=301)
    hold_on = await trading.signal("hold", ETH)
    replaced = await trading.signal("buy", XRP, age_s=60)
    vague = await trading.signal("buy", XRP, confidence="0.59")
    nothing = await trading.signal("sell", BTC)
    await trading.run()
    assert await trading.signal_status(replaced) == ("expired", "replaced by a newer signal")
    assert await trading.signal_status(hold_on) == ("expired", "hold: nothing to do")
    assert await trading.signal_status(vague) == ("refused", "confidence 0.59 is under 0.6")
    assert await trading.signal_status(nothing) == (
        "refused",
        "nothing is held that is not already being sold",
    )
    assert (await trading.signal_status(old))[0] == "expired"
    assert await trading.orders() == []


async def test_an_old_signal_expires_with_its_age(trading: Trading) -> None:
    old = await trading.signal("buy", age_s=301)
    await trading.run()
    assert await trading.signal_status(old) == (
        "expired",
        "the signal is 301 s old, limit 300 s",
    )


async def test_sales_come_before_purchases_and_the_most_confident_first(trading: Trading) -> None:
    await hold(trading)
    await trading.signal("buy", ETH, confidence="0.7")
    await trading.signal("buy", XRP, confidence="0.9")
    await trading.signal("sell", BTC, confidence="0.61")
    await trading.run(after_s=60)
    assert [o.market for o in await trading.orders()] == [BTC, BTC, XRP, ETH]


async def test_a_refusal_that_may_pass_leaves_the_signal_new(trading: Trading) -> None:
    signal = await trading.signal("buy")
    trading.clock.now += timedelta(seconds=200)
    trading.venue.price.pop(BTC)  # the market job has nothing new of it
    trading.venue.quotes_down = Unavailable("no quotes")
    with pytest.raises(Unavailable):
        await trading.run()
    assert await trading.signal_status(signal) == ("new", None)


async def test_stale_data_closes_a_market_until_it_is_fresh(trading: Trading) -> None:
    trading.view = replace(trading.view, data_max_age_s=5)
    trading.job = replace(trading.job, view=trading.view)
    signal = await trading.signal("buy")
    real = trading.collect

    async def nothing(market: str, *, age_s: float = 0) -> int:
        return 0

    trading.collect = nothing  # type: ignore[method-assign]  # the market job stands still
    await trading.run(after_s=10)
    assert await trading.signal_status(signal) == ("new", None)
    assert trading.venue.posts == []
    trading.collect = real  # type: ignore[method-assign]  # and goes on
    await trading.run()
    assert (await trading.signal_status(signal))[0] == "executed"


async def test_a_stored_setting_above_its_ceiling_buys_no_more(trading: Trading) -> None:
    ceilings = Ceilings(max_position_krw=Decimal(20_000), max_orders_per_day=1)
    desk = replace(trading.desk, ceilings=ceilings)
    trading.job = replace(trading.job, desk=desk)
    await trading.set(max_position_krw=10**12, max_orders_per_day=1000, cooldown_s=0)
    await trading.signal("buy")
    await trading.run()
    await trading.signal("buy", ETH)
    await trading.run(after_s=10)
    (order,) = await trading.orders()
    assert order.price is not None
    assert order.volume is not None
    assert order.price * order.volume <= 20_000
    assert "risk_limit_hit:max_orders_per_day" in trading.alerts.open


async def test_the_same_pass_again_does_nothing_more(trading: Trading) -> None:
    await hold(trading)
    before = await trading.orders()
    for _ in range(5):
        await trading.run(after_s=10)
    assert await trading.orders() == before
    assert len(trading.venue.posts) == 1


async def test_risk_stays_below_its_limits_over_many_signals(trading: Trading) -> None:
    await trading.set(max_orders_per_day=3, cooldown_s=0, position_size_pct=1)
    for number in range(6):
        await trading.signal("buy" if number % 2 == 0 else "sell", ETH)
        await trading.run(after_s=10)
    # exits are not stopped by the day's count, entries are
    assert [o.side for o in await trading.orders()] == ["bid", "ask", "bid", "ask"]
    (told,) = trading.alerts.open.values()
    assert (told.incident, told.market) == ("risk_limit_hit:max_orders_per_day", ETH)


async def test_the_count_of_a_day_ends_at_midnight_in_korea(trading: Trading) -> None:
    await trading.set(max_orders_per_day=1)
    trading.clock.now = datetime.fromisoformat("2026-01-05T14:58:00Z")
    await hold(trading)
    refused = await trading.signal("buy", ETH)
    await trading.run()
    assert await trading.signal_status(refused) == ("refused", "1 orders today, limit 1")
    trading.restarted()
    trading.clock.now = datetime.fromisoformat("2026-01-05T15:00:01Z")
    await trading.signal("buy", ETH)
    await trading.run()
    assert (await trading.holding(ETH)).volume > 0


# -- limits that restarts do not reset ---------------------------------------------------------


async def test_the_days_loss_counts_what_is_lost_and_not_yet_realized(trading: Trading) -> None:
    await trading.set(stop_loss_pct=0, daily_loss_limit_krw=50_000)
    await hold(trading)
    trading.venue.quote(PRICE * 95 // 100)
    trading.restarted()
    refused = await trading.signal("buy", ETH)
    await trading.run(after_s=70)
    status, reason = await trading.signal_status(refused)
    assert status == "refused"
    assert reason is not None
    assert reason.startswith("today's loss is 50")
    assert "risk_limit_hit:daily_loss_limit_krw" in trading.alerts.open


async def test_a_new_day_begins_with_the_worth_of_the_evening_before(trading: Trading) -> None:
    await trading.set(stop_loss_pct=0, daily_loss_limit_krw=50_000)
    await hold(trading)
    trading.venue.quote(PRICE * 95 // 100)
    await trading.run(after_s=70)
    trading.clock.now += timedelta(days=1)
    trading.restarted()
    await trading.signal("buy", ETH)
    await trading.run()
    assert (await trading.holding(ETH)).volume > 0


async def hold_half(trading: Trading) -> None:
    """A holding of half the account that no exit sells, with the drawdown as the one limit."""
    await trading.set(
        stop_loss_pct=0,
        take_profit_pct=0,
        daily_loss_limit_krw=0,
        max_drawdown_pct=3,
        position_size_pct=50,
        max_position_krw=10**9,
    )
    await hold(trading)


async def trade_at(trading: Trading, percent: int, *, minutes: int) -> None:
    """The market trades at so much of its first price for so long, looked at each minute."""
    trading.venue.quote(PRICE * percent // 100)
    for _ in range(minutes):
        await trading.run(after_s=60)


async def test_the_drawdown_counts_from_the_highest_profit_that_held(trading: Trading) -> None:
    await hold_half(trading)
    await trade_at(trading, 110, minutes=7)
    trading.venue.quote(PRICE * 103 // 100)
    trading.restarted()
    trading.clock.now += timedelta(days=3)
    refused = await trading.signal("buy", ETH)
    await trading.run()
    status, reason = await trading.signal_status(refused)
    assert (status, reason) == ("refused", "drawdown is 3.33 %, limit 3 %")


@pytest.mark.parametrize("minutes", [1, 2, 5])
async def test_a_spike_is_no_peak(trading: Trading, minutes: int) -> None:
    """70 % up for a minute and back stopped entries for good (fault E4)."""
    await hold_half(trading)
    await trade_at(trading, 100, minutes=6)
    await trade_at(trading, 170, minutes=minutes)
    await trade_at(trading, 100, minutes=1)
    await trading.signal("buy", ETH)
    await trading.run(after_s=60)
    assert (await trading.holding(ETH)).volume > 0


async def test_a_spike_at_midnight_begins_no_day(trading: Trading) -> None:
    """The day's loss counted from one sample just before midnight in Korea."""
    await hold_half(trading)
    await trading.set(daily_loss_limit_krw=50_000, max_drawdown_pct=0)
    midnight = (START + timedelta(days=1)).replace(hour=15)
    trading.clock.now = midnight - timedelta(minutes=8)
    await trade_at(trading, 100, minutes=6)
    await trade_at(trading, 170, minutes=1)
    await trade_at(trading, 100, minutes=3)
    assert trading.clock.now > midnight
    await trading.signal("buy", ETH)
    await trading.run(after_s=60)
    assert (await trading.holding(ETH)).volume > 0


async def test_the_drawdown_begins_anew_when_a_person_says_so(trading: Trading) -> None:
    await hold_half(trading)
    await trade_at(trading, 110, minutes=7)
    await trade_at(trading, 103, minutes=1)
    refused = await trading.signal("buy", ETH)
    await trading.run(after_s=60)
    assert (await trading.signal_status(refused))[0] == "refused"
    async with trading.db.begin() as conn:
        made = await equity_store.restart_drawdown(conn, "live", by="cli:kim", at=trading.clock())
        again = await equity_store.restart_drawdown(conn, "live", by="cli:kim", at=trading.clock())
        paper = await equity_store.restart_drawdown(conn, "paper", by="cli:kim", at=START)
        last = await equity_store.last_restart(conn, "live")
    assert made is not None
    assert (again, paper, last) == (None, None, made)
    assert (made.restarted_by, made.restarted_at) == ("cli:kim", trading.clock())
    assert made.peak_after_krw < made.peak_before_krw
    assert round(made.drawdown_before_pct, 2) == Decimal("3.33")
    await trading.run(after_s=60)
    await trading.signal("buy", ETH)
    await trading.run(after_s=60)
    assert (await trading.holding(ETH)).volume > 0
    await trade_at(trading, 90, minutes=1)  # and it counts from there
    later = await trading.signal("buy", XRP)
    await trading.run(after_s=60)
    status, reason = await trading.signal_status(later)
    assert status == "refused"
    assert (reason or "").startswith("drawdown is")


async def test_deposits_and_withdrawals_are_neither_profit_nor_loss(trading: Trading) -> None:
    await hold(trading)
    trading.venue.engine.ledger.credit("KRW", Decimal(50_000_000))
    await trading.run(after_s=70)
    trading.venue.engine.ledger.credit("KRW", Decimal(-55_000_000))
    await trading.run(after_s=70)
    await trading.signal("buy", ETH)
    await trading.run()
    assert (await trading.holding(ETH)).volume > 0


# -- halted ------------------------------------------------------------------------------------


async def test_halted_stops_everything_new_until_resumed(trading: Trading) -> None:
    await hold(trading)
    await trading.set(halted=True)
    signal = await trading.signal("buy", ETH)
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=70)
    assert len(trading.venue.posts) == 1
    assert (await trading.signal_status(signal))[0] == "refused"
    await trading.set(halted=False)
    await trading.run(after_s=10)
    assert [o.purpose for o in await trading.orders()] == ["entry", "stop_loss"]


async def test_a_halt_of_entries_lets_the_stop_loss_sell(trading: Trading) -> None:
    await hold(trading)
    await trading.set(halted="entries")
    signal = await trading.signal("buy", ETH)
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=70)
    assert "halted (entries) by test" in str((await trading.signal_status(signal))[1])
    assert [o.purpose for o in await trading.orders()] == ["entry", "stop_loss"]


async def test_open_orders_are_followed_while_halted(trading: Trading) -> None:
    trading.venue.depth = Decimal("0.001")
    await trading.signal("buy")
    await trading.run()
    assert (await trading.only_order()).state == "wait"
    await trading.set(halted=True)
    await trading.run(after_s=70)
    assert (await trading.only_order()).state == "cancel"
    await trading.assert_books_agree()


# -- exits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "purpose"), [(95, "stop_loss"), (110, "take_profit"), (96, None)]
)
async def test_exits_need_no_signal(trading: Trading, percent: int, purpose: str | None) -> None:
    await hold(trading)
    trading.venue.quote(PRICE * percent // 100)
    await trading.run(after_s=10)
    found = [o.purpose for o in (await trading.orders())[1:]]
    assert found == ([] if purpose is None else [purpose])
    await trading.assert_books_agree()


async def test_the_highest_price_survives_a_restart_and_trails(trading: Trading) -> None:
    await trading.set(trailing_stop_pct=3, take_profit_pct=0)
    await hold(trading)
    trading.venue.quote(PRICE * 108 // 100)
    await trading.run(after_s=10)
    assert (await trading.holding()).high_price == PRICE * 108 // 100
    trading.restarted()
    trading.venue.quote(PRICE * 104 // 100)
    await trading.run(after_s=10)
    assert (await trading.orders())[1].purpose == "trailing_stop"


async def test_a_high_is_remembered_only_of_a_price_that_was_asked_for(trading: Trading) -> None:
    await trading.set(trailing_stop_pct=3, take_profit_pct=0)
    await hold(trading)
    trading.venue.quotes_down = Unavailable("no quotes")
    trading.venue.price[BTC] = PRICE * 2  # stored, young, and never seen by this pass
    with pytest.raises(Unavailable):
        await trading.run(after_s=10)
    assert (await trading.holding()).high_price == PRICE


async def test_an_exit_works_on_stale_quotes_of_the_market_job(trading: Trading) -> None:
    """The venue's quotes are away; the stored price is young enough."""
    await hold(trading)
    trading.venue.quote(PRICE * 90 // 100)
    trading.venue.quotes_down = Unavailable("no quotes")
    with pytest.raises(Unavailable):
        await trading.run(after_s=10)
    assert len(await trading.orders()) == 1  # one figure alone sells nothing
    with pytest.raises(Unavailable):
        await trading.run(after_s=10)
    assert (await trading.orders())[1].purpose == "stop_loss"


async def test_an_exit_waits_for_neither_balances_nor_order_rules(trading: Trading) -> None:
    await hold(trading)
    trading.restarted()
    await trading.run()
    trading.view._chances.clear()
    trading.venue.quote(PRICE * 90 // 100)
    trading.venue.down = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await trading.run(after_s=10)
    trading.venue.down = None
    await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
    await trading.assert_books_agree()


async def test_an_exit_first_cancels_the_bid_that_would_buy_again(trading: Trading) -> None:
    await trading.set(order_timeout_s=3600)
    trading.venue.depth = Decimal("0.004")
    await trading.signal("buy")
    await trading.run()
    trading.venue.depth = Decimal(1000)
    real = trading.venue.quote
    trading.venue.price[BTC] = PRICE * 110 // 100
    await trading.run(after_s=10)
    assert [(o.side, o.state) for o in await trading.orders()] == [
        ("bid", "cancel"),
        ("ask", "done"),
    ]
    real(PRICE)
    await trading.run(after_s=10)
    await trading.assert_books_agree()
    assert trading.venue.total("BTC") == 0


async def test_dust_is_explained_once(trading: Trading, log_records: "list[Record]") -> None:
    await hold(trading)
    trading.venue.quote(PRICE / 1000)
    for _ in range(3):
        await trading.run(after_s=10)
    refused = [r for r in log_records if r["extra"].get("event") == "risk.refused"]
    assert [r["extra"]["limit"] for r in refused] == ["dust"]
    assert len(trading.venue.posts) == 1


async def test_a_venue_that_refuses_a_sale_is_not_asked_every_ten_seconds(
    trading: Trading,
) -> None:
    await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal("-0.005"))
    trading.venue.quote(PRICE * 90 // 100)
    trading.venue.troubles = ["refused"]
    for _ in range(6):
        await trading.run(after_s=10)
    assert len(trading.venue.posts) == 2
    await trading.run(after_s=10)
    assert len(trading.venue.posts) == 3


# -- trouble -----------------------------------------------------------------------------------


async def test_one_markets_trouble_never_stops_the_others(trading: Trading) -> None:
    trading.venue.troubles = ["not_sent", "refused"]
    first = await trading.signal("buy", BTC, confidence="0.9")
    await trading.signal("buy", ETH, confidence="0.8")
    await trading.signal("buy", XRP, confidence="0.7")
    with pytest.raises(NotSent):
        await trading.run()
    assert {o.market: o.state for o in await trading.orders()} == {
        BTC: "refused",
        ETH: "refused",
        XRP: "done",
    }
    assert await trading.signal_status(first) == ("new", None)


async def test_after_not_sent_the_next_pass_tries_with_a_new_intent(trading: Trading) -> None:
    trading.venue.troubles = ["not_sent"]
    signal = await trading.signal("buy")
    with pytest.raises(NotSent):
        await trading.run()
    await trading.run(after_s=1)
    first, second = await trading.orders()
    assert first.identifier != second.identifier
    assert (first.state, second.state) == ("refused", "done")
    assert (await trading.signal_status(signal))[0] == "executed"


@pytest.mark.parametrize(("trouble", "error"), [("rate_limited", RateLimited), ("banned", Banned)])
async def test_a_servers_wait_reaches_the_runner(
    trading: Trading, trouble: str, error: type[Exception]
) -> None:
    trading.venue.troubles = [trouble]  # type: ignore[list-item]  # one of the two
    await trading.signal("buy")
    with pytest.raises(error):
        await trading.run()


async def test_an_unknown_order_keeps_its_market_closed_and_only_its_own(trading: Trading) -> None:
    trading.desk = trading.restarted(exchange=trading.venue).desk
    trading.venue.troubles = ["never_arrived"]
    await trading.signal("buy", BTC)
    await trading.run()
    waiting = await trading.signal("buy", BTC)
    await trading.signal("buy", ETH)
    await trading.run(after_s=1)
    assert {o.market: o.state for o in await trading.orders()} == {BTC: "unknown", ETH: "done"}
    assert await trading.signal_status(waiting) == ("new", None)


async def test_an_order_that_never_arrived_is_tried_again_while_the_signal_is_fresh(
    trading: Trading,
) -> None:
    trading.venue.troubles = ["never_arrived"]
    signal = await trading.signal("buy")
    await trading.run()
    await trading.run(after_s=10)
    first, second = await trading.orders()
    assert (first.state, second.state) == ("refused", "done")
    assert (await trading.signal_status(signal))[0] == "executed"
    await trading.assert_books_agree()


async def test_a_run_cut_off_while_sending_doubles_nothing(trading: Trading) -> None:
    trading.venue.troubles = ["hang_after"]
    placed = asyncio.Event()
    trading.venue.after_post = placed.set
    await trading.signal("buy")
    task = asyncio.create_task(trading.run())
    await placed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await trading.run(after_s=10)
    assert len(trading.venue.posts) == 1
    assert (await trading.only_order()).state == "done"
    await trading.assert_books_agree()


async def test_permanent_trouble_is_raised_when_there_is_no_transient_one(
    trading: Trading,
) -> None:
    async def broken(market: str) -> Chance:
        raise BadData("no chance")

    trading.venue.chance = broken  # type: ignore[method-assign]  # rules that cannot be read
    signal = await trading.signal("buy")
    with pytest.raises(BadData):
        await trading.run()
    assert await trading.signal_status(signal) == ("new", None)


async def test_until_the_venue_was_compared_nothing_is_bought(trading: Trading) -> None:
    real = trading.venue.open_orders

    async def silent(market: str | None = None) -> list[Order]:
        raise Unavailable("no answer")

    trading.venue.open_orders = silent  # type: ignore[method-assign]  # the lists are away
    signal = await trading.signal("buy")
    with pytest.raises(Unavailable):
        await trading.run()
    assert trading.venue.posts == []
    assert await trading.signal_status(signal) == ("new", None)
    trading.venue.open_orders = real  # type: ignore[method-assign]  # and back
    await trading.run(after_s=1)
    assert (await trading.signal_status(signal))[0] == "executed"


async def test_a_mismatch_makes_its_market_reduce_only(trading: Trading) -> None:
    await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal("-0.001"))
    waiting = await trading.signal("buy", BTC)
    await trading.run(after_s=300)
    assert await trading.signal_status(waiting) == ("new", None)
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    exit_order = (await trading.orders())[1]
    assert (exit_order.purpose, exit_order.state) == ("stop_loss", "done")
    assert exit_order.executed_volume == (await trading.orders())[0].executed_volume - Decimal(
        "0.001"
    )


async def test_the_venue_is_compared_again_every_five_minutes(trading: Trading) -> None:
    for _ in range(31):
        await trading.run(after_s=10)
    assert trading.venue.calls.count("open_orders") == 2


async def test_a_quiet_pass_asks_the_venue_nothing(trading: Trading) -> None:
    await trading.run()
    trading.venue.calls.clear()
    assert await trading.run(after_s=10) == 0
    assert trading.venue.calls == []


async def test_a_bad_setting_bars_entries_and_neither_exits_nor_following(
    trading: Trading,
) -> None:
    trading.venue.depth = Decimal("0.004")
    await trading.signal("buy")
    await trading.run()
    async with trading.db.begin() as conn:
        await conn.execute(
            insert(settings).values(key="max_position_krw", value="much", updated_by="psql")
        )
    waiting = await trading.signal("buy", ETH)
    trading.venue.depth = Decimal(1000)
    trading.venue.quote(PRICE * 90 // 100)
    with pytest.raises(BadData, match="a setting in the database is bad"):
        await trading.run(after_s=70)
    assert await trading.signal_status(waiting) == ("new", None)
    assert [o.purpose for o in await trading.orders()] == ["entry", "stop_loss"]
    await trading.assert_books_agree()


# -- worth and words ---------------------------------------------------------------------------


async def test_equity_is_kept_once_a_minute_and_after_orders(trading: Trading) -> None:
    for _ in range(7):
        await trading.run(after_s=10)
    await hold(trading)
    async with trading.db.begin() as conn:
        rows = (await conn.execute(select(equity).order_by(equity.c.ts))).all()
    assert [row.ts for row in rows[:2]] == [
        START + timedelta(seconds=10),
        START + timedelta(seconds=70),
    ]
    assert len(rows) == 3
    last = rows[-1]
    assert last.cash_krw + last.positions_krw == START_KRW - (await trading.only_order()).paid_fee
    assert last.pnl_krw == -(await trading.only_order()).paid_fee
    assert last.peak_krw == 0


async def test_each_step_of_an_order_is_a_line_with_its_names(
    trading: Trading, log_records: "list[Record]"
) -> None:
    await hold(trading)
    order = await trading.only_order()
    told = [
        (r["extra"]["event"], r["extra"].get("state"))
        for r in log_records
        if r["extra"].get("identifier") == order.identifier
    ]
    assert told == [
        ("order.intent", None),
        ("order.sent", None),
        ("order.state", "wait"),
        ("order.fill", None),
        ("order.state", "done"),
    ]
    messages = {r["message"] for r in log_records if r["extra"].get("event") == "order.fill"}
    assert messages == {"Order filled"}


async def test_the_other_mode_sees_nothing_of_it(trading: Trading) -> None:
    await hold(trading)
    async with trading.db.begin() as conn:
        assert await position_store.held(conn, "paper") == {}
        assert await equity_store.newest(conn, "paper") is None
        assert await position_store.ledger_differences(conn, "paper") == {}


# -- what is chosen ------------------------------------------------------------------------------


async def test_a_barred_market_takes_no_entry_and_its_sale_goes_on(trading: Trading) -> None:
    """As a held market that left `{top = N}`: the sell signal comes and is carried out."""
    await hold(trading)
    barred: set[str] = {BTC}

    async def why(market: str) -> str | None:
        return "not chosen" if market in barred else None

    trading.job = replace(trading.job, why_no_entry=why)
    buy = await trading.signal("buy")
    await trading.run(after_s=60)
    assert await trading.signal_status(buy) == ("refused", "reduce-only: not chosen")
    assert len(await trading.orders()) == 1
    await trading.signal("sell")
    await trading.run(after_s=60)
    assert (await trading.holding()).volume == 0
    barred.clear()
    await trading.signal("buy")
    await trading.run(after_s=60)
    assert (await trading.holding()).volume > 0


async def test_an_entry_that_waits_when_its_market_is_barred_is_cancelled(trading: Trading) -> None:
    """A warning comes while a post_only bid rests: it may not fill under it."""
    barred: set[str] = set()

    async def why(market: str) -> str | None:
        return "under the exchange's warning" if market in barred else None

    trading.job = replace(trading.job, why_no_entry=why)
    await trading.set(entry_time_in_force="post_only")
    for market in (BTC, ETH):
        await trading.signal("buy", market)
    await trading.run()
    assert [order.state for order in await trading.orders()] == ["wait", "wait"]
    barred.add(BTC)
    await trading.run(after_s=10)
    states = {order.market: order.state for order in await trading.orders()}
    assert states == {BTC: "cancel", ETH: "wait"}


async def test_what_is_engaged_is_what_is_held_or_ordered(trading: Trading) -> None:
    assert await position_store.engaged_markets(trading.db, ["live"]) == frozenset()
    await hold(trading)
    await trading.set(entry_time_in_force="post_only")
    await trading.signal("buy", ETH)
    await trading.run()
    assert [order.state for order in await trading.orders()] == ["done", "wait"]
    assert await position_store.engaged_markets(trading.db, ["live"]) == {BTC, ETH}
    assert await position_store.engaged_markets(trading.db, ["paper"]) == frozenset()


# -- trouble that nobody foresaw ---------------------------------------------------------------


@pytest.mark.parametrize("error", [RecursionError, ArithmeticError, UnicodeError, KeyError])
@pytest.mark.parametrize("deep", [False, True], ids=["pass", "reconciliation"])
async def test_a_bug_about_one_order_stops_no_other_markets_exit(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, error: type[Exception], *, deep: bool
) -> None:
    await hold(trading)
    trading.venue.quote(Decimal(5_000_000), ETH, depth=Decimal("0.0001"))
    await trading.signal("buy", ETH)
    await trading.run(after_s=60)
    assert [o.state for o in await trading.orders()][-1] == "wait"
    ask = trading.venue.order

    async def odd(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        found = await ask(identifier=identifier, uuid=uuid)
        if found is not None and found.market == ETH:
            raise error
        return found

    monkeypatch.setattr(trading.venue, "order", odd)
    trading.venue.quote(PRICE * Decimal("0.8"), depth=Decimal(1000))
    if deep:
        await trading.run(after_s=300)
    else:
        with pytest.raises(error):
            await trading.run(after_s=10)
    assert (await trading.holding()).volume == 0
