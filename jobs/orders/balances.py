"""Do the exchange's balances cover the positions?

What is missing is looked for among the sales of others before it is called a mismatch. More coins
than the books hold are the user's own: they are no mismatch and are never sold.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal

from jobs.domain.ledger import EXACT, ZERO
from jobs.domain.order_states import State
from jobs.orders.account import TradingAccount
from jobs.orders.foreign import Shortage, book_foreign_sales
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import reconciliations
from jobs.store.orders import OrderRow
from jobs.upbit.wire import Account

CoveredAt = dict[str, datetime]
"""When the exchange was last seen to have all that the books hold, by market."""

_NAMES_SHORTAGE = "the books hold "


async def compare_balances(
    desk: TradingAccount, covered_at: CoveredAt, tend_again: Callable[[], Awaitable[None]]
) -> tuple[list[Shortage], set[str]]:
    """Find what is missing, seen twice with a fresh look at open orders between, book the sales of
    others that explain it, and return what remains and the markets of which sales were booked.
    """
    if not await uncovered(desk, covered_at):
        return [], set()
    await tend_again()  # a sale may have filled between two questions
    found = await uncovered(desk, covered_at)
    booked = {short.market for short in found if await book_foreign_sales(desk, short)}
    return (await uncovered(desk, covered_at) if booked else found), booked


async def uncovered(desk: TradingAccount, covered_at: CoveredAt) -> list[Shortage]:
    """Positions that the balances do not cover; the others are noted in `covered_at`."""
    at = desk.clock()
    accounts = {each.currency: each for each in await desk.exchange.accounts()}
    async with desk.db.begin() as conn:
        holdings = await position_store.held(conn, desk.mode)
        selling = _selling(await order_store.unfinished(conn, desk.mode))
    short = []
    for market, holding in holdings.items():
        if not _is_readable(accounts, market):
            continue  # the exchange has it and does not say how much: no proof of anything
        total = EXACT.add(_total(accounts, market), selling.get(market, ZERO))
        if total < holding.volume:
            since = covered_at.get(market)
            short.append(
                Shortage(market=market, held=holding.volume, total=total, covered_at=since)
            )
        else:
            covered_at[market] = at
    return short


async def covered_before(desk: TradingAccount) -> CoveredAt:
    """What an earlier process noted: the newest comparison covered every market it did not name."""
    async with desk.db.begin() as conn:
        newest = await reconciliations.newest(conn, desk.mode)
        holdings = await position_store.held(conn, desk.mode)
    if newest is None:
        return {}
    short = {each.partition(":")[0] for each in newest.mismatches if _NAMES_SHORTAGE in each}
    return dict.fromkeys(holdings.keys() - short, newest.checked_at)


def describe(short: Shortage) -> str:
    """What is missing, for people and for `covered_before`."""
    return f"{_NAMES_SHORTAGE}{short.held:f} in {short.market}, the venue {short.total:f}"


def shortage_incident_key(market: str) -> str:
    """The key of the alert about coins that are missing in `market`."""
    return f"reconcile_mismatch:balance:{market}"


def advice_for(mismatch: str) -> str | None:
    """What a person can do about a stored mismatch ("MARKET: message"), if coins are missing."""
    market, _, message = mismatch.partition(": ")
    return advice(market) if message.startswith(_NAMES_SHORTAGE) else None


def advice(market: str) -> str:
    """What a person can do about coins that are missing."""
    return f"`upbitd positions settle {market}` writes the books down to what the exchange holds"


def _selling(unfinished: list[OrderRow]) -> dict[str, Decimal]:
    """What asks that nobody has answered for may already have sold, by market."""
    selling: dict[str, Decimal] = {}
    for order in unfinished:
        if order.side == "ask" and order.state is not State.WAIT and order.volume is not None:
            selling[order.market] = EXACT.add(selling.get(order.market, ZERO), order.volume)
    return selling


def _is_readable(accounts: Mapping[str, Account], market: str) -> bool:
    account = accounts.get(market.partition("-")[2])
    return account is None or account.is_readable


def _total(accounts: Mapping[str, Account], market: str) -> Decimal:
    account = accounts.get(market.partition("-")[2])
    return ZERO if account is None else EXACT.add(account.balance, account.locked)
