"""The process dies at every commit and around the send, whatever the venue answers.

After the restart there is exactly the one order that the signal asked for, or the venue's refusal:
none doubled, none lost, and books that agree with the venue to the last digit.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest
from fixtures.trading import BTC, Killed, ScriptedVenue, Trading, Trouble, trading_on

from jobs.core.errors import JobError
from jobs.store import orders as order_store
from jobs.store.db import Database
from jobs.upbit.wire import Order, OrderRequest

Side = Literal["before", "after"]
ANSWERS: tuple[Trouble | None, ...] = (
    None,
    "never_arrived",
    "lost_answer",
    "late",
    "burnt",
    "not_sent",
    "rate_limited",
    "banned",
    "refused",
    "unauthorized_later",
    "duplicated",
    "unavailable",
    "bug",
)
EVERYWHERE: tuple[Trouble | None, ...] = (None, "never_arrived", "lost_answer")
SIDES: tuple[Side, ...] = ("before", "after")
MOST_PASSES = 12


async def begin(database: Database, answer: Trouble | None) -> Trading:
    """Empty books, one fresh signal to buy, and the answer its order will get."""
    trading = trading_on(database)
    await trading.wipe()
    if answer is not None:
        trading.venue.troubles = [answer]
    await trading.signal("buy")
    return trading


async def one_life(trading: Trading) -> bool:
    """One pass; whether it was killed."""
    try:
        with suppress(JobError, RuntimeError):
            await trading.run()
    except Killed:
        return True
    return False


async def until_settled(trading: Trading) -> None:
    """Restart, and pass after pass until nothing is open and the signal has its end."""
    trading.db.revive()
    trading.venue.at_post = trading.venue.after_post = lambda: None
    trading.restarted()
    for _ in range(MOST_PASSES):
        with suppress(JobError, RuntimeError):
            await trading.run(after_s=10)
        async with trading.db.begin() as conn:
            is_open = await order_store.unfinished(conn, "live")
        if not is_open and (await trading.signal_status(1))[0] != "new":
            return
    raise AssertionError("not settled")


async def check(trading: Trading, answer: Trouble | None) -> None:
    await trading.assert_books_agree()
    at_venue = trading.venue.engine.tickets()
    live = [row for row in await trading.orders() if row.state != "refused"]
    assert len(at_venue) == len(live) <= 1, f"{len(at_venue)} orders at the venue"
    if answer != "refused":  # and then only when nobody lived to write the refusal down
        assert len(live) == 1, "the order is lost"
    names = [post.identifier for post in trading.venue.posts]
    assert len(set(names)) == len(names), "an identifier was sent twice"
    assert not [kind for kind in trading.alerts.open if kind.startswith("order_unknown")]


def kill() -> None:
    raise Killed("at the send")


async def commits_of(trading: Trading) -> int:
    """How many transactions the next pass begins, when nothing kills it."""
    trading.db.revive()
    await one_life(trading)
    return trading.db.commits


async def cells(database: Database, answer: Trouble | None) -> AsyncIterator[tuple[str, Trading]]:
    """Places to die in the first pass, each in a fresh world that has just died there.

    With the answers that differ most every place there is, with the others every third.
    """
    for where in ("at_post", "after_post"):
        trading = await begin(database, answer)
        setattr(trading.venue, where, kill)
        if await one_life(trading):
            yield where, trading
    last = await commits_of(await begin(database, answer))
    step = 1 if answer in EVERYWHERE else 3
    for number in range(1 + ANSWERS.index(answer) % step, last + 1, step):
        for side in SIDES:
            trading = await begin(database, answer)
            trading.db.revive((number, side))
            assert await one_life(trading), f"still alive {side} commit {number} of {last}"
            yield f"{side} commit {number} of {last}", trading


@pytest.mark.parametrize("answer", ANSWERS)
async def test_killed_anywhere_no_order_is_doubled_and_none_is_lost(
    database: Database, answer: Trouble | None
) -> None:
    count = 0
    async for where, trading in cells(database, answer):
        count += 1
        await until_settled(trading)
        try:
            await check(trading, answer)
        except AssertionError as exc:
            raise AssertionError(f"killed {where}: {exc}") from exc
    assert count > (20 if answer in EVERYWHERE else 8)


async def test_the_check_itself_sees_a_doubled_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol that repeats an unanswered request under a new name must fail above."""
    real = ScriptedVenue.place
    repeated = False

    async def careless(self: ScriptedVenue, request: OrderRequest) -> Order:
        nonlocal repeated
        try:
            return await real(self, request)
        except JobError:
            repeated = True
            return await real(self, replace(request, identifier="upd-again"))

    monkeypatch.setattr(ScriptedVenue, "place", careless)
    trading = await begin(database, "lost_answer")
    await one_life(trading)
    assert repeated
    await until_settled(trading)
    with pytest.raises(AssertionError):
        await check(trading, "lost_answer")


async def holding_that_must_be_sold(database: Database) -> Trading:
    """A position, its price at the stop-loss, and a sale whose answer will be lost."""
    trading = await begin(database, None)
    await trading.run()
    trading.venue.troubles = ["lost_answer"]
    trading.venue.quote(trading.venue.price[BTC] * 90 // 100)
    trading.clock.now += timedelta(minutes=30)
    return trading


async def test_dying_while_a_position_is_sold_doubles_no_sale(database: Database) -> None:
    last = await commits_of(await holding_that_must_be_sold(database))
    for number in range(1, last + 1):
        for side in SIDES:
            trading = await holding_that_must_be_sold(database)
            trading.db.revive((number, side))
            assert await one_life(trading)
            await until_settled(trading)
            await trading.assert_books_agree()
            assert len(trading.venue.engine.tickets()) == 2
            assert (await trading.holding()).volume == 0
