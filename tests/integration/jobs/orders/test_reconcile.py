"""Venue and tables held against each other; what does not fit closes its market."""

from dataclasses import replace
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, START, Trading
from sqlalchemy import update

from jobs.core.errors import BadData, Unavailable
from jobs.matching import balances
from jobs.orders.reconcile import Report, Standing, reconcile
from jobs.store.tables import positions
from jobs.upbit.wire import Account, Order, OrderRequest


async def compare(trading: Trading, *, deep: bool = False) -> Report:
    return await reconcile(trading.desk, trading.job.standing, timeout_s=60, deep=deep)


async def bought(trading: Trading) -> None:
    await trading.signal("buy")
    await trading.run()


def at_venue(identifier: str, market: str = BTC) -> Order:
    return Order(
        uuid=f"uuid-of-{identifier}",
        identifier=identifier,
        market=market,
        side="bid",
        ord_type="limit",
        state="wait",
        created_at=START,
    )


async def test_books_that_fit_close_nothing_and_twice_changes_nothing(trading: Trading) -> None:
    await bought(trading)
    before = await trading.orders()
    first, second = await compare(trading, deep=True), await compare(trading, deep=True)
    assert first == second
    assert first.fits
    assert (first.open_ours, first.open_foreign, first.unknown, first.rows) == (0, 0, 0, 0)
    assert await trading.orders() == before
    assert trading.job.standing.reduce_only(BTC) is None
    assert trading.alerts.told == []


async def test_before_the_first_comparison_every_market_is_reduce_only() -> None:
    assert Standing().reduce_only(BTC) == "not reconciled with the venue yet"


async def test_orders_of_others_are_counted_and_left_alone(trading: Trading) -> None:
    trading.venue.foreign = [at_venue("mine"), replace(at_venue("x"), identifier=None)]
    report = await compare(trading)
    assert (report.open_foreign, report.open_ours, report.fits) == (2, 0, True)
    assert "cancel" not in trading.venue.calls


async def test_an_unknown_order_is_told_again_by_its_name(trading: Trading) -> None:
    trading.venue.troubles = ["never_arrived"]
    await bought(trading)
    row = await trading.only_order()
    trading.alerts.open.clear()  # the process before this one may have died before it told
    await compare(trading, deep=True)
    told = trading.alerts.open["order_unknown:KRW-BTC"]
    assert (told.market, told.order_id, told.identifier) == (BTC, row.id, row.identifier)


async def test_an_order_that_was_lost_is_adopted(trading: Trading) -> None:
    trading.venue.troubles = ["lost_answer"]
    trading.job.desk.exchange.down = None  # type: ignore[attr-defined]  # the scripted venue's
    await trading.signal("buy")
    await trading.run()
    trading.restarted()
    report = await compare(trading)
    assert report.fits
    await trading.assert_books_agree()


async def test_an_open_order_under_our_mark_that_no_table_knows_closes_its_market(
    trading: Trading,
) -> None:
    trading.venue.foreign = [at_venue("upd-stranger")]
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == ["order:upd-stranger"]
    assert "upd-stranger" in (trading.job.standing.reduce_only(BTC) or "")
    assert trading.job.standing.reduce_only("KRW-ETH") is None
    assert "cancel" not in trading.venue.calls
    (told,) = trading.alerts.open.values()
    assert told.incident == "reconcile_mismatch:order:upd-stranger"
    assert (told.market, told.identifier) == (BTC, "upd-stranger")
    trading.venue.foreign = []
    assert (await compare(trading)).fits
    assert trading.alerts.open == {}


async def test_a_buried_order_that_turns_up_open_is_cancelled_and_told(trading: Trading) -> None:
    trading.venue.troubles = ["never_arrived"]
    signal = await trading.signal("buy")
    for _ in range(4):
        await trading.run(after_s=10)
    buried, _again = await trading.orders()
    assert buried.state == "refused"
    assert (await trading.signal_status(signal))[0] == "executed"
    request = OrderRequest(
        market=BTC,
        side="bid",
        ord_type="limit",
        identifier=buried.identifier,
        price=PRICE - 1_000_000,
        volume=Decimal("0.001"),
    )
    trading.venue.engine.place(request, now=trading.clock())
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == [f"order:{buried.identifier}"]
    assert "cancel requested" in report.mismatches[0].message
    assert trading.job.standing.reduce_only(BTC) is not None
    assert (await trading.venue.open_orders()) == []
    assert (await compare(trading)).fits


async def test_an_answer_about_a_buried_order_that_cannot_be_read_closes_its_market_alone(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    trading.venue.troubles = ["never_arrived"]
    await trading.signal("buy")
    for _ in range(4):
        await trading.run(after_s=10)
    buried, _again = await trading.orders()
    ask = trading.venue.order

    async def odd(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        if identifier == buried.identifier:
            raise BadData("order has no usable side")
        return await ask(identifier=identifier, uuid=uuid)

    monkeypatch.setattr(trading.venue, "order", odd)
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == [f"order:{buried.identifier}"]
    assert trading.job.standing.reduce_only(BTC) is not None
    assert trading.job.standing.reduce_only("KRW-ETH") is None


async def test_a_buried_order_that_was_filled_after_all_closes_its_market(
    trading: Trading,
) -> None:
    trading.venue.troubles = ["late"]
    trading.venue.late_s = 25
    await trading.signal("buy")
    await trading.run()
    await trading.run(after_s=20)
    buried, _again = await trading.orders()
    await trading.clock.sleep(10)
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == [f"order:{buried.identifier}"]
    assert "executed 0.01" in report.mismatches[0].message


async def test_a_stray_that_cannot_be_cancelled_is_told_all_the_same(trading: Trading) -> None:
    trading.venue.troubles = ["refused"]
    await trading.signal("buy")
    await trading.run()
    refused = await trading.only_order()
    trading.venue.foreign = [at_venue(refused.identifier)]
    report = await compare(trading)
    assert "cancel failed" in report.mismatches[0].message


async def test_coins_that_are_gone_close_the_market_until_they_are_back(trading: Trading) -> None:
    await bought(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal("-0.001"))
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == ["balance:KRW-BTC"]
    assert list(trading.alerts.open) == ["reconcile_mismatch:balance:KRW-BTC"]
    trading.restarted()
    trading.venue.engine.ledger.credit("BTC", Decimal("0.001"))
    assert (await compare(trading)).fits
    assert trading.alerts.open == {}


async def test_coins_of_the_users_own_are_no_mismatch(trading: Trading) -> None:
    await bought(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(3))
    assert (await compare(trading)).fits


async def test_a_sale_that_fills_between_two_questions_is_no_mismatch(trading: Trading) -> None:
    await bought(trading)
    real = trading.venue.accounts
    trading.venue.depth = Decimal("0.001")
    trading.venue.quote(PRICE)
    await trading.signal("sell")
    asked = 0

    async def once_early() -> list[Account]:
        nonlocal asked
        asked += 1
        return [_krw()] if asked == 1 else await real()

    def _krw() -> Account:
        return balances.Purse("KRW").account()

    trading.venue.accounts = once_early  # type: ignore[method-assign]  # an answer in between
    assert (await compare(trading)).fits
    assert asked == 2


async def test_coins_that_an_unknown_sale_may_have_sold_are_no_mismatch(trading: Trading) -> None:
    await bought(trading)
    trading.venue.troubles = ["late"]
    await trading.signal("sell")
    await trading.run()
    assert [o.state for o in await trading.orders()] == ["done", "unknown"]
    assert trading.venue.total("BTC") == 0
    report = await compare(trading)
    assert (report.fits, report.unknown) == (True, 1)


async def test_a_position_off_its_fills_is_seen_when_all_are_added_up_and_stays_seen(
    trading: Trading,
) -> None:
    await bought(trading)
    async with trading.db.begin() as conn:
        await conn.execute(update(positions).values(volume=positions.c.volume - Decimal("0.001")))
    assert (await compare(trading)).fits
    report = await compare(trading, deep=True)
    assert [m.about for m in report.mismatches] == ["fills:KRW-BTC"]
    assert "-0.001" in report.mismatches[0].message
    assert [m.about for m in (await compare(trading)).mismatches] == ["fills:KRW-BTC"]


async def test_while_the_venue_is_away_the_standing_stays_as_it_was(trading: Trading) -> None:
    await compare(trading)
    report = trading.job.standing.report
    trading.venue.down = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await compare(trading)
    assert trading.job.standing.report is report


async def test_an_order_that_contradicts_itself_closes_its_market_and_not_the_others(
    trading: Trading,
) -> None:
    trading.venue.troubles = ["never_arrived"]
    await trading.signal("buy")
    await trading.run()
    row = await trading.only_order()

    async def lie(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        return at_venue(row.identifier, "KRW-ETH")

    trading.venue.order = lie  # type: ignore[method-assign]  # somebody else's order
    report = await compare(trading)
    assert [m.about for m in report.mismatches] == [f"order:{row.identifier}"]
    assert (await trading.only_order()).state == "unknown"
    assert BadData.__name__ not in report.mismatches[0].message


async def test_waiting_trouble_with_one_order_does_not_keep_the_others_from_being_tended(
    trading: Trading,
) -> None:
    trading.venue.troubles = ["lost_answer", "lost_answer"]
    await trading.signal("buy", "KRW-ETH")
    await trading.signal("buy", BTC)
    real = trading.venue.order

    async def half(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        found = await real(identifier=identifier, uuid=uuid)
        if found is not None and found.market == BTC:
            raise Unavailable("no answer")
        return found

    trading.venue.order = half  # type: ignore[method-assign]  # one order is not answered for
    with pytest.raises(Unavailable):
        await trading.run()
    with pytest.raises(Unavailable):
        await compare(trading)
    states = {o.market: o.state for o in await trading.orders()}
    assert states == {"KRW-ETH": "done", BTC: "unknown"}
