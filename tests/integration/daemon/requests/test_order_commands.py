"""`upbitd explain` and `upbitd flatten` on a live account of the sandbox, as a person runs them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import typer
from fixtures.trading import Alerts
from fixtures.venue import Venue
from typer.testing import CliRunner, Result

from daemon.cli import explain, flatten, halt, positions, settings
from daemon.postgres.pool import PoolOptions, open_database
from jobs.core.cooldowns import Gates
from jobs.core.job import Slot
from jobs.orders.account import TradingAccount
from jobs.orders.job import OrdersJob
from jobs.orders.quotes import MarketView
from jobs.store import settings as settings_store
from jobs.upbit.client import open_client
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.wire import OrderRequest

Run = Callable[..., Awaitable[Result]]
SIGNAL = """
WITH call AS (
    INSERT INTO llm_calls (model, model_version, prompt_hash, prompt, answer, tokens_in, tokens_out,
                           outcome, day)
    VALUES ('flash', 'flash-001', 'f00dcafe', '{}', '{"candidates": []}', 900, 80, 'ok', now())
    RETURNING id
), seen AS (
    INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
    VALUES ('KRW-BTC', now(), 152000000, 1, 1, 0.01) RETURNING id
)
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model,
                     llm_call_id, candle_ts)
SELECT seen.id, 'KRW-BTC', 'buy', 0.9, 'rising', 'gemini', 'flash', call.id, now() FROM call, seen
"""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def run(tmp_path: Path, dsn: str, venue: Venue, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call a command; it brings its own event loop."""
    monkeypatch.setenv("UPBIT_ACCESS_KEY", venue.access_key)
    monkeypatch.setenv("UPBIT_SECRET_KEY", venue.secret_key)
    path = tmp_path / "config.toml"
    path.write_text(
        f"[daemon]\nstate_dir = '{tmp_path}'\n[database]\nurl = '{dsn}'\n"
        f"[trading]\nmode = 'live'\n[upbit]\nbase_url = '{venue.base_url}'\n"
    )
    app = typer.Typer()
    for family in (explain, flatten, halt, positions, settings):
        family.register(app)

    async def call(*arguments: str) -> Result:
        command = [*arguments, "--config", str(path)]
        return await asyncio.to_thread(CliRunner().invoke, app, command, catch_exceptions=False)

    return call


async def buy(dsn: str, venue: Venue) -> str:
    """Act on a signal as the daemon does; return the order's identifier."""
    opened = open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, venue.secret_key),
        gates=Gates(now),
        limiter=Limiter(),
        clock=now,
    )
    async with open_database(dsn, PoolOptions(pool_min=1)) as db, opened as client:
        async with db.connection() as connection:
            await connection.execute(SIGNAL.encode())
        await settings_store.write(db, "entry_order", "market", "test")  # does not wait for a price
        await settings_store.write(db, "max_entry_deviation_pct", 0, "test")  # planted data
        desk = TradingAccount(db=db, exchange=client, clock=now, notifier=Alerts(), mode="live")
        view = MarketView(db=db, exchange=client, quotes=client, clock=now)
        every_run = timedelta(0)
        job = OrdersJob(desk=desk, view=view, sleep=asyncio.sleep, equity_every=every_run)
        state = None
        while state not in ("done", "cancel"):  # the book may fill it in parts
            await job.run(Slot(job="orders", scheduled_at=now(), run_id="run"))
            async with db.connection() as connection:
                rows = await connection.execute("SELECT identifier, state FROM orders")
                ((identifier, state),) = await rows.fetchall()
    return str(identifier)


async def test_explain_tells_an_order_from_its_market_data_to_the_ledger(
    run: Run, dsn: str, venue: Venue
) -> None:
    identifier = await buy(dsn, venue)
    (order,) = venue.orders()
    told = json.loads((await run("explain", identifier, "--json")).stdout)
    assert told["market"]["price"] == "152000000"
    assert told["model_call"]["prompt_hash"] == "f00dcafe"
    assert (told["signal"]["action"], told["signal"]["status"]) == ("buy", "executed")
    assert told["order"]["uuid"] == order["uuid"]
    kinds = [event["kind"] for event in told["events"]]
    assert kinds[:3] == ["intent", "post", "accepted"]
    assert kinds[-1] == "final"
    assert [each["fill"]["uuid"] for each in told["fills"]] == [f["uuid"] for f in order["fills"]]
    volume = Decimal(told["ledger"]["holding"]["volume"])
    assert volume == Decimal(order["executed_volume"])
    assert told["ledger"]["equity_krw"] is not None


async def test_explain_finds_an_order_by_every_name_and_says_each_part(
    run: Run, dsn: str, venue: Venue
) -> None:
    identifier = await buy(dsn, venue)
    (order,) = venue.orders()
    by_name = (await run("explain", identifier)).stdout
    assert (await run("explain", order["uuid"])).stdout == by_name
    with psycopg.connect(dsn) as connection:
        ((number,),) = connection.execute("SELECT id FROM orders").fetchall()
    assert (await run("explain", str(number))).stdout == by_name
    headings = [line for line in by_name.splitlines() if not line.startswith(" ")]
    assert headings == [
        "market data",
        "model",
        "signal",
        "risk and intent",
        "attempts",
        "fills",
        "order now",
        "ledger",
    ]
    assert "f00dcafe" in by_name
    assert "sent -> wait" in by_name


async def test_an_order_nobody_knows_is_a_fault_of_one_line(run: Run) -> None:
    result = await run("explain", "9" * 30)
    assert result.exit_code == 1
    assert result.stderr.startswith("upbitd: there is no order 9999")


async def test_flatten_sells_what_is_held_beside_a_halt(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    assert "BTC" in venue.balances()
    result = await run("flatten", "--halt", "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("flat: no open order and no position is left\n")
    assert set(venue.balances()) == {"KRW"}
    assert (await run("settings", "get", "halted")).stdout == "all\n"
    again = json.loads((await run("flatten", "--yes", "--json")).stdout)
    assert again == {"cancelled": [], "sold": {}, "left": {}, "gone": {}, "is_flat": True}


async def test_what_cannot_be_sold_is_told_and_ends_with_1(
    run: Run, dsn: str, venue: Venue
) -> None:
    await buy(dsn, venue)
    venue.options(offline=["KRW-BTC"])
    result = await run("flatten", "--yes")
    assert result.exit_code == 1
    assert "left: KRW-BTC: refused by the venue: market_offline" in result.stderr


async def test_without_a_terminal_flatten_wants_a_yes(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    result = await run("flatten")
    assert result.exit_code == 1
    assert "this ends 0 open orders and 1 positions (live): say --yes" in result.stderr
    assert "BTC" in venue.balances()


async def test_resume_does_not_hide_a_halt_file(run: Run, tmp_path: Path) -> None:
    await run("halt")
    (tmp_path / "HALT").touch()
    result = await run("resume")
    assert result.exit_code == 1
    assert f"still halted: remove the file {tmp_path / 'HALT'}" in result.stderr


# -- positions settle --------------------------------------------------------------------------


def withdraw(venue: Venue, share: Decimal = Decimal(1)) -> Decimal:
    """Take coins out of the account without an order; return how many."""
    amount = venue.balances()["BTC"][0] * share
    venue.tell("credit", pocket=venue.pocket, currency="BTC", amount=str(-amount))
    return amount


async def sell_by_hand(venue: Venue) -> None:
    opened = open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, venue.secret_key),
        gates=Gates(now),
        limiter=Limiter(),
        clock=now,
    )
    async with opened as client:
        await client.place(
            OrderRequest(
                market="KRW-BTC",
                side="ask",
                ord_type="market",
                identifier=f"by-hand-{venue.pocket}",
                volume=venue.balances()["BTC"][0],
            )
        )


def settlements(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        query = "SELECT market, volume_before, volume_after, settled_by FROM position_settlements"
        return list(connection.execute(query).fetchall())


async def test_settle_writes_down_what_was_withdrawn(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    amount = withdraw(venue)
    result = await run("positions", "settle", "KRW-BTC", "--yes")
    assert result.exit_code == 0, result.stderr
    assert f"the books hold {amount:f} in KRW-BTC, the exchange 0" in result.stdout
    assert result.stdout.endswith("KRW-BTC: the books hold 0 now\n")
    ((market, before, after, by),) = settlements(dsn)
    assert (market, before, after) == ("KRW-BTC", amount, 0)
    assert str(by).startswith("cli:")
    again = await run("positions", "settle", "KRW-BTC", "--yes")
    assert again.exit_code == 0
    assert "nothing differs" in again.stdout
    assert len(settlements(dsn)) == 1


async def test_settle_asks_before_it_writes(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    withdraw(venue, Decimal("0.5"))
    result = await run("positions", "settle", "KRW-BTC")
    assert result.exit_code == 1
    assert "say --yes" in result.stderr
    assert "the exchange" in result.stderr
    assert settlements(dsn) == []


async def test_settle_books_a_sale_by_hand_without_asking(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    await sell_by_hand(venue)
    answer = json.loads((await run("positions", "settle", "KRW-BTC", "--json")).stdout)
    assert answer["foreign_sale_booked"]
    assert not answer["settled"]
    assert settlements(dsn) == []
    assert json.loads((await run("positions", "--json")).stdout) == []
    uuid = venue.orders()[-1]["uuid"]
    told = await run("explain", uuid)
    assert told.exit_code == 0
    assert "sold outside of the daemon" in told.stdout


async def test_settle_says_when_nothing_differs(run: Run, dsn: str, venue: Venue) -> None:
    await buy(dsn, venue)
    venue.tell("credit", pocket=venue.pocket, currency="BTC", amount="1")  # the user's own
    result = await run("positions", "settle", "KRW-BTC")
    assert result.exit_code == 0
    assert "nothing differs" in result.stdout


@pytest.mark.parametrize(
    ("market", "said"),
    [
        ("KRW-NONE", "nothing was ever held there"),
        ("krw-btc", "KRW-BTC: nothing was ever held there"),
        ("BTC", "write it as KRW-BTC"),
        ("", "write it as KRW-BTC"),
    ],
)
async def test_settle_knows_the_markets_of_the_books(run: Run, market: str, said: str) -> None:
    result = await run("positions", "settle", market)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_flatten_names_what_was_withdrawn_and_ends_with_0(
    run: Run, dsn: str, venue: Venue
) -> None:
    await buy(dsn, venue)
    withdraw(venue)
    result = await run("flatten", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "gone: KRW-BTC" in result.stdout
    assert "upbitd positions settle KRW-BTC" in result.stdout
