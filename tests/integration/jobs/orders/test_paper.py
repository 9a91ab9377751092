"""The paper account is what its answers said, to the last digit, whatever dies or doubles."""

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Ambiguous, NotSent, RateLimited, Refused, Unavailable
from jobs.matching.engine import Engine, VenueError
from jobs.orders.paper_exchange import PaperExchange
from jobs.store.db import Database
from jobs.upbit.wire import Account, Level, Order, Orderbook, OrderRequest, Ticker

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
START = Decimal(10_000_000)


@dataclass
class Market:
    """Quotes under the test's control; every look sees a book that was never seen before."""

    prices: dict[str, int] = field(
        default_factory=lambda: {"KRW-BTC": 100_000_000, "KRW-XRP": 3_000}
    )
    size: Decimal = Decimal(1000)
    fault: Exception | None = None
    now: datetime = NOON

    def clock(self) -> datetime:
        return self.now

    def book(self, market: str) -> Orderbook:
        self.now += timedelta(seconds=1)
        tick = 1000 if market == "KRW-BTC" else 1
        best = Decimal(self.prices[market])
        units = tuple(
            Level(
                ask_price=best + tick * depth,
                ask_size=self.size,
                bid_price=best - tick * (depth + 1),
                bid_size=self.size,
            )
            for depth in range(3)
        )
        return Orderbook(market=market, ts=self.now, units=units)

    async def orderbooks(self, markets: Sequence[str]) -> list[Orderbook]:
        if self.fault is not None:
            raise self.fault
        return [self.book(market) for market in markets if market in self.prices]

    async def tickers(self, markets: Sequence[str]) -> list[Ticker]:
        raise AssertionError(f"nobody asked for tickers of {markets}")


@dataclass(frozen=True, kw_only=True)
class FaultyDatabase(Database):
    """Takes one fault from the list per transaction: at its begin, before or after its commit."""

    faults: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "begin":
            raise Unavailable("the database does not answer")
        async with super().begin() as connection:
            yield connection
            if fault == "before commit":
                raise Unavailable("the database does not answer")
        if fault == "after commit":
            raise Unavailable("the database does not answer")


def counter() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012}"


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def faulty(database: Database) -> FaultyDatabase:
    return FaultyDatabase(
        engine=database.engine, checkout=database.checkout, pool_stats=database.pool_stats
    )


@pytest.fixture
def paper(faulty: FaultyDatabase, market: Market) -> PaperExchange:
    return PaperExchange(faulty, market, clock=market.clock)


def limit(identifier: str, side: str, price: int, volume: str) -> OrderRequest:
    return OrderRequest(
        market="KRW-XRP",
        side="bid" if side == "bid" else "ask",
        ord_type="limit",
        identifier=identifier,
        price=Decimal(price),
        volume=Decimal(volume),
    )


def spend(identifier: str, krw: int, market: str = "KRW-XRP") -> OrderRequest:
    return OrderRequest(
        market=market, side="bid", ord_type="price", identifier=identifier, price=Decimal(krw)
    )


def sell(identifier: str, volume: str) -> OrderRequest:
    return OrderRequest(
        market="KRW-XRP",
        side="ask",
        ord_type="market",
        identifier=identifier,
        volume=Decimal(volume),
    )


def held(accounts: list[Account]) -> dict[str, tuple[object, object]]:
    return {row.currency: (row.balance, row.locked) for row in accounts}


def facts(order: Order) -> tuple[object, object, object]:
    return order.state, order.executed_volume, order.paid_fee


async def test_a_new_account_holds_the_start_balance(
    faulty: FaultyDatabase, market: Market, paper: PaperExchange
) -> None:
    assert held(await paper.accounts()) == {"KRW": (START, 0)}
    other = PaperExchange(faulty, market, clock=market.clock, start_krw=Decimal(5))
    assert held(await other.accounts()) == {"KRW": (START, 0)}, "it is opened once"


async def test_a_market_buy_is_shown_waiting_and_found_filled(paper: PaperExchange) -> None:
    shown = await paper.place(spend("a", 6000))
    assert facts(shown) == ("wait", 0, 0)
    found = await paper.order(identifier="a")
    assert found is not None
    assert found.trades is not None
    assert facts(found) == ("done", 2, 3)
    (trade,) = found.trades
    assert (str(trade.price), str(trade.volume), str(trade.funds)) == (
        "3000",
        "2.00000000",
        "6000.00000000",
    )
    assert held(await paper.accounts()) == {"KRW": (START - 6003, 0), "XRP": (2, 0)}
    assert await paper.order(uuid=shown.uuid) == found
    assert await paper.closed_orders("KRW-XRP", NOON) == [replace(found, trades=None)]
    assert await paper.closed_orders("KRW-BTC", NOON) == []
    assert await paper.closed_orders("KRW-XRP", found.created_at + timedelta(seconds=1)) == []


async def test_a_resting_order_is_filled_when_somebody_looks(
    paper: PaperExchange, market: Market
) -> None:
    await paper.place(limit("a", "bid", 2900, "10"))
    (waiting,) = await paper.open_orders("KRW-XRP")
    assert facts(waiting) == ("wait", 0, 0)
    assert (waiting.identifier, waiting.locked) == ("a", Decimal("29014.5"))
    assert await paper.open_orders("KRW-BTC") == []
    market.prices["KRW-XRP"] = 2800
    assert await paper.open_orders() == []
    found = await paper.order(identifier="a")
    assert found is not None
    assert facts(found) == ("done", 10, Decimal("14.5"))


async def test_a_market_that_is_gone_stops_nobody(paper: PaperExchange, market: Market) -> None:
    await paper.place(limit("a", "bid", 2900, "10"))
    await paper.place(spend("b", 6000, "KRW-BTC"))
    del market.prices["KRW-XRP"]
    assert [order.identifier for order in await paper.open_orders()] == ["a"]
    await paper.place(spend("c", 6000, "KRW-BTC"))
    await paper.cancel(identifier="a")
    assert await paper.open_orders() == []


async def test_a_cancel_gives_back_everything_that_was_locked(paper: PaperExchange) -> None:
    await paper.place(limit("a", "bid", 2900, "10"))
    assert held(await paper.accounts())["KRW"][1] == Decimal("29014.5")
    await paper.cancel(identifier="a")
    found = await paper.order(identifier="a")
    assert found is not None
    assert facts(found) == ("cancel", 0, 0)
    assert held(await paper.accounts()) == {"KRW": (START, 0)}


async def test_a_finished_and_an_unknown_order_cannot_be_cancelled(
    paper: PaperExchange, market: Market
) -> None:
    await paper.place(limit("a", "bid", 2900, "10"))
    market.prices["KRW-XRP"] = 2800
    for identifier in ("a", "b"):
        with pytest.raises(Refused) as refused:
            await paper.cancel(identifier=identifier)
        assert (refused.value.name, refused.value.status) == ("order_not_found", 404)
    market.fault = AssertionError("no market is open any more: the fill was stored")
    assert await paper.open_orders() == []
    assert await paper.order(identifier="b") is None


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (spend("b", 4999), "under_min_total_bid"),
        (limit("b", "bid", 3000, "4000"), "insufficient_funds_bid"),
        (sell("b", "10"), "insufficient_funds_ask"),
        (sell("b", "5000"), "volume_too_large"),
        (replace(limit("b", "bid", 3000, "10"), price=Decimal("3000.5")), "invalid_price_bid"),
        (replace(spend("b", 6000), volume=Decimal(1)), "create_bid_error"),
        (spend("b", 6000, market="KRW-NONE"), "notfoundmarket"),
        (spend("a", 6000), "duplicated_identifier"),
    ],
)
async def test_a_refusal_has_the_venues_name(
    paper: PaperExchange, request_: OrderRequest, name: str
) -> None:
    await paper.place(spend("a", 6000))
    before = await paper.accounts()
    for attempt in (paper.test_order, paper.place):
        with pytest.raises(Refused) as refused:
            await attempt(request_)
        assert refused.value.name == name
    assert await paper.accounts() == before


async def test_a_check_creates_nothing(paper: PaperExchange) -> None:
    await paper.test_order(spend("a", 6000))
    assert await paper.order(identifier="a") is None
    await paper.place(spend("a", 6000))


async def test_the_identifier_of_a_refused_order_is_burnt_for_ever(
    paper: PaperExchange, faulty: FaultyDatabase, market: Market
) -> None:
    with pytest.raises(Refused):
        await paper.place(spend("a", 4999))
    for exchange in (paper, PaperExchange(faulty, market, clock=market.clock)):
        assert await exchange.order(identifier="a") is None
        with pytest.raises(Refused) as refused:
            await exchange.place(spend("a", 6000))
        assert refused.value.name == "duplicated_identifier"
    assert held(await paper.accounts()) == {"KRW": (START, 0)}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Unavailable("no answer"), NotSent),
        (RateLimited("429", retry_after_s=1.0), RateLimited),
    ],
)
async def test_without_a_book_nothing_is_placed(
    paper: PaperExchange, market: Market, fault: Exception, error: type[Exception]
) -> None:
    market.fault = fault
    with pytest.raises(error):
        await paper.place(spend("a", 6000))
    market.fault = None
    assert await paper.order(identifier="a") is None
    await paper.place(spend("a", 6000))


@pytest.mark.parametrize(
    ("faults", "error", "is_there"),
    [
        (["begin"], NotSent, False),
        (["", "begin"], NotSent, False),
        (["", "before commit"], Ambiguous, False),
        (["", "after commit"], Ambiguous, True),
    ],
)
async def test_the_database_decides_what_became_of_an_order(
    paper: PaperExchange,
    faulty: FaultyDatabase,
    faults: list[str],
    error: type[Exception],
    is_there: bool,
) -> None:
    await paper.place(limit("first", "bid", 2900, "10"))
    faulty.faults[:] = faults
    with pytest.raises(error):
        await paper.place(limit("a", "bid", 2900, "10"))
    assert faulty.faults == []
    assert (await paper.order(identifier="a") is not None) is is_there
    count = 2 if is_there else 1
    assert len(await paper.open_orders()) == count
    assert held(await paper.accounts())["KRW"][1] == Decimal("29014.5") * count


async def test_two_processes_see_one_account(
    paper: PaperExchange, faulty: FaultyDatabase, market: Market
) -> None:
    twin = PaperExchange(faulty, market, clock=market.clock)
    for number in range(3):
        await paper.place(limit(f"a{number}", "bid", 2900, "10"))
        await twin.place(limit(f"b{number}", "bid", 2900, "10"))
    await twin.cancel(identifier="a0")
    with pytest.raises(Refused):
        await paper.cancel(identifier="a0")
    names = ["b0", "a1", "b1", "a2", "b2"]
    for exchange in (paper, twin):
        assert [order.identifier for order in await exchange.open_orders()] == names
        assert held(await exchange.accounts())["KRW"][1] == 5 * Decimal("29014.5")


async def test_an_unchanged_book_is_not_bought_twice_over(
    database: Database, market: Market
) -> None:
    """What the account took from a level is gone until the market shows another book."""
    market.size = Decimal(3)
    book = market.book("KRW-XRP")

    class Frozen(Market):
        def book(self, market: str) -> Orderbook:
            assert market == book.market
            return book

    paper = PaperExchange(database, Frozen(), clock=market.clock)
    await paper.place(limit("a", "bid", 3000, "10"))
    for _ in range(2):
        (order,) = await paper.open_orders()
        assert order.executed_volume == 3


# -- a process that may die between any two calls ----------------------------------------------


@dataclass
class Model:
    """The same rules in one process that never dies and has no database."""

    market: Market
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        krw = Account(currency="KRW", balance=START, locked=Decimal(0), avg_buy_price=Decimal(0))
        self.engine = Engine([krw], new_uuid=counter())

    def look(self, *extra: str) -> datetime:
        markets = {order.market for order in self.engine.open_orders()} | set(extra)
        for market in sorted(markets):
            self.engine.on_book(self.market.book(market), now=NOON)
        return NOON

    def place(self, request: OrderRequest) -> str:
        now = self.look(request.market)
        try:
            self.engine.place(request, now=now)
        except VenueError as exc:
            return exc.name
        self.engine.fill_due(now)
        return "placed"

    def cancel(self, identifier: str) -> str:
        now = self.look()
        try:
            self.engine.cancel(identifier=identifier, now=now)
        except VenueError as exc:
            return exc.name
        self.engine.fill_due(now)
        return "cancelled"


IDENTIFIERS = st.sampled_from([f"id{number}" for number in range(6)])
STEPS = st.one_of(
    st.builds(
        limit,
        IDENTIFIERS,
        st.sampled_from(["bid", "ask"]),
        st.integers(2990, 3010),
        st.sampled_from(["2", "7.12345678", "2000"]),
    ),
    st.builds(spend, IDENTIFIERS, st.sampled_from([4999, 6000, 333_333]), st.just("KRW-BTC")),
    st.builds(spend, IDENTIFIERS, st.integers(5000, 50_000)),
    st.builds(sell, IDENTIFIERS, st.sampled_from(["1.7", "2", "0.00000001"])),
    st.builds(lambda identifier: ("cancel", identifier), IDENTIFIERS),
    st.builds(lambda price: ("price", price), st.integers(2990, 3010)),
    st.just(("restart", 0)),
)


def nameless(order: Order | None) -> Order | None:
    """The order without the names that each side draws for itself, and without its times."""
    if order is None:
        return None
    trades = order.trades and tuple(replace(trade, uuid="", ts=NOON) for trade in order.trades)
    return replace(order, uuid="", created_at=NOON, trades=trades)


async def placed(paper: PaperExchange, request: OrderRequest) -> str:
    try:
        await paper.place(request)
    except Refused as exc:
        return exc.name
    return "placed"


async def cancelled(paper: PaperExchange, identifier: str) -> str:
    try:
        await paper.cancel(identifier=identifier)
    except Refused as exc:
        return exc.name
    return "cancelled"


@given(steps=st.lists(STEPS, min_size=1, max_size=14))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_dying_between_any_two_calls_loses_nothing_that_was_answered(
    database: Database, steps: list[OrderRequest | tuple[str, int]]
) -> None:
    """Whatever is restarted, every answer and every digit equals the process that never died."""
    async with database.begin() as conn:
        await conn.execute(text("TRUNCATE paper_balances, paper_orders"))
    ours, theirs = Market(), Market()
    model = Model(theirs)
    paper = PaperExchange(database, ours, clock=ours.clock)
    for step in steps:
        match step:
            case OrderRequest():
                assert await placed(paper, step) == model.place(step)
            case ("cancel", identifier):
                assert await cancelled(paper, str(identifier)) == model.cancel(str(identifier))
            case ("price", price):
                ours.prices["KRW-XRP"] = theirs.prices["KRW-XRP"] = price
            case _:
                paper = PaperExchange(database, ours, clock=ours.clock)
        assert held(await paper.accounts()) == held(model.engine.accounts())
    model.look()
    for number in range(6):
        found = await paper.order(identifier=f"id{number}")
        model_order = model.engine.order(identifier=f"id{number}")
        assert nameless(found) == nameless(model_order)


async def test_a_tick_that_the_exchange_states_is_demanded_here_too(
    faulty: FaultyDatabase, market: Market
) -> None:
    stated: dict[str, dict[Decimal, Decimal]] = {}
    paper = PaperExchange(faulty, market, clock=market.clock, ticks_stated=lambda: stated)
    await paper.place(limit("p1", "bid", 2901, "10"))
    stated["KRW-XRP"] = {Decimal(100): Decimal(5)}
    with pytest.raises(Refused, match="invalid_price_bid"):
        await paper.place(limit("p2", "bid", 2901, "10"))
    await paper.place(limit("p3", "bid", 2900, "10"))
