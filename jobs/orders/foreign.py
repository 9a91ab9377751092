"""What others did with the daemon's coins: sales in the exchange's app, orders that lock them.

A foreign sale is booked as an order of the purpose `foreign` with its fills, so that position,
profit and listings know what became of the coins. It explains no more than what is missing: the
user's own coins go first. What no sale explains (withdrawn, staked, renamed) stays a mismatch,
until a person has the books written down (jobs/orders/settle_position.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from loguru import logger

from jobs.core.errors import JobError, Transient
from jobs.core.job import Incident
from jobs.domain import ledger
from jobs.domain.ledger import EXACT, ZERO, Fill
from jobs.orders.account import TradingAccount
from jobs.store import foreign_sales
from jobs.store import positions as position_store
from jobs.store.orders import OrderRow
from jobs.upbit.wire import Order, Trade

RESTED = timedelta(days=7)
"""How long before it filled an order of others may have been made: one window of the list."""

MARGIN = timedelta(seconds=5)
"""How far the exchange's clock may be behind ours; /health is degraded beyond that. A sale that is
missed stays a mismatch, one too many would explain coins that it did not sell.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """The exchange has `total` of the coins that the books hold in `market`; it had all of them
    at `covered_at` (None: nobody looked since the position was opened).
    """

    market: str
    held: Decimal
    total: Decimal
    covered_at: datetime | None = None

    @property
    def volume(self) -> Decimal:
        """How much is missing."""
        return EXACT.subtract(self.held, self.total)


async def book_foreign_sales(desk: TradingAccount, short: Shortage) -> int:
    """Book the newest sales of others as far as they explain what is missing; return how many.

    Raises Transient while the exchange or the database cannot be asked. An answer that cannot be
    read explains nothing.
    """
    since = await _since(desk, short)
    try:
        sales = await _sales(desk, short, since)
    except Transient:
        raise
    except JobError as exc:
        logger.bind(event="foreign.unread", market=short.market, error=str(exc)).warning(
            "The closed orders of a market could not be read"
        )
        return 0
    booked = [await _book(desk, short, sale, since) for sale in sales]
    return sum(booked)


async def why_locked(desk: TradingAccount, market: str) -> str | None:
    """Which open orders of others lock the market's coins; None when none does.

    Raises what `Exchange.open_orders` raises.
    """
    asks = [seen for seen in await desk.exchange.open_orders(market) if seen.side == "ask"]
    others = await _of_others(desk, asks)
    if not others:
        return None
    named = (f"{seen.remaining_volume or ZERO:f} by {seen.uuid}" for seen in others)
    return f"locked by orders that are not the daemon's: {', '.join(named)}"


async def _sales(desk: TradingAccount, short: Shortage, since: datetime) -> list[Order]:
    """Sales of others with trades since then, the newest first."""
    closed = await desk.exchange.closed_orders(short.market, since - RESTED)
    sold = [seen for seen in closed if seen.side == "ask" and seen.executed_volume > 0]
    found = []
    for seen in await _of_others(desk, sold):
        whole = await desk.exchange.order(uuid=seen.uuid)
        if whole is not None and whole.trades:
            found.append((max(trade.ts for trade in whole.trades), whole))
    found.sort(key=lambda each: each[0], reverse=True)
    return [whole for filled_at, whole in found if filled_at >= since]


async def _since(desk: TradingAccount, short: Shortage) -> datetime:
    async with desk.db.begin() as conn:
        holding = (await position_store.held(conn, desk.mode)).get(short.market)
    opened_at = None if holding is None else holding.opened_at
    known = [at for at in (opened_at, short.covered_at) if at is not None]
    return (max(known) if known else desk.clock()) - MARGIN


async def _of_others(desk: TradingAccount, seen: Sequence[Order]) -> list[Order]:
    """Those orders that no table of ours knows, by either name."""
    async with desk.db.begin() as conn:
        known = await foreign_sales.known_names(
            conn,
            uuids=[each.uuid for each in seen],
            identifiers=[each.identifier for each in seen if each.identifier is not None],
        )
    return [each for each in seen if not {each.uuid, each.identifier} & known]


async def _book(desk: TradingAccount, short: Shortage, sale: Order, since: datetime) -> bool:
    """Write one sale, as far as the books still hold more than the exchange has; whether it was.

    Told before the commit: who dies in between tells again under the same key, and loses nothing.
    """
    at = desk.clock()
    async with desk.db.begin() as conn:
        holding = await position_store.lock(conn, desk.mode, short.market, at)
        fills = _fills(sale, EXACT.subtract(holding.volume, short.total), since)
        if not fills:
            return False
        order = await foreign_sales.insert(
            conn, sale, fills, mode=desk.mode, epoch=desk.epoch, at=at
        )
        if order is None:
            return False  # another process was faster
        for fill in fills:
            holding, realized = ledger.book(holding, fill)
            await position_store.add_fill(conn, order.id, fill, realized)
        await position_store.save(conn, desk.mode, short.market, holding, at=at)
        await desk.notifier.notify(_told(order, fills))
    return True


def _fills(sale: Order, missing: Decimal, since: datetime) -> list[Fill]:
    """The sale's newest trades that add up to what is missing, oldest first, with their fees.

    Trades before `since` sold coins that the books did not miss then.
    """
    trades = sorted(sale.trades or (), key=lambda trade: trade.ts)
    fees = ledger.split_fee(sale.paid_fee, [trade.funds for trade in trades])
    found: list[Fill] = []
    for trade, fee in reversed(list(zip(trades, fees, strict=True))):
        if missing <= 0 or trade.ts < since:
            break
        fill = _part(trade, fee, min(trade.volume, missing))
        missing = EXACT.subtract(missing, fill.volume)
        found.append(fill)
    return found[::-1]


def _part(trade: Trade, fee: Decimal, volume: Decimal) -> Fill:
    """So much of a trade; the rest of it sold coins that are the user's own."""
    is_whole = volume == trade.volume
    return Fill(
        uuid=trade.uuid,
        side="ask",
        price=trade.price,
        volume=volume,
        funds=trade.funds if is_whole else EXACT.multiply(trade.price, volume),
        fee=fee if is_whole else ledger.part_of_fee(fee, volume, trade.volume),
        ts=trade.ts,
    )


def _told(order: OrderRow, fills: Sequence[Fill]) -> Incident:
    volume = sum((fill.volume for fill in fills), ZERO)
    funds = sum((fill.funds for fill in fills), ZERO)
    logger.bind(
        event="foreign.sale",
        order_id=order.id,
        identifier=order.identifier,
        uuid=order.uuid,
        market=order.market,
        volume=str(volume),
        funds=str(funds),
    ).warning("Coins of the daemon were sold outside of it")
    return Incident(
        kind="foreign_sale",
        severity="warning",
        incident=f"foreign_sale:{order.identifier}",
        title=f"{order.market}: coins of the daemon were sold outside of it",
        message=f"{volume:f} in {order.market} for {funds:.0f} KRW (order {order.uuid}) are booked "
        "as a sale that is not the daemon's",
        job="orders",
        market=order.market,
        order_id=order.id,
        identifier=order.identifier,
        is_event=True,
    )
