"""A look at the venue → the tables: exact, idempotent, and never backwards."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from fixtures.trading import BTC, PRICE, START, Trading

from jobs.core.errors import BadData
from jobs.orders.placement import reserve, send
from jobs.orders.settlement import settle
from jobs.store import positions as position_store
from jobs.store.orders import OrderRow
from jobs.upbit.wire import Order, Trade


async def placed(trading: Trading, **wish: object) -> OrderRow:
    row = await reserve(
        trading.desk,
        trading.wish(**wish),
        await trading.rules(),
        money=await trading.view.money(),
        prices={BTC: PRICE},
    )
    assert isinstance(row, OrderRow), row
    return await send(trading.desk, row)


def trade(name: str, price: str, volume: str, *, second: int = 0) -> Trade:
    return Trade(
        uuid=name,
        price=Decimal(price),
        volume=Decimal(volume),
        funds=Decimal(price) * Decimal(volume),
        ts=START + timedelta(seconds=second),
        side="bid",
    )


def seen(row: OrderRow, *trades: Trade, paid_fee: str = "0", state: str = "wait") -> Order:
    assert row.uuid is not None
    return Order(
        uuid=row.uuid,
        identifier=row.identifier,
        market=row.market,
        side=row.side,
        ord_type=row.ord_type,
        state="wait" if state == "wait" else "done" if state == "done" else "cancel",
        created_at=START,
        price=row.price,
        volume=row.volume,
        executed_volume=sum((t.volume for t in trades), Decimal(0)),
        paid_fee=Decimal(paid_fee),
        trades_count=len(trades),
        trades=trades,
    )


async def fees(trading: Trading, row: OrderRow) -> list[Decimal]:
    async with trading.db.begin() as conn:
        return [s.fill.fee for s in await position_store.fills_of(conn, row.id)]


A = trade("a", "100000000", "0.002", second=1)
B = trade("b", "99000000", "0.003", second=2)
FEE_A, FEE_AB = "100", "248.5"


async def test_a_partial_fill_is_booked_and_the_order_keeps_waiting(trading: Trading) -> None:
    row = await placed(trading)
    settled = await settle(trading.desk, row.id, seen(row, A, paid_fee=FEE_A))
    assert (settled.order.state, len(settled.fills), settled.rows) == ("wait", 1, 1)
    assert settled.order.executed_volume == Decimal("0.002")
    assert settled.order.executed_funds == 200_000
    assert settled.order.paid_fee == 100
    holding = await trading.holding()
    assert (holding.volume, holding.avg_price) == (Decimal("0.002"), Decimal(100_000_000))
    assert holding.realized_krw == -100


async def test_the_same_look_again_changes_nothing(trading: Trading) -> None:
    row = await placed(trading)
    look = seen(row, A, paid_fee=FEE_A)
    await settle(trading.desk, row.id, look)
    before, held = await trading.only_order(), await trading.holding()
    for _ in range(3):
        assert (await settle(trading.desk, row.id, look)).rows == 0
    assert await trading.only_order() == before
    assert await trading.holding() == held
    assert (await trading.kinds(row))[3:] == ["fills", "look"]


async def test_the_fees_of_fills_sum_to_what_was_paid_at_every_look(trading: Trading) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, A, paid_fee=FEE_A))
    assert await fees(trading, row) == [Decimal(100)]
    await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_AB))
    assert await fees(trading, row) == [Decimal(100), Decimal("148.5")]


async def test_a_fee_that_is_stated_late_corrects_fills_profit_and_position(
    trading: Trading,
) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_A))
    assert sum(await fees(trading, row)) == 100
    await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_AB))
    assert await fees(trading, row) == [Decimal(100), Decimal("148.5")]
    assert (await trading.holding()).realized_krw == Decimal("-248.5")
    async with trading.db.begin() as conn:
        stored = await position_store.fills_of(conn, row.id)
    assert [s.realized_krw for s in stored] == [Decimal(-100), Decimal("-148.5")]


async def test_an_older_look_than_the_newest_takes_nothing_back(trading: Trading) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_AB))
    before = await trading.only_order()
    for old in (
        seen(row, A, paid_fee=FEE_A),
        seen(row),
        replace(seen(row, A, B, paid_fee=FEE_AB), trades=None),
        seen(row, A, B, paid_fee=FEE_A),
    ):
        assert (await settle(trading.desk, row.id, old)).rows == 0
    assert await trading.only_order() == before


async def test_trades_in_any_order_are_booked_by_their_time(trading: Trading) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, B, A, A, paid_fee=FEE_AB))
    async with trading.db.begin() as conn:
        stored = await position_store.fills_of(conn, row.id)
    assert [s.fill.uuid for s in stored] == ["a", "b"]


async def test_cancel_with_fills_is_a_purchase(trading: Trading) -> None:
    """As every market buy ends: the rest of the money that buys no more volume comes back."""
    row = await placed(trading)
    settled = await settle(trading.desk, row.id, seen(row, A, paid_fee=FEE_A, state="cancel"))
    assert settled.order.state == "cancel"
    assert (await trading.holding()).volume == Decimal("0.002")


async def test_an_order_that_ended_is_not_ended_until_all_its_fills_are_shown(
    trading: Trading,
) -> None:
    row = await placed(trading)
    short = replace(seen(row, A, paid_fee=FEE_A, state="done"), executed_volume=Decimal("0.005"))
    settled = await settle(trading.desk, row.id, short)
    assert (settled.order.state, settled.is_complete) == ("wait", False)
    settled = await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_AB, state="done"))
    assert (settled.order.state, settled.is_complete) == ("done", True)


async def test_after_the_end_nothing_moves_any_more(trading: Trading) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, A, paid_fee=FEE_A, state="cancel"))
    settled = await settle(trading.desk, row.id, seen(row, A, B, paid_fee=FEE_AB, state="done"))
    assert settled.rows == 0
    assert (await trading.only_order()).executed_volume == Decimal("0.002")


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("identifier", "upd-other", "identifier is upd-other"),
        ("uuid", "uuid-9", "uuid is uuid-9"),
        ("market", "KRW-ETH", "market is KRW-ETH"),
        ("side", "ask", "side is ask"),
        ("ord_type", "price", "ord_type is price"),
        ("price", Decimal(1), "price is 1"),
        ("volume", Decimal(1), "volume is 1"),
        ("created_at", START - timedelta(minutes=11), "before the intent"),
    ],
)
async def test_another_order_is_never_taken_for_ours(
    trading: Trading, field: str, value: object, why: str
) -> None:
    row = await placed(trading)
    other = replace(seen(row, A, paid_fee=FEE_A), **{field: value})  # type: ignore[arg-type]  # the field decides
    with pytest.raises(BadData, match=why):
        await settle(trading.desk, row.id, other)
    assert (await trading.only_order()).executed_volume == 0


async def test_a_sale_moves_the_position_and_realizes_its_profit(trading: Trading) -> None:
    bought = await placed(trading)
    await settle(trading.desk, bought.id, seen(bought, A, paid_fee=FEE_A, state="cancel"))
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sold = await placed(trading, side="ask", purpose="exit")
    gone = trade("c", "110000000", "0.002", second=3)
    settled = await settle(trading.desk, sold.id, seen(sold, gone, paid_fee="110", state="done"))
    assert settled.order.state == "done"
    holding = await trading.holding()
    assert holding.volume == 0
    async with trading.db.begin() as conn:
        (row,) = await position_store.fills_of(conn, sold.id)
    assert row.realized_krw == 220_000 - 110 - 200_000


async def test_more_sold_than_held_is_refused_and_nothing_is_written(trading: Trading) -> None:
    bought = await placed(trading)
    await settle(trading.desk, bought.id, seen(bought, A, paid_fee=FEE_A, state="cancel"))
    trading.venue.engine.ledger.credit("BTC", Decimal(1))
    sold = await placed(trading, side="ask", purpose="exit")
    gone = trade("c", "110000000", "0.0021", second=3)
    with pytest.raises(BadData, match="sold more than is held"):
        await settle(trading.desk, sold.id, seen(sold, gone, paid_fee="115.5", state="done"))
    assert (await trading.holding()).volume == Decimal("0.002")


async def test_positions_of_the_two_modes_never_mix(trading: Trading) -> None:
    row = await placed(trading)
    await settle(trading.desk, row.id, seen(row, A, paid_fee=FEE_A))
    assert (await trading.holding(mode="paper")).volume == 0
