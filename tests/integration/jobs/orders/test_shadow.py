"""The paper twin beside a live account: same signals, own books, and never in the way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, START, Trading
from sqlalchemy import select

from jobs.core.errors import Unavailable
from jobs.core.job import Slot
from jobs.orders.job import OrdersJob
from jobs.orders.paper_exchange import PaperExchange
from jobs.orders.shadow import ShadowedOrders, Unheard
from jobs.store import positions as position_store
from jobs.store.page_queries import Wanted, lines
from jobs.store.shadow import difference
from jobs.store.tables import orders, signals
from jobs.upbit.wire import Orderbook, Ticker

ZERO = Decimal(0)
LONG_AGO = START - timedelta(days=1)


@dataclass
class Silent:
    """Quotes that never answer."""

    async def tickers(self, markets: Sequence[str]) -> list[Ticker]:
        await asyncio.Event().wait()
        return []

    async def orderbooks(self, markets: Sequence[str]) -> list[Orderbook]:
        await asyncio.Event().wait()
        return []


def shadowed(trading: Trading, *, start_krw: Decimal = Decimal(10_000_000)) -> ShadowedOrders:
    paper = PaperExchange(trading.db, trading.venue, clock=trading.clock, start_krw=start_krw)
    desk = replace(trading.desk, exchange=paper, notifier=Unheard(), mode="paper", is_twin=True)
    view = replace(trading.view, exchange=paper, _chances={})
    twin = OrdersJob(desk=desk, view=view, sleep=trading.clock.sleep)
    return ShadowedOrders(live=trading.job, twin=twin)


async def run(trading: Trading, job: ShadowedOrders) -> int:
    trading.clock.now += timedelta(seconds=10)
    await trading.collect(BTC)
    return await job.run(Slot(job="orders", scheduled_at=trading.clock(), run_id="run"))


async def ends(trading: Trading, signal_id: int) -> tuple[str, str | None]:
    async with trading.db.engine.begin() as conn:
        c = signals.c
        row = (await conn.execute(select(c.status, c.shadow_status).where(c.id == signal_id))).one()
    return row.status, row.shadow_status


async def volumes(trading: Trading) -> tuple[Decimal | None, ...]:
    async with trading.db.engine.begin() as conn:
        held = [await position_store.held(conn, mode) for mode in ("live", "paper")]
    return tuple(each[BTC].volume if BTC in each else None for each in held)


async def test_both_trade_the_same_signal_each_in_its_own_books(trading: Trading) -> None:
    signal = await trading.signal("buy")
    await run(trading, shadowed(trading))
    assert await ends(trading, signal) == ("executed", "executed")
    live, twin = await volumes(trading)
    assert live == twin == Decimal("0.01")
    assert len(trading.venue.posts) == 1, "the twin sends nothing to the venue"
    found = await difference(trading.db, LONG_AGO)
    assert found is not None
    assert (found.signals, found.same, found.pairs, found.worse_bps) == (1, 1, 1, ZERO)
    assert found.live_pnl_krw == found.twin_pnl_krw == Decimal(-500)


async def test_exits_of_the_twin_are_its_own(trading: Trading) -> None:
    job = shadowed(trading)
    await trading.signal("buy")
    await run(trading, job)
    trading.venue.quote(PRICE * Decimal("0.94"))
    await run(trading, job)
    async with trading.db.engine.begin() as conn:
        rows = (await conn.execute(select(orders.c.mode, orders.c.purpose))).all()
    assert sorted(rows) == [
        ("live", "entry"),
        ("live", "stop_loss"),
        ("paper", "entry"),
        ("paper", "stop_loss"),
    ]


async def test_where_they_differ_both_ends_stand_with_their_reasons(trading: Trading) -> None:
    signal = await trading.signal("buy")
    await run(trading, shadowed(trading, start_krw=Decimal(20_000)))
    assert await ends(trading, signal) == ("executed", "refused")
    async with trading.db.engine.begin() as conn:
        reason = (await conn.execute(select(signals.c.shadow_reason))).scalar_one()
    assert reason.startswith("position_size_pct")
    found = await difference(trading.db, LONG_AGO)
    assert found is not None
    assert (found.signals, found.same, found.live_executed, found.twin_executed) == (1, 0, 1, 0)
    assert (found.pairs, found.worse_bps) == (0, None)


async def test_worse_prices_of_the_live_account_are_counted_in_basis_points(
    trading: Trading,
) -> None:
    job = shadowed(trading)
    await trading.signal("buy")
    # after the live purchase the market is cheaper by one in a thousand
    trading.venue.after_post = lambda: trading.venue.quote(PRICE * Decimal("0.999"))
    await run(trading, job)
    found = await difference(trading.db, LONG_AGO)
    assert found is not None
    assert found.pairs == 1
    assert found.worse_bps is not None
    assert round(found.worse_bps, 1) == Decimal("10.0")


async def test_the_twins_trouble_changes_nothing_for_the_live_account(trading: Trading) -> None:
    job = shadowed(trading)
    broken = replace(
        job.twin.desk, exchange=PaperExchange(trading.db, Silent(), clock=trading.clock)
    )
    job = replace(job, twin=replace(job.twin, desk=broken), limit_s=0.2)
    signal = await trading.signal("buy")
    assert await run(trading, job) > 0
    assert (await ends(trading, signal))[0] == "executed"


async def test_a_bug_in_the_twin_is_logged_and_not_raised(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shadowed(trading)
    monkeypatch.setattr(PaperExchange, "accounts", lambda _self: 1 / 0)
    signal = await trading.signal("buy")
    await run(trading, job)
    assert (await ends(trading, signal))[0] == "executed"


async def test_a_failed_live_pass_is_raised_and_the_twin_still_trades(trading: Trading) -> None:
    job = shadowed(trading)
    signal = await trading.signal("buy")
    trading.venue.down = Unavailable("maintenance")
    with pytest.raises(Unavailable):
        await run(trading, job)
    assert await ends(trading, signal) == ("new", "executed")


async def test_a_cancelled_slot_begins_no_twin(trading: Trading) -> None:
    job = shadowed(trading)
    signal = await trading.signal("buy")
    trading.venue.troubles.append("hang")
    posting = asyncio.Event()
    trading.venue.at_post = posting.set
    running = asyncio.create_task(run(trading, job))
    await posting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await ends(trading, signal))[1] is None


async def test_a_new_twin_does_not_dig_up_old_signals(trading: Trading) -> None:
    old = await trading.signal("buy", age_s=3600)
    await run(trading, shadowed(trading))
    assert await ends(trading, old) == ("expired", None)


async def test_without_a_twin_there_is_no_difference(trading: Trading) -> None:
    await trading.signal("buy")
    await trading.run(after_s=10)
    assert await difference(trading.db, LONG_AGO) is None


async def test_the_page_names_the_twins_end_behind_the_own_one(trading: Trading) -> None:
    await trading.signal("buy")
    await run(trading, shadowed(trading, start_krw=Decimal(20_000)))
    wanted = Wanted(mode="live", jobs=(), day=START.date(), since=LONG_AGO)
    (line,) = (await lines(trading.db, wanted)).signals
    assert line.status == "executed"
    assert line.status_reason is not None
    own, twin = line.status_reason.split("; ")
    assert own.startswith("order upd-")
    assert twin.startswith("paper twin: refused (position_size_pct")
