"""Orders that were sent: found, buried or cancelled, by evidence alone."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, Trading, Trouble

from jobs.core.errors import JobError, Unavailable
from jobs.domain import order_states
from jobs.orders.account import Patience
from jobs.orders.placement import reserve, send
from jobs.orders.tracking import follow, tend
from jobs.store import orders as order_store
from jobs.store.order_events import Note
from jobs.store.orders import OrderRow
from jobs.upbit.wire import Order

TIMEOUT_S = 60


async def intent(trading: Trading, **wish: object) -> OrderRow:
    row = await reserve(
        trading.desk,
        trading.wish(**wish),
        await trading.rules(),
        money=await trading.view.money(),
        prices={BTC: PRICE},
    )
    assert isinstance(row, OrderRow), row
    return row


async def step(trading: Trading, *, after_s: float = 0) -> OrderRow:
    """Tend the only order, some seconds later; return what it is then."""
    await trading.clock.sleep(after_s)
    await tend(trading.desk, await trading.only_order(), timeout_s=TIMEOUT_S)
    return await trading.only_order()


async def unknown(trading: Trading, trouble: Trouble) -> OrderRow:
    trading.venue.troubles = [trouble]
    row = await send(trading.desk, await intent(trading))
    assert row.state == "unknown"
    return row


async def test_an_order_whose_answer_was_lost_is_adopted_with_its_fills_in_one_step(
    trading: Trading,
) -> None:
    row = await unknown(trading, "lost_answer")
    row = await step(trading)
    assert row.state == "done"
    assert await trading.kinds(row) == [
        "intent",
        "post",
        "post.unknown",
        "adopted",
        "fills",
        "final",
    ]
    await trading.assert_books_agree()
    assert trading.alerts.resolved == ["order_unknown:KRW-BTC"]


async def test_an_order_the_venue_shows_late_is_not_buried_before(trading: Trading) -> None:
    await unknown(trading, "late")
    assert (await step(trading, after_s=1)).state == "unknown"
    assert (await step(trading, after_s=1)).state == "unknown"
    assert (await step(trading, after_s=2)).state == "done"


@pytest.mark.parametrize("trouble", ["never_arrived", "burnt"])
async def test_an_order_that_is_nowhere_is_buried_after_enough_looks_over_enough_time(
    trading: Trading, trouble: Trouble
) -> None:
    await unknown(trading, trouble)
    for _ in range(5):
        assert (await step(trading, after_s=2)).state == "unknown"
    assert "open_orders" not in trading.venue.calls
    row = await step(trading, after_s=2)
    assert row.state == "refused"
    assert row.reason == (
        "never arrived: not found in 6 looks over 10 s, nor in the open and closed lists"
    )
    assert trading.venue.calls[-2:] == ["open_orders", "closed_orders"]
    assert trading.alerts.open == {}


async def test_two_looks_far_apart_are_not_enough(trading: Trading) -> None:
    await unknown(trading, "never_arrived")
    await step(trading)
    assert (await step(trading, after_s=3600)).state == "unknown"
    assert (await step(trading)).state == "refused"


async def test_a_restart_does_not_reset_the_looks(trading: Trading) -> None:
    await unknown(trading, "never_arrived")
    await step(trading)
    await step(trading, after_s=6)
    trading.restarted()
    assert (await step(trading, after_s=6)).state == "refused"


async def test_looks_that_got_no_answer_do_not_count(trading: Trading) -> None:
    await unknown(trading, "never_arrived")
    trading.venue.down = Unavailable("no answer")
    for _ in range(5):
        with pytest.raises(Unavailable):
            await step(trading, after_s=10)
    trading.venue.down = None
    assert (await step(trading, after_s=10)).state == "unknown"
    story = await trading.events(await trading.only_order())
    failed = [event for event in story if event.kind == "look.failed"]
    assert len(failed) == 1
    assert failed[0].detail["again"] == 4


async def test_an_order_found_in_the_lists_only_is_adopted(trading: Trading) -> None:
    row = await unknown(trading, "lost_answer")
    by_name = trading.venue.order

    async def blind(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        return None if uuid is None else await by_name(uuid=uuid)

    trading.venue.order = blind  # type: ignore[method-assign]  # the name is not indexed
    trading.desk = trading.restarted(patience=Patience(looks=1, over_s=0)).desk
    row = await step(trading)
    assert row.state == "done"
    await trading.assert_books_agree()


async def test_an_order_of_a_process_that_died_is_unknown_until_seen(trading: Trading) -> None:
    row = await intent(trading)
    async with trading.db.begin() as conn:
        note = Note(kind="post", at=trading.clock(), detail={})
        await order_store.move(conn, row, order_states.send, note)
    row = await step(trading)
    assert row.state == "unknown"
    assert "order_unknown:KRW-BTC" in trading.alerts.open


async def test_an_intent_nobody_will_send_is_withdrawn(trading: Trading) -> None:
    await intent(trading)
    row = await step(trading)
    assert (row.state, row.reason) == (
        "refused",
        "never sent: interrupted before sending",
    )


async def test_a_persons_intent_in_another_process_is_left_alone_for_a_minute(
    trading: Trading,
) -> None:
    first = await send(trading.desk, await intent(trading))
    await follow(trading.desk, first)
    row = await intent(trading, side="ask", purpose="flatten")
    await tend(trading.desk, row, timeout_s=TIMEOUT_S)
    assert (await trading.orders())[1].state == "intent"
    await trading.clock.sleep(60)
    await tend(trading.desk, row, timeout_s=TIMEOUT_S)
    assert (await trading.orders())[1].state == "refused"


async def resting(trading: Trading) -> OrderRow:
    """A bid that the market has left behind before it was filled."""
    row = await intent(trading)
    trading.venue.quote(PRICE + 1_000_000)
    return await send(trading.desk, row)


async def test_a_waiting_order_is_asked_to_cancel_only_after_its_time(trading: Trading) -> None:
    await resting(trading)
    assert (await step(trading, after_s=59)).state == "wait"
    assert "cancel" not in trading.venue.calls
    row = await step(trading, after_s=1)
    assert (row.state, row.reason) == ("cancel", "cancelled by the daemon")
    await trading.assert_books_agree()


async def test_a_cancel_of_a_partly_filled_order_keeps_its_fills(trading: Trading) -> None:
    row = await intent(trading)
    trading.venue.depth = Decimal("0.004")
    await send(trading.desk, row)
    assert (await step(trading)).executed_volume == Decimal("0.004")
    row = await step(trading, after_s=60)
    assert (row.state, row.executed_volume) == ("cancel", Decimal("0.004"))
    await trading.assert_books_agree()


async def test_a_cancel_that_is_only_accepted_is_followed_to_its_end(trading: Trading) -> None:
    await resting(trading)
    trading.venue.engine._delay = lambda: timedelta(milliseconds=500)
    assert (await step(trading, after_s=60)).state == "wait"
    assert (await step(trading, after_s=1)).state == "cancel"
    assert trading.venue.calls.count("cancel") == 1


async def test_an_order_that_filled_before_its_cancel_is_done(trading: Trading) -> None:
    await resting(trading)
    await trading.clock.sleep(60)
    trading.venue.quote(PRICE)
    row = await step(trading)
    assert row.state == "done"
    assert row.reason is None


async def test_an_order_that_fills_while_it_is_being_cancelled_is_done(trading: Trading) -> None:
    await resting(trading)
    cancel = trading.venue.cancel

    async def beaten(*, identifier: str | None = None, uuid: str | None = None) -> None:
        trading.venue.quote(PRICE)
        await cancel(identifier=identifier, uuid=uuid)

    trading.venue.cancel = beaten  # type: ignore[method-assign]  # to act in between
    row = await step(trading, after_s=60)
    assert row.state == "done"
    assert "cancel.refused" in await trading.kinds(row)


async def test_a_cancel_without_an_answer_is_asked_again(trading: Trading) -> None:
    await resting(trading)
    cancel = trading.venue.cancel

    async def broken(*, identifier: str | None = None, uuid: str | None = None) -> None:
        raise Unavailable("no answer")

    trading.venue.cancel = broken  # type: ignore[method-assign]  # one failure
    with pytest.raises(JobError):
        await step(trading, after_s=60)
    trading.venue.cancel = cancel  # type: ignore[method-assign]  # and back
    assert (await step(trading, after_s=1)).state == "cancel"


async def test_an_accepted_order_that_the_venue_forgot_is_told_and_not_guessed(
    trading: Trading,
) -> None:
    row = await resting(trading)
    trading.venue.engine._tickets.clear()
    row = await step(trading)
    assert row.state == "wait"
    (told,) = trading.alerts.open.values()
    assert told.incident == f"reconcile_mismatch:order:{row.identifier}"
    assert (told.market, told.order_id, told.identifier) == (row.market, row.id, row.identifier)


async def test_an_end_without_all_fills_is_not_believed(trading: Trading) -> None:
    await send(trading.desk, await intent(trading))
    by_name = trading.venue.order

    async def forgetful(*, identifier: str | None = None, uuid: str | None = None) -> Order | None:
        found = await by_name(identifier=identifier, uuid=uuid)
        return None if found is None else replace(found, trades=())

    trading.venue.order = forgetful  # type: ignore[method-assign]  # fills come later
    assert (await step(trading)).state == "wait"
    trading.venue.order = by_name  # type: ignore[method-assign]  # and here they are
    assert (await step(trading)).state == "done"
    await trading.assert_books_agree()
