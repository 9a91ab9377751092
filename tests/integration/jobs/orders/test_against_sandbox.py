"""The orders job over real HTTP against the sandbox, whose ledger is the truth."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fixtures.trading import Alerts, Killed, MortalDatabase
from fixtures.venue import Venue
from sqlalchemy import insert, select

from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.core.job import Incident, Slot
from jobs.orders.account import TradingAccount
from jobs.orders.flatten import flatten
from jobs.orders.job import OrdersJob
from jobs.orders.quotes import MarketView
from jobs.store import equity as equity_store
from jobs.store import market_data, vitals
from jobs.store import orders as order_store
from jobs.store import positions as position_store
from jobs.store import settings as settings_store
from jobs.store.alerts import Telling, raise_alert
from jobs.store.db import Database
from jobs.store.orders import OrderRow
from jobs.store.tables import orders, signals
from jobs.upbit.client import UpbitClient, open_client
from jobs.upbit.limits import LIMITS, Limit, Limiter
from jobs.upbit.signing import Keys

BTC, SOL = "KRW-BTC", "KRW-SOL"
POST = {"method": "POST", "path": "/v1/orders"}
LOST = [
    pytest.param({"action": "reset", "when": "after"}, id="reset after it was placed"),
    pytest.param({"action": "answer", "when": "after", "status": 502, "body": "<html>"}, id="502"),
    pytest.param({"action": "garble", "when": "after"}, id="half an answer"),
    pytest.param({"action": "hang", "when": "after"}, id="no answer"),
]
NEVER = [
    pytest.param({"action": "reset", "when": "before"}, id="reset before"),
    pytest.param({"action": "hang", "when": "before"}, id="no answer before"),
    pytest.param({"action": "answer", "when": "before", "status": 500, "body": ""}, id="500"),
]


class ShiftedClock:
    """The present, moved ahead by what was slept instead of waiting."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass
class Live:
    """The job in live mode on a fresh account of the sandbox."""

    db: MortalDatabase
    venue: Venue
    client: UpbitClient
    clock: ShiftedClock
    alerts: Alerts
    job: OrdersJob

    async def signal(self, action: str, market: str = BTC) -> None:
        ids = await market_data.insert(self.db, await self.client.tickers([market]))
        async with self.db.engine.begin() as conn:
            statement = insert(signals).values(
                market_data_id=ids[market],
                market=market,
                action=action,
                confidence=1,
                reason="a test",
                source="rules",
                model="none",
                candle_ts=self.clock(),
                created_at=self.clock(),
            )
            await conn.execute(statement)

    async def run(self) -> None:
        slot = Slot(job="orders", scheduled_at=self.clock(), run_id="run")
        await self.job.run(slot)

    async def until_settled(self) -> None:
        """Passes ten seconds apart until nothing is open."""
        for _ in range(10):
            try:
                await self.run()
            except JobError:
                continue
            finally:
                await self.clock.sleep(10)
            async with self.db.begin() as conn:
                if not await order_store.unfinished(conn, "live"):
                    return
        raise AssertionError("not settled")

    def restart(self) -> None:
        self.db.revive()
        self.job = replace(self.job, standing=type(self.job.standing)())

    async def rows(self) -> list[OrderRow]:
        async with self.db.begin() as conn:
            ids = (await conn.execute(select(orders.c.id).order_by(orders.c.id))).scalars().all()
            return [await order_store.lock(conn, each) for each in ids]

    async def assert_ledgers_agree(self) -> None:
        """Every order, fill, fee and position is what the venue's own ledger says."""
        theirs = {order["identifier"]: order for order in self.venue.orders()}
        rows = await self.rows()
        for row in rows:
            order = theirs.pop(row.identifier, None)
            assert (order is None) == (row.state == "refused"), row
            if order is not None:
                await self._assert_same(row, order)
        assert not theirs, "an order at the venue that no row knows"
        async with self.db.begin() as conn:
            held = await position_store.held(conn, "live")
        balances = self.venue.balances()
        assert {market: h.volume for market, h in held.items()} == {
            f"KRW-{coin}": sum(both, Decimal(0))
            for coin, both in balances.items()
            if coin != "KRW" and any(both)
        }

    async def _assert_same(self, row: OrderRow, order: dict[str, Any]) -> None:
        assert (row.uuid, row.state) == (order["uuid"], order["state"])
        assert row.executed_volume == Decimal(order["executed_volume"])
        assert row.paid_fee == Decimal(order["paid_fee"])
        async with self.db.begin() as conn:
            fills = [s.fill for s in await position_store.fills_of(conn, row.id)]
        assert [(f.uuid, f.price, f.volume, f.funds, f.fee) for f in fills] == [
            (f["uuid"], *(Decimal(f[name]) for name in ("price", "volume", "funds", "fee")))
            for f in order["fills"]
        ]


@pytest.fixture
async def live(database: Database, venue: Venue) -> AsyncIterator[Live]:
    """A desk on a new account, with a client that gives up after a second and a half."""
    clock, alerts, db = ShiftedClock(), Alerts(), MortalDatabase.of(database)
    opened = open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, venue.secret_key),
        gates=Gates(clock),
        limiter=Limiter(limits={group: Limit(10_000) for group in LIMITS}),
        clock=clock,
        timeout_s=1.5,
    )
    async with opened as client:
        venue.calm(BTC)
        desk = TradingAccount(db=db, exchange=client, clock=clock, notifier=alerts, mode="live")
        view = MarketView(db=db, exchange=client, quotes=client, clock=clock)
        job = OrdersJob(desk=desk, view=view, sleep=clock.sleep)
        yield Live(db=db, venue=venue, client=client, clock=clock, alerts=alerts, job=job)


@pytest.mark.parametrize("style", ["limit", "market", "best"])
async def test_buying_and_selling_agrees_with_the_venue_to_the_last_digit(
    live: Live, style: str
) -> None:
    await settings_store.write(live.db, "entry_order", style, "test")
    await live.signal("buy")
    await live.until_settled()
    await live.assert_ledgers_agree()
    (bought,) = await live.rows()
    assert bought.executed_volume > 0
    await live.signal("sell")
    await live.until_settled()
    await live.assert_ledgers_agree()
    _, sold = await live.rows()
    assert (sold.state, sold.executed_volume) == ("done", bought.executed_volume)


@pytest.mark.parametrize("fault", LOST)
async def test_an_order_whose_answer_is_lost_is_found_and_not_sent_again(
    live: Live, fault: dict[str, object]
) -> None:
    live.venue.fault(**POST, **fault)
    await live.signal("buy")
    await live.until_settled()
    (row,) = await live.rows()
    assert row.state in ("done", "cancel")
    assert row.executed_volume > 0
    await live.assert_ledgers_agree()


@pytest.mark.parametrize("fault", NEVER)
async def test_an_order_that_never_arrived_is_given_up_and_asked_for_anew(
    live: Live, fault: dict[str, object]
) -> None:
    live.venue.fault(**POST, **fault)
    await live.signal("buy")
    await live.run()
    assert [row.state for row in await live.rows()] == ["unknown"]
    await live.clock.sleep(10)
    await live.until_settled()
    first, second = await live.rows()
    assert (first.reason or "").startswith("never arrived")
    assert second.executed_volume > 0
    await live.assert_ledgers_agree()


@pytest.mark.parametrize("status", [429, 418])
async def test_over_the_limit_an_order_is_not_sent_and_tried_again_later(
    live: Live, status: int
) -> None:
    live.venue.fault(
        **POST,
        action="answer",
        status=status,
        body={"error": {"name": status, "message": "blocked for 5 seconds"}},
    )
    await live.signal("buy")
    await live.until_settled()
    await live.until_settled()
    first, second = await live.rows()
    assert (first.reason or "").startswith("never sent")
    assert second.executed_volume > 0
    await live.assert_ledgers_agree()


async def test_a_refusal_by_name_ends_the_order(live: Live) -> None:
    live.venue.fault(
        **POST,
        action="answer",
        status=400,
        body={"error": {"name": "insufficient_funds_bid", "message": "부족합니다."}},
    )
    await live.signal("buy")
    await live.until_settled()
    (row,) = await live.rows()
    assert row.reason == "refused by the venue: insufficient_funds_bid"
    assert live.venue.orders() == []


async def test_a_partial_fill_times_out_and_keeps_what_was_bought(live: Live) -> None:
    live.venue.fault(**POST, share="0.4")
    await live.signal("buy")
    await live.run()
    (row,) = await live.rows()
    assert (row.state, row.volume) == ("wait", row.volume)
    assert row.volume is not None
    assert 0 < row.executed_volume < row.volume
    await live.clock.sleep(60)
    await live.until_settled()
    (row,) = await live.rows()
    assert (row.state, row.reason) == ("cancel", "cancelled by the daemon")
    await live.assert_ledgers_agree()


@pytest.mark.parametrize("side", ["before", "after"])
async def test_killed_around_every_commit_the_next_process_goes_on(live: Live, side: Any) -> None:
    """Each pass dies one commit later than the one before; every order there is agrees."""
    for number in range(1, 20):
        await live.signal("buy" if number % 2 else "sell")
        live.db.revive((number, side))
        try:
            await live.run()
        except Killed:
            live.restart()
        live.db.revive()
        await live.clock.sleep(61)
        await live.until_settled()
        await live.assert_ledgers_agree()
    identifiers = [row.identifier for row in await live.rows()]
    assert len(set(identifiers)) == len(identifiers)


async def test_flatten_leaves_nothing_at_the_venue(live: Live) -> None:
    await live.signal("buy", BTC)
    await live.signal("buy", "KRW-ETH")
    await live.until_settled()
    result = await flatten(live.job.desk, live.job.view, sleep=live.clock.sleep)
    assert result.is_flat, result
    assert set(live.venue.balances()) == {"KRW"}
    await live.assert_ledgers_agree()


# -- a market that is gone ---------------------------------------------------------------------


async def hold_two(live: Live) -> None:
    for market in (BTC, SOL):
        live.venue.calm(market)
        await live.signal("buy", market)
    await live.until_settled()
    async with live.db.begin() as conn:
        assert (await position_store.held(conn, "live")).keys() == {BTC, SOL}


async def test_a_delisted_holding_keeps_no_other_market_from_its_stop(live: Live) -> None:
    await hold_two(live)
    live.venue.options(delisted=[SOL])
    live.venue.force_price(BTC, live.venue.price(BTC, down_pct=8))
    await live.run()  # no failure, in the very first pass
    sold = (await live.rows())[-1]
    assert (sold.market, sold.purpose, sold.side) == (BTC, "stop_loss", "ask")


async def test_a_delisted_holding_is_worth_its_last_stored_price(live: Live) -> None:
    await hold_two(live)
    btc, sol = await live.client.tickers([BTC, SOL])
    await live.clock.sleep(1)
    last = replace(sol, price=sol.price * 2, ts=live.clock())
    await market_data.insert(live.db, [last])
    live.venue.options(delisted=[SOL])
    await live.clock.sleep(3600)
    await live.run()
    async with live.db.begin() as conn:
        row = await equity_store.newest(conn, "live")
        held = await position_store.held(conn, "live")
    assert row is not None
    assert row.positions_krw == held[BTC].volume * btc.price + held[SOL].volume * last.price


async def test_entries_elsewhere_go_on_beside_a_delisted_holding(live: Live) -> None:
    (ticker,) = await live.client.tickers([SOL])
    live.venue.force_price(SOL, ticker.price)
    await live.signal("buy", SOL)
    await live.until_settled()
    live.venue.options(delisted=[SOL])
    await live.clock.sleep(60)
    await live.signal("buy", BTC)
    await live.run()
    assert [row.market for row in await live.rows()] == [SOL, BTC]


async def test_flatten_sells_the_others_and_names_what_is_delisted(live: Live) -> None:
    await hold_two(live)
    live.venue.options(delisted=[SOL])
    result = await flatten(live.job.desk, live.job.view, sleep=live.clock.sleep)
    assert list(result.sold) == [BTC]
    assert list(result.left) == [SOL]
    assert "notfoundmarket" in result.left[SOL]


async def test_a_delisted_holding_is_named_by_health_once_it_was_told(live: Live) -> None:
    await hold_two(live)
    assert (await vitals.order_vitals(live.db, "live")).delisted == []
    incident = Incident(
        kind="market_gone",
        severity="critical",
        incident=f"market_gone:{SOL}",
        title="gone",
        message="gone",
    )
    await raise_alert(live.db, incident, Telling(hooks={}, dedupe=timedelta(0)), live.clock())
    assert (await vitals.order_vitals(live.db, "live")).delisted == [SOL]
    assert (await vitals.order_vitals(live.db, "paper")).delisted == []
