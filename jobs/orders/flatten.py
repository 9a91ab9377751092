"""Get out: cancel every open order of the daemon and sell everything it holds.

Sales take the steps of every exit (exit_form.py), one right after the other: IOC limits that widen,
then any price, until it is sold or no form is left.

A person's order, which `halted` does not stop. It may run beside a daemon that trades; halt that
first, or it may buy again what is sold here.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

from loguru import logger

from jobs.core.errors import JobError
from jobs.core.job import Sleep
from jobs.domain.due_exits import LAST_RUNG, MOST_HALVINGS, DueExit
from jobs.domain.ledger import EXACT, ZERO, Holding
from jobs.domain.order_states import State
from jobs.domain.portfolio import Money, Rules, Wish
from jobs.domain.risk import Refusal
from jobs.orders import exit_alerts
from jobs.orders.account import TradingAccount
from jobs.orders.balances import advice, covered_before, uncovered
from jobs.orders.foreign import book_foreign_sales, why_locked
from jobs.orders.placement import refused_as, reserve, send
from jobs.orders.quotes import MarketView
from jobs.orders.tracking import cancel, tend
from jobs.store import due_exits as due_store
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store.orders import OrderRow
from jobs.upbit.wire import Orderbook

LOOKS = 20
PAUSE_S = 0.5
_NEVER_S = float("inf")
STEPS = 3 * (LAST_RUNG + 1 + MOST_HALVINGS)
"""Orders in one market at most: every form and volume, and some that sell a part."""


@dataclass(slots=True, kw_only=True)
class Flattened:
    """What flattening did. `left` says, for every order or position that remains, why; `gone` names
    the positions of which the venue has nothing: there is nothing left to sell.
    """

    cancelled: list[str] = field(default_factory=list)
    sold: dict[str, Decimal] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)

    @property
    def is_flat(self) -> bool:
        """Whether nothing of the daemon is left at the venue."""
        return not self.left


async def flatten(
    desk: TradingAccount, view: MarketView, *, sleep: Sleep, only: str | None = None
) -> Flattened:
    """Cancel, wait for the cancels, sell step by step: ten seconds each at most.

    With `only` nothing but this market is touched.

    Trouble with one order or market is written under `left`; the others are still done. Raises
    only when the database is away.
    """
    result = Flattened()
    scope = _Scope(desk, only)
    await _cancel_all(scope, result)
    await _wait(scope, result, sleep)
    await _book_sales_of_others(desk, result)
    sales = _Sales()
    for _ in range(STEPS):
        if not await _sell_all(scope, view, sales, result):
            break
        await _wait(scope, result, sleep)
        if await _cancel_resting(scope, sales, result):
            await _wait(scope, result, sleep)
    await _sum_up(scope, sales, result)
    await _account_for(scope, view, result)
    return result


@dataclass(slots=True)
class _Sales:
    """How the sale of each market goes, the orders sent, and the markets with no step left."""

    due: dict[str, DueExit] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    over: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is to end: everything of the desk, or one market's."""

    desk: TradingAccount
    only: str | None

    async def open_orders(self) -> list[OrderRow]:
        async with self.desk.db.begin() as conn:
            found = await order_store.unfinished(conn, self.desk.mode)
        return [order for order in found if self.only in {None, order.market}]

    async def holdings(self) -> dict[str, Holding]:
        async with self.desk.db.begin() as conn:
            found = await position_store.held(conn, self.desk.mode)
        return {market: held for market, held in found.items() if self.only in {None, market}}


@contextmanager
def _noting(result: Flattened, name: str) -> Iterator[None]:
    """Write trouble with one order or market under its name; the others are still done."""
    try:
        yield
    except JobError as exc:
        result.left[name] = str(exc)
    except Exception as exc:  # noqa: BLE001 - a bug about one must not keep the others in
        logger.bind(event="job.bug", about=name).exception("Flattening raised what it should not")
        result.left[name] = f"{type(exc).__name__}: {exc}"


async def _cancel_all(scope: _Scope, result: Flattened) -> None:
    for order in await scope.open_orders():
        if order.state is State.WAIT:
            with _noting(result, order.identifier):
                await cancel(scope.desk, order)
                result.cancelled.append(order.identifier)


async def _wait(scope: _Scope, result: Flattened, sleep: Sleep) -> None:
    """Look at what is open until nothing is, some looks long."""
    for _ in range(LOOKS):
        waiting = [o for o in await scope.open_orders() if o.state is not State.INTENT]
        if not waiting:
            return
        for order in waiting:
            with _noting(result, order.identifier):
                await tend(scope.desk, order, timeout_s=_NEVER_S)
        await sleep(PAUSE_S)


async def _book_sales_of_others(desk: TradingAccount, result: Flattened) -> None:
    """What the user has sold by hand is sold: book it, or the books stay above the venue."""
    with _noting(result, "balances"):
        for short in await uncovered(desk, await covered_before(desk)):
            await book_foreign_sales(desk, short)


async def _money(desk: TradingAccount, view: MarketView) -> Money:
    """The balances; unknown ones when they cannot be had: a sale needs none."""
    try:
        return await view.money()
    except Exception:  # noqa: BLE001 - whatever an odd row raises, getting out needs no balances
        return Money(free_krw=ZERO, total_krw=ZERO, at=desk.clock())


async def _sell_all(scope: _Scope, view: MarketView, sales: _Sales, result: Flattened) -> bool:
    """Send the next order of each market that is still held; whether there was one."""
    held = await scope.holdings()
    holdings = {market: each for market, each in held.items() if market not in sales.over}
    prices = {market: holding.avg_price for market, holding in holdings.items()}
    try:
        prices.update(await view.prices(holdings))
    except Exception:  # noqa: BLE001 - the price only guesses whether it is dust: the venue decides
        prices.update({m: s.price for m, s in (await view.stored(holdings)).items()})
    books: dict[str, Orderbook] = {}
    with suppress(Exception):  # without a book the last price bounds the sale
        books = await view.books(holdings)
    money = await _money(scope.desk, view)
    sent = len(sales.sent)
    for market, holding in holdings.items():
        if money.total(market) == ZERO:
            continue
        sales.over.add(market)  # whatever happens now is its end, unless the next step differs
        with _noting(result, market):
            rules = Rules(
                chance=await view.exit_chance(market),
                price=prices[market],
                book=books.get(market),
                due=sales.due.get(market),
                ticks=await view.ticks_of(market),
            )
            await _sell(scope.desk, rules, holding, (money, prices), sales, result)
    return len(sales.sent) > sent


async def _sell(
    desk: TradingAccount,
    rules: Rules,
    holding: Holding,
    known: tuple[Money, dict[str, Decimal]],
    sales: _Sales,
    result: Flattened,
) -> None:
    market, now = rules.chance.market, desk.clock()
    due = rules.due or DueExit(purpose="flatten", reason="flatten", since=now)
    wish = Wish(
        market=market,
        side="ask",
        purpose="flatten",
        identifier=desk.name_order(now),
        reason="flatten",
    )
    money, prices = known
    due = due.progressed(holding.volume)
    verdict = await reserve(desk, wish, replace(rules, due=due), money=money, prices=prices)
    if isinstance(verdict, Refusal):
        result.left[market] = await why_locked(desk, market) or verdict.reason
        return
    order = await send(desk, verdict)
    sales.sent.append(order.identifier)
    refusal, volume = refused_as(order), order.volume or ZERO
    if order.state is State.REFUSED:
        result.left[market] = order.reason or "refused"
    else:
        result.left.pop(market, None)
    sales.due[market] = due.tried(held=holding.volume, sent=volume, refusal=refusal)
    tried = sales.due[market]
    is_certain = refusal is not None or order.state is not State.REFUSED
    if is_certain and tried.failed > due.failed and not tried.repeats(volume):
        sales.over.discard(market)


async def _cancel_resting(scope: _Scope, sales: _Sales, result: Flattened) -> bool:
    """Take back our own sales that nobody has bought; whether there were any.

    A market that offers limit orders alone lets them rest: the next step goes further.
    """
    resting = [order for order in await scope.open_orders() if order.identifier in sales.sent]
    waiting = [order for order in resting if order.state is State.WAIT]
    for order in waiting:
        with _noting(result, order.identifier):
            await cancel(scope.desk, order)
    return bool(waiting)


async def _sum_up(scope: _Scope, sales: _Sales, result: Flattened) -> None:
    """What the orders of all steps have sold together."""
    async with scope.desk.db.begin() as conn:
        rows = await order_store.by_identifier(conn, scope.desk.mode, sales.sent)
    for row in sorted(rows.values(), key=lambda each: each.id):
        if row.executed_volume:
            sold = result.sold.get(row.market, ZERO)
            result.sold[row.market] = EXACT.add(sold, row.executed_volume)
    held = await scope.holdings()
    for market in [each for each in result.sold if each not in held]:
        await scope.desk.notifier.resolve(exit_alerts.key(market))
        async with scope.desk.db.begin() as conn:
            await due_store.remove(conn, scope.desk.mode, market)


async def _account_for(scope: _Scope, view: MarketView, result: Flattened) -> None:
    """Say what is still there, and forget trouble that has passed."""
    money = await _money(scope.desk, view)
    open_orders = {order.identifier: order.state.value for order in await scope.open_orders()}
    holdings = await scope.holdings()
    why = result.left
    result.gone = {
        market: f"{holding.volume:f} of the books are not at the exchange; {advice(market)}"
        for market, holding in holdings.items()
        if money.total(market) == ZERO
    }
    result.left = {
        **{name: why.get(name, f"still {state}") for name, state in open_orders.items()},
        **{
            market: why.get(market, f"{holding.volume:f} still held")
            for market, holding in holdings.items()
            if market not in result.gone
        },
    }
