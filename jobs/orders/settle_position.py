"""A position is written down to what the exchange holds: coins withdrawn, staked or renamed.

Sales of others are booked first: they have a price and a fee. What no sale explains leaves the
books as if it was sold at the market's price, without a fee: the loss or gain until then was the
daemon's, and neither the day's loss nor the drawdown jumps. Who did it stands in
`position_settlements`. More coins than the books hold are never added.
"""

from dataclasses import dataclass
from decimal import Decimal

from loguru import logger

from jobs.core.errors import JobError, Transient
from jobs.domain import ledger
from jobs.domain.ledger import Holding
from jobs.domain.order_states import State
from jobs.orders.account import TradingAccount
from jobs.orders.balances import compare_balances, covered_before, shortage_incident_key
from jobs.orders.quotes import MarketView
from jobs.orders.tracking import tend
from jobs.store import orders as order_store
from jobs.store import position_settlements
from jobs.store import positions as position_store
from jobs.store.position_settlements import Settlement

_NEVER_S = float("inf")


class UnknownMarket(LookupError):
    """The books never held anything in this market."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the books hold in a market and the exchange does not have.

    `price` is what that is worth each; `booked` tells whether sales of others were found on the
    way.
    """

    market: str
    before: Decimal
    after: Decimal
    price: Decimal
    realized_krw: Decimal
    booked: bool

    @property
    def is_none(self) -> bool:
        """Whether books and exchange agree, or the exchange has more."""
        return self.before == self.after


async def find_difference(desk: TradingAccount, view: MarketView, market: str) -> Difference:
    """Compare one position with the exchange, and book the sales of others that explain anything.

    Raises UnknownMarket, and Transient while an order of the market is unanswered or the exchange
    cannot be asked.
    """
    async with desk.db.begin() as conn:
        if not await position_store.is_known(conn, desk.mode, market):
            raise UnknownMarket(market)

    async def tend_again() -> None:
        await _tend(desk, market)

    await tend_again()
    covered_at = await covered_before(desk)
    short, booked = await compare_balances(desk, covered_at, tend_again)
    mine = next((each for each in short if each.market == market), None)
    async with desk.db.begin() as conn:
        holding = (await position_store.held(conn, desk.mode)).get(market, Holding())
    price = await _price(view, market, holding)
    to = holding.volume if mine is None else mine.total
    _, realized = ledger.write_down(holding, to=to, price=price)
    return Difference(
        market=market,
        before=holding.volume,
        after=to,
        price=price,
        realized_krw=realized,
        booked=market in booked,
    )


async def settle_position(
    desk: TradingAccount, view: MarketView, market: str, *, by: str
) -> Difference:
    """Write a position down to what the exchange holds, in the name of `by`; return what changed.

    Raises what `find_difference` raises, and Transient when the books moved meanwhile.
    """
    found = await find_difference(desk, view, market)
    if found.is_none:
        return found
    at = desk.clock()
    async with desk.db.begin() as conn:
        holding = await position_store.lock(conn, desk.mode, market, at)
        if holding.volume != found.before:
            raise Transient("the position moved meanwhile, compare again", market=market)
        after, realized = ledger.write_down(holding, to=found.after, price=found.price)
        await position_store.save(conn, desk.mode, market, after, at=at)
        await position_settlements.add(
            conn,
            Settlement(
                mode=desk.mode,
                market=market,
                volume_before=found.before,
                volume_after=found.after,
                price=found.price,
                realized_krw=realized,
                settled_by=by,
                settled_at=at,
            ),
        )
    logger.bind(
        event="position.settled",
        market=market,
        before=str(found.before),
        after=str(found.after),
        price=str(found.price),
        by=by,
    ).warning("A person had a position written down")
    await desk.notifier.resolve(shortage_incident_key(market))
    return found


async def _tend(desk: TradingAccount, market: str) -> None:
    """Take the market's open orders as far as evidence goes; an unanswered one bars settling."""
    async with desk.db.begin() as conn:
        mine = [o for o in await order_store.unfinished(conn, desk.mode) if o.market == market]
    for order in mine:
        await tend(desk, order, timeout_s=_NEVER_S)
    async with desk.db.begin() as conn:
        left = [o for o in await order_store.unfinished(conn, desk.mode) if o.market == market]
    for order in left:
        if order.state is not State.WAIT:
            raise Transient(
                f"order {order.identifier} of {market} is {order.state}: what it sold is not known "
                "yet, settle when it is answered"
            )


async def _price(view: MarketView, market: str, holding: Holding) -> Decimal:
    """The market's price now, else the newest stored one, else what the coins cost."""
    try:
        if (price := (await view.prices([market])).get(market)) is not None:
            return price
    except JobError:
        pass  # a market that is gone has none: the stored price is the best there is
    stored = (await view.stored([market])).get(market)
    return stored.price if stored is not None else holding.avg_price
