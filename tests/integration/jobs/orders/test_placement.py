"""From wish to answer: what is committed before what, and what each answer proves."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, Killed, Trading, Trouble
from sqlalchemy import insert, select, update

from jobs.core.errors import Banned, JobError, NotSent, RateLimited, Unauthorized
from jobs.domain import order_states
from jobs.domain.portfolio import SignalFact, Wish
from jobs.domain.risk import Refusal
from jobs.orders.account import PREFIX
from jobs.orders.placement import doubt, reserve, send
from jobs.store import orders as order_store
from jobs.store.db import Database
from jobs.store.fence import Fence, StaleEpoch
from jobs.store.order_events import Note
from jobs.store.orders import OrderRow, Overtaken
from jobs.store.tables import leadership, orders
from jobs.upbit.wire import OrderRequest


async def reserved(trading: Trading, wish: Wish | None = None) -> OrderRow | Refusal:
    return await reserve(
        trading.desk,
        wish or trading.wish(),
        await trading.rules(),
        money=await trading.view.money(),
        prices={BTC: PRICE},
    )


async def intent(trading: Trading, wish: Wish | None = None) -> OrderRow:
    result = await reserved(trading, wish)
    assert isinstance(result, OrderRow), result
    return result


async def with_signal(trading: Trading) -> Wish:
    number = await trading.signal()
    fact = SignalFact(
        id=number,
        market=BTC,
        action="buy",
        confidence=Decimal("0.8"),
        created_at=trading.clock(),
    )
    return trading.wish(signal=fact)


async def test_the_intent_stands_with_its_reservation_before_anything_is_sent(
    trading: Trading,
) -> None:
    row = await intent(trading)
    assert (row.state, row.uuid, row.epoch, row.mode) == ("intent", None, 1, "live")
    assert row.identifier.startswith(PREFIX)
    assert row.price is not None
    assert row.volume is not None
    assert row.reserved_krw == row.price * row.volume * Decimal("1.0005")
    assert trading.venue.posts == []


async def test_sent_is_committed_before_the_request_leaves(trading: Trading) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.extend(order.state for order in await trading.orders())

    row = await intent(trading)
    place = trading.venue.place

    async def watched(request: OrderRequest) -> object:
        await look()
        return await place(request)

    trading.venue.place = watched  # type: ignore[method-assign, assignment]  # to look in between
    await send(trading.desk, row)
    assert seen == ["sent"]


async def test_an_accepted_order_waits_under_the_venues_name(trading: Trading) -> None:
    row = await send(trading.desk, await intent(trading))
    assert (row.state, row.uuid) == ("wait", "uuid-1")
    assert await trading.kinds(row) == ["intent", "post", "accepted"]


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("not_sent", NotSent), ("rate_limited", RateLimited), ("banned", Banned)],
)
async def test_what_certainly_never_left_is_refused_and_its_signal_stays_new(
    trading: Trading, trouble: Trouble, error: type[JobError]
) -> None:
    wish = await with_signal(trading)
    trading.venue.troubles = [trouble]
    row = await intent(trading, wish)
    with pytest.raises(error):
        await send(trading.desk, row)
    order = await trading.only_order()
    assert order.state == "refused"
    assert (order.reason or "").startswith("never sent: ")
    assert wish.signal is not None
    assert await trading.signal_status(wish.signal.id) == ("new", None)


async def test_a_named_refusal_ends_the_order_and_its_signal(trading: Trading) -> None:
    wish = await with_signal(trading)
    trading.venue.troubles = ["refused"]
    row = await send(trading.desk, await intent(trading, wish))
    assert (row.state, row.reason) == (
        "refused",
        "refused by the venue: insufficient_funds_bid",
    )
    assert wish.signal is not None
    assert await trading.signal_status(wish.signal.id) == ("refused", row.reason)


async def test_an_unaccepted_key_is_a_refusal_that_a_person_hears_of(trading: Trading) -> None:
    row = await intent(trading)

    async def place(_request: OrderRequest) -> object:
        raise Unauthorized("who are you", name="invalid_access_key", status=401)

    trading.venue.place = place  # type: ignore[method-assign, assignment]  # one answer only
    with pytest.raises(Unauthorized):
        await send(trading.desk, row)
    assert (await trading.only_order()).state == "refused"


@pytest.mark.parametrize(
    "trouble",
    ["never_arrived", "lost_answer", "late", "burnt", "unauthorized_later", "unavailable"],
)
async def test_what_proves_nothing_leaves_the_order_unknown_and_is_told(
    trading: Trading, trouble: Trouble
) -> None:
    trading.venue.troubles = [trouble]
    row = await send(trading.desk, await intent(trading))
    assert row.state == "unknown"
    assert len(trading.venue.posts) == 1
    (told,) = trading.alerts.open.values()
    assert told.incident == "order_unknown:KRW-BTC"
    assert (told.market, told.order_id, told.identifier) == (BTC, row.id, row.identifier)


async def test_an_error_nobody_foresaw_leaves_the_order_unknown_and_is_raised(
    trading: Trading,
) -> None:
    trading.venue.troubles = ["bug"]
    row = await intent(trading)
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        await send(trading.desk, row)
    assert (await trading.only_order()).state == "unknown"


async def test_a_duplicate_of_our_own_order_is_adopted(trading: Trading) -> None:
    trading.venue.troubles = ["duplicated"]
    row = await send(trading.desk, await intent(trading))
    assert row.state == "done"
    await trading.assert_books_agree()


async def test_a_duplicate_that_the_venue_does_not_show_is_unknown(trading: Trading) -> None:
    row = await intent(trading)
    trading.venue.engine._identifiers[row.identifier] = None
    assert (await send(trading.desk, row)).state == "unknown"


async def test_a_duplicate_that_cannot_be_looked_at_is_unknown(trading: Trading) -> None:
    trading.venue.troubles = ["duplicated"]
    row = await intent(trading)
    trading.venue.down = RateLimited("later")
    assert (await send(trading.desk, row)).state == "unknown"


async def test_a_duplicate_of_somebody_elses_order_is_refused(trading: Trading) -> None:
    row = await intent(trading)
    request = order_store.request_of(row, None)
    trading.venue.engine.place(replace(request, volume=Decimal("0.0001")), now=trading.clock())
    row = await send(trading.desk, row)
    assert row.state == "refused"
    assert row.reason is not None
    assert row.reason.startswith("the identifier belongs to another order: volume is 0.0001")


async def test_halted_after_the_intent_withdraws_it(trading: Trading) -> None:
    row = await intent(trading)
    await trading.set(halted=True)
    row = await send(trading.desk, row)
    assert (row.state, row.reason) == ("refused", "never sent: halted")
    assert trading.venue.posts == []


async def test_halted_is_read_when_the_order_is_judged(trading: Trading) -> None:
    await trading.set(halted=True)
    verdict = await reserved(trading)
    assert isinstance(verdict, Refusal)
    assert verdict.limit == "halted"


async def test_a_signal_gets_one_order_however_often_it_is_judged(trading: Trading) -> None:
    wish = await with_signal(trading)
    await intent(trading, wish)
    again = await reserved(trading, replace(wish, identifier="upd-again"))
    assert isinstance(again, Refusal)
    assert (again.limit, again.final) == ("signal", False)


async def test_two_judgements_at_once_cannot_both_spend_the_same_money(trading: Trading) -> None:
    """Twenty wishes in twenty markets, cash for five."""
    await trading.set(max_open_positions=100, position_size_pct=20, max_position_krw=10**9)
    await trading.set(daily_loss_limit_krw=0)  # it would make each of them smaller
    money = await trading.view.money()

    async def one(number: int) -> OrderRow | Refusal:
        market = f"KRW-C{number}"
        rules = replace(await trading.rules(), chance=replace(await trading.venue.chance(market)))
        return await reserve(
            trading.desk, trading.wish(market=market), rules, money=money, prices={}
        )

    results = await asyncio.gather(*(one(n) for n in range(20)))
    spent = sum(row.reserved_krw for row in results if isinstance(row, OrderRow))
    assert sum(isinstance(row, OrderRow) for row in results) == 5
    assert spent <= money.free_krw


async def test_a_deposed_leader_makes_and_sends_no_orders(
    trading: Trading, database: Database
) -> None:
    async with database.begin() as conn:
        await conn.execute(insert(leadership).values(account="main", epoch=1, holder="this"))
    fenced = replace(database, fence=Fence(account="main", epoch=1))
    trading.desk = replace(trading.desk, db=fenced)
    row = await intent(trading)
    async with database.begin() as conn:
        await conn.execute(update(leadership).values(epoch=2, holder="other"))
    with pytest.raises(StaleEpoch):
        await send(trading.desk, row)
    with pytest.raises(StaleEpoch):
        await reserved(trading)
    assert trading.venue.posts == []


async def test_an_intent_that_another_process_took_is_not_sent(trading: Trading) -> None:
    row = await intent(trading)
    await send(trading.desk, row)
    with pytest.raises(Overtaken):
        await send(trading.desk, row)
    assert len(trading.venue.posts) == 1


async def test_an_answer_counts_although_another_process_doubted_meanwhile(
    trading: Trading,
) -> None:
    """A person's flatten in another process saw the order as sent, before the answer came."""
    row = await intent(trading)
    place = trading.venue.place

    async def slow(request: OrderRequest) -> object:
        answer = await place(request)
        await doubt(trading.desk, await trading.only_order(), None)
        return answer

    trading.venue.place = slow  # type: ignore[method-assign, assignment]  # to act in between
    assert (await send(trading.desk, row)).state == "wait"


async def test_a_refusal_counts_although_another_process_doubted_meanwhile(
    trading: Trading,
) -> None:
    row = await intent(trading)
    place = trading.venue.place

    async def slow(request: OrderRequest) -> object:
        await doubt(trading.desk, await trading.only_order(), None)
        return await place(request)

    trading.venue.troubles = ["refused"]
    trading.venue.place = slow  # type: ignore[method-assign, assignment]  # to act in between
    assert (await send(trading.desk, row)).state == "refused"


async def test_cancelling_the_run_while_it_sends_leaves_the_order_sent(trading: Trading) -> None:
    trading.venue.troubles = ["hang_after"]
    placed = asyncio.Event()
    trading.venue.after_post = placed.set
    task = asyncio.create_task(send(trading.desk, await intent(trading)))
    await placed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await trading.only_order()).state == "sent"


async def test_a_state_is_changed_by_the_arrow_and_from_the_state_expected(
    trading: Trading,
) -> None:
    row = await intent(trading)
    note = Note(kind="x", at=trading.clock(), detail={})
    with pytest.raises(order_states.ForbiddenArrow):
        async with trading.db.begin() as conn:
            await order_store.move(conn, row, order_states.complete, note)


async def test_orders_of_the_other_mode_are_invisible(trading: Trading) -> None:
    await intent(trading)
    async with trading.db.begin() as conn:
        assert await order_store.unfinished(conn, "paper") == []
        row = (await conn.execute(select(orders.c.identifier))).scalar_one()
        assert await order_store.by_identifier(conn, "paper", [row]) == {}
        assert await order_store.count_since(conn, "paper", trading.clock()) == 0
        assert await order_store.last_order_at(conn, "paper", BTC) is None


async def test_no_balance_stands_in_an_orders_story(trading: Trading) -> None:
    trading.venue.quote(Decimal(91_000_000))
    row = await send(trading.desk, await intent(trading))
    told = str([event.detail for event in await trading.events(row)])
    assert "10000000" not in told


async def test_dying_while_the_intent_is_made_leaves_nothing(trading: Trading) -> None:
    trading.db.revive((1, "before"))
    with pytest.raises(Killed):
        await reserve(
            trading.desk,
            trading.wish(),
            await trading.rules(),
            money=await trading.view.money(),
            prices={},
        )
    assert await trading.orders() == []
