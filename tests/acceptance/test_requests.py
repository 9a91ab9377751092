"""Money-moving commands beside a real daemon: it has the keys, the shell has none."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from fixtures.process import Daemon, Start
from fixtures.venue import Venue

from jobs.core.cooldowns import Gates
from jobs.upbit.client import open_client
from jobs.upbit.limits import Limiter
from jobs.upbit.signing import Keys
from jobs.upbit.wire import OrderRequest

COMMAND_WITHIN_S = 60.0
QUIET = {
    "UPBITD_JOBS__SIGNALS__ENABLED": "false",
    "UPBITD_HEALTH__SIGNAL_MAX_AGE": "24h",
}
SIGNAL = """
WITH seen AS (
    INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
    VALUES ('KRW-BTC', now(), 152000000, 1, 1, 0.01) RETURNING id
)
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts)
SELECT seen.id, 'KRW-BTC', 'buy', 0.9, 'planted', 'rules', 'none', now() FROM seen
"""
RESTING = """
INSERT INTO orders (mode, identifier, uuid, purpose, market, side, ord_type, price, volume,
                    reserved_krw, state)
VALUES ('live', %s, %s, 'entry', 'KRW-ETH', 'bid', 'limit', %s, %s, 6000, 'wait')
"""


def upbitd(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with the daemon's configuration, and without its keys."""
    config = str(daemon.process.args[-1])  # type: ignore[index]  # a list, as started
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments, "--config", config],
        env={name: value for name, value in os.environ.items() if "KEY" not in name},
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
    )


async def rest(dsn: str, venue: Venue, identifier: str) -> str:
    """Let an order of the daemon's rest at the exchange, far below the market; return its uuid."""
    price = venue.price("KRW-ETH", down_pct=20)
    volume = (Decimal(6000) / price).quantize(Decimal("0.0001"))
    opened = open_client(
        base_url=venue.base_url,
        keys=Keys(venue.access_key, venue.secret_key),
        gates=Gates(lambda: datetime.now(UTC)),
        limiter=Limiter(),
        clock=lambda: datetime.now(UTC),
    )
    async with opened as client:
        placed = await client.place(
            OrderRequest(
                market="KRW-ETH",
                side="bid",
                ord_type="limit",
                identifier=identifier,
                price=price,
                volume=volume,
            )
        )
    with psycopg.connect(dsn) as connection:
        connection.execute(RESTING.encode(), (identifier, placed.uuid, price, volume))
    return placed.uuid


@pytest.fixture
def trading(start_daemon: Start, venue: Venue, dsn: str) -> Daemon:
    """A daemon in live mode that holds one position."""
    venue.calm("KRW-BTC")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO settings (key, value) VALUES ('order_timeout_s', '3600'),"
            " ('max_entry_deviation_pct', '0')"  # the planted price is not the market's
        )
    daemon = start_daemon(environ=QUIET)
    daemon.ready()
    daemon.until("job.metric", job="market", outcome="ok")
    with psycopg.connect(dsn) as connection:
        connection.execute(SIGNAL.encode())
    daemon.until("order.state", state="done")
    return daemon


def test_flatten_and_cancel_go_through_the_daemon_without_keys_in_the_shell(
    trading: Daemon, dsn: str, venue: Venue
) -> None:
    """`flatten` ended with "live orders need UPBIT_ACCESS_KEY" (fault I2)."""
    assert "BTC" in venue.balances()
    identifier = "upd-resting0000000000000000001"
    uuid = asyncio.run(rest(dsn, venue, identifier))
    cancelled = upbitd(trading, "cancel", identifier)
    assert cancelled.returncode == 0, cancelled.stderr
    assert cancelled.stdout == f"{identifier} in KRW-ETH: cancel\n"
    assert venue.order(uuid)["state"] == "cancel"
    again = upbitd(trading, "cancel", uuid)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "has ended already: cancel" in again.stderr
    assert upbitd(trading, "cancel", "nothing").returncode == 1

    elsewhere = upbitd(trading, "flatten", "--market", "KRW-XRP", "--yes", "--json")
    assert json.loads(elsewhere.stdout)["sold"] == {}
    assert "BTC" in venue.balances()
    told = upbitd(trading, "flatten", "--halt", "--yes")
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("flat: no open order and no position is left\n")
    assert set(venue.balances()) == {"KRW"}
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT command, asked_by, outcome FROM requests ORDER BY id"
        ).fetchall()
    assert [(command, outcome) for command, _, outcome in rows] == [
        ("cancel", "done"),
        ("cancel", "failed"),
        ("cancel", "failed"),
        ("flatten", "done"),
        ("flatten", "done"),
    ]
    assert all(by.startswith("cli:") for _, by, _ in rows)
    assert trading.stop() == 0
    away = upbitd(trading, "flatten", "--yes")
    assert away.returncode == 1
    assert "no daemon runs here, and orders on the exchange need keys" in away.stderr


def test_a_wait_that_a_server_asked_for_stops_flatten_unless_forced(
    trading: Daemon, venue: Venue
) -> None:
    """A stored ban held `flatten` back, and no command lifted it (fault E5)."""
    blocked = {"error": {"name": "x", "message": "Blocked for 600 seconds"}}
    venue.fault(method="POST", path="/v1/orders", action="answer", status=418, body=blocked)
    assert upbitd(trading, "flatten", "--yes").returncode == 1
    held = upbitd(trading, "flatten", "--yes")
    assert held.returncode == 1
    assert "closed" in held.stderr
    assert "BTC" in venue.balances()
    forced = upbitd(trading, "flatten", "--yes", "--force")
    assert forced.returncode == 0, forced.stderr
    assert set(venue.balances()) == {"KRW"}
    assert trading.stop() == 0


def test_settle_goes_through_the_daemon_and_its_books_fit_again(
    trading: Daemon, dsn: str, venue: Venue
) -> None:
    """Withdrawn coins stayed in the books for ever (fault B1)."""
    held = sum(venue.balances()["BTC"], Decimal(0))
    venue.tell("credit", pocket=venue.pocket, currency="BTC", amount=str(-held))
    trading.until("reconcile.done", mismatches=1)
    settled = upbitd(trading, "positions", "settle", "KRW-BTC", "--yes", "--json")
    assert settled.returncode == 0, settled.stderr
    answer = json.loads(settled.stdout)
    assert Decimal(answer["before"]) == held
    assert (answer["after"], answer["settled"]) == ("0", True)
    trading.until("reconcile.done", mismatches=0)
    with psycopg.connect(dsn) as connection:
        ((by, before),) = connection.execute(
            "SELECT settled_by, volume_before FROM position_settlements"
        ).fetchall()
        ((commands,),) = connection.execute(
            "SELECT array_agg(command || ' ' || outcome) FROM requests"
        ).fetchall()
    assert by.startswith("cli:")
    assert before == held
    assert commands == ["settle done", "settle done"]  # what differs is shown before it is asked
