"""A position is written down to what the exchange holds: by a person, once, and no further."""

from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, START_KRW, Trading, sell_by_hand
from sqlalchemy import text

from jobs.core.errors import Transient, Unavailable
from jobs.orders.reconcile import reconcile
from jobs.orders.settle_position import Difference, UnknownMarket, find_difference, settle_position
from jobs.store import equity as equity_store
from jobs.store import position_settlements
from jobs.store.position_settlements import Settlement


async def hold(trading: Trading) -> Decimal:
    await trading.signal("buy")
    await trading.run()
    await trading.clock.sleep(60)
    return (await trading.holding()).volume


async def settle(trading: Trading, market: str = BTC) -> Difference:
    return await settle_position(trading.desk, trading.view, market, by="cli:kim")


async def settled(trading: Trading) -> list[Settlement]:
    async with trading.db.begin() as conn:
        return await position_settlements.of_mode(conn, "live")


async def take(trading: Trading, volume: Decimal) -> None:
    """Coins leave the account without an order."""
    trading.venue.engine.ledger.credit("BTC", -volume)


async def test_what_nothing_explains_is_written_down_and_audited(trading: Trading) -> None:
    volume = await hold(trading)
    await take(trading, volume)
    trading.venue.quote(PRICE * 90 // 100)
    await reconcile(trading.desk, trading.job.standing, timeout_s=60, deep=True)
    assert list(trading.alerts.open) == ["reconcile_mismatch:balance:KRW-BTC"]
    found = await settle(trading)
    assert (found.before, found.after, found.booked) == (volume, Decimal(0), False)
    (audit,) = await settled(trading)
    assert (audit.settled_by, audit.settled_at) == ("cli:kim", trading.clock())
    assert (audit.volume_before, audit.volume_after) == (volume, Decimal(0))
    assert audit.price == PRICE * 90 // 100
    assert audit.realized_krw == -volume * PRICE / 10  # the loss until then was the daemon's
    assert (await trading.holding()).volume == 0
    assert trading.alerts.open == {}
    report = await reconcile(trading.desk, trading.job.standing, timeout_s=60, deep=True)
    assert report.fits  # the sum of the fills, less what was written down


async def test_the_days_loss_does_not_jump(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.quote(PRICE * 98 // 100)
    await trading.run(after_s=60)
    async with trading.db.begin() as conn:
        before = await equity_store.newest(conn, "live")
    await take(trading, volume)
    await settle(trading)
    await trading.run(after_s=60)
    async with trading.db.begin() as conn:
        after = await equity_store.newest(conn, "live")
    assert before is not None
    assert after is not None
    assert after.pnl_krw == before.pnl_krw
    assert after.positions_krw == 0


async def test_a_sale_that_can_be_named_is_booked_instead(trading: Trading) -> None:
    volume = await hold(trading)
    sell_by_hand(trading, volume)
    found = await settle(trading)
    assert (found.is_none, found.booked) == (True, True)
    assert await settled(trading) == []
    assert trading.venue.total("KRW") == START_KRW + await realized(trading)


async def realized(trading: Trading) -> Decimal:
    statement = text("SELECT realized_krw FROM positions")
    async with trading.db.engine.begin() as conn:
        return Decimal((await conn.execute(statement)).scalar_one())


async def test_only_the_part_that_is_gone_is_written_down(trading: Trading) -> None:
    volume = await hold(trading)
    await take(trading, volume / 4)
    found = await settle(trading)
    assert found.after == volume * 3 / 4
    holding = await trading.holding()
    assert (holding.volume, holding.avg_price) == (volume * 3 / 4, PRICE)
    trading.venue.quote(PRICE * 90 // 100)
    await trading.run(after_s=10)
    assert (await trading.orders())[-1].purpose == "stop_loss"
    assert trading.venue.total("BTC") == (await trading.holding()).volume == 0


async def test_when_nothing_differs_nothing_is_written(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.engine.ledger.credit("BTC", Decimal(5))  # the user's own
    found = await settle(trading)
    assert found.is_none
    assert (found.before, found.after) == (volume, volume)
    assert await settled(trading) == []


async def test_twice_is_once(trading: Trading) -> None:
    volume = await hold(trading)
    await take(trading, volume)
    await settle(trading)
    assert (await settle(trading)).is_none
    assert len(await settled(trading)) == 1


async def test_a_look_writes_nothing(trading: Trading) -> None:
    volume = await hold(trading)
    await take(trading, volume)
    found = await find_difference(trading.desk, trading.view, BTC)
    assert (found.before, found.after) == (volume, Decimal(0))
    assert (await trading.holding()).volume == volume
    assert await settled(trading) == []


async def test_a_market_that_was_never_held_is_unknown(trading: Trading) -> None:
    with pytest.raises(UnknownMarket):
        await settle(trading, "KRW-NONE")


async def test_an_unanswered_sale_bars_it(trading: Trading) -> None:
    volume = await hold(trading)
    trading.venue.troubles = ["late"]
    trading.venue.late_s = 60
    await trading.signal("sell")
    await trading.run()
    with pytest.raises(Transient, match="is unknown"):
        await settle(trading)
    assert (await trading.holding()).volume == volume


async def test_an_exchange_that_is_away_bars_it(trading: Trading) -> None:
    await hold(trading)
    trading.venue.down = Unavailable("502")
    with pytest.raises(Unavailable):
        await settle(trading)


async def test_a_coin_that_nobody_quotes_any_more_is_valued_at_its_last_price(
    trading: Trading,
) -> None:
    volume = await hold(trading)
    await take(trading, volume)
    trading.venue.quotes_down = Unavailable("no quotes")
    assert (await settle(trading)).price == PRICE
