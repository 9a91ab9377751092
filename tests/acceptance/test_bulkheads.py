"""Whatever hangs, is stuck or banned beside them: orders are followed, and exits are sent."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import pytest
from fixtures.process import QUICK, Daemon
from fixtures.venue import Venue

FAULTY_DAEMON = Path(__file__).parents[1] / "truth" / "faulty_daemon.py"
MARKET = "KRW-BTC"
POOL, SHARED = 10, 8
"""Connections of fixtures.process.QUICK, and those of them that are not kept for orders."""
PATIENCE_SLOTS = 12
CALM_SLOTS, STORM_SLOTS = 3, 2
SLOWER = 10.0
"""So many times longer may a run in a storm be: a lane that waits for others loses seconds."""
ENVIRON = {
    "GEMINI_API_KEY": "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE",
    "UPBITD_JOBS__ORDERS__EVERY": "1500ms",
    "UPBITD_JOBS__MARKET__HISTORY": "30d",  # the collector has candles to fetch all the time
    "UPBITD_DATABASE__ACQUIRE_TIMEOUT": "1s",
    "UPBITD_CACHE__PRICE_TTL": "1s",  # so that a planted snapshot is seen
}
SETTINGS = {
    "min_confidence": 0.99,  # of the model's signals none, of the planted one
    "entry_time_in_force": "post_only",
    "order_timeout_s": 600,
    "stop_loss_pct": 5,
    "take_profit_pct": 0,
}
PLANT = """
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts)
SELECT max(id), market, 'buy', 1, 'planted', 'test', 'test', now() FROM market_data
WHERE market = %s GROUP BY market
"""
SNAPSHOT = """
INSERT INTO market_data (market, ts, price, volume_24h, value_24h, change_rate)
VALUES (%s, now(), %s, 1, 1, 0)
"""
BANNED = {"error": {"name": 418, "message": "Blocked for 30 seconds due to too many requests."}}


@dataclass(slots=True)
class Scene:
    """A daemon with levers inside, its database and its venue."""

    daemon: Daemon
    venue: Venue
    db: psycopg.Connection

    def value(self, query: str, *values: object) -> Any:
        """The first column of the first row, None without one."""
        row = self.db.execute(query.encode(), values).fetchone()
        return None if row is None else row[0]

    def setting(self, key: str, value: object) -> None:
        """Change a setting as somebody with psql would."""
        self.db.execute(
            "INSERT INTO settings (key, value) VALUES (%s, %s)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, json.dumps(value)),
        )

    def fault(self, **fault: Any) -> int:
        """Let all matching requests go wrong from now on; return the fault's number."""
        return int(self.venue.tell("faults", count=0, **fault)["number"])

    def hits(self, number: int) -> int:
        """How many requests a fault has hit."""
        faults = self.venue.http.get("/sandbox/faults").json()
        return int(next(each["hits"] for each in faults if each["number"] == number))

    def slots(self, count: int) -> list[dict[str, Any]]:
        """The outcomes of the next slots of the orders job."""
        return [self.daemon.until("job.metric", job="orders") for _ in range(count)]

    def slots_until(self, holds: Callable[[], bool]) -> list[dict[str, Any]]:
        """The outcomes of the orders job's slots until something holds, a dozen at most."""
        passed: list[dict[str, Any]] = []
        while not holds():
            assert len(passed) < PATIENCE_SLOTS, passed
            passed += self.slots(1)
        return passed

    def sleepers(self) -> int:
        """How many connections are asleep inside a statement."""
        return int(
            self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state = 'active' AND query LIKE 'SELECT pg_sleep%%'"
            )
        )

    def put_connections_to_sleep(self) -> list[dict[str, Any]]:
        """Have every connection stuck that others than orders get; return the slots that took."""
        assert self.daemon.process.stdin is not None
        self.daemon.process.stdin.write(f"sleep_pool {POOL}\n")
        self.daemon.process.stdin.flush()
        return self.slots_until(lambda: self.sleepers() >= SHARED)

    def wake_connections(self) -> None:
        """Have the server end those statements."""
        self.db.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"
        )


@pytest.fixture
def scene(tmp_path: Path, state_dir: Path, venue: Venue, dsn: str) -> Iterator[Scene]:
    """A daemon that trades with settings of its own; its signals job is paused."""
    path = tmp_path / "config.toml"
    values = {"mode": "live", "daemon": "", "state_dir": state_dir, "database": dsn}
    path.write_text(QUICK.format(base_url=venue.base_url, **values), encoding="utf-8")
    keys = {"UPBIT_ACCESS_KEY": venue.access_key, "UPBIT_SECRET_KEY": venue.secret_key}
    venue.force_price(MARKET, venue.price(MARKET, down_pct=0))
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("INSERT INTO job_controls (job, paused) VALUES ('signals', true)")
        process = subprocess.Popen(
            [sys.executable, str(FAULTY_DAEMON), str(path)],
            env={**os.environ, **ENVIRON, **keys},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        made = Scene(Daemon(process), venue, db)
        for key, value in SETTINGS.items():
            made.setting(key, value)
        try:
            yield made
        finally:
            process.kill()
            process.communicate(timeout=30)


def rest_a_bid(scene: Scene) -> None:
    """Have the daemon bid just under the market, and come to rest."""
    scene.daemon.ready()
    known = "SELECT count(*) FROM market_data WHERE market = %s"
    scene.slots_until(lambda: scene.value(known, MARKET) > 0)
    scene.db.execute(PLANT, (MARKET,))
    scene.daemon.until("order.state", state="wait")
    scene.daemon.until("job.metric", job="orders", outcome="ok")


def hang_gemini_and_collector(scene: Scene) -> list[dict[str, Any]]:
    """Both ask and are not answered; return the slots that took."""
    gemini = scene.fault(path="/v1beta/*generateContent", action="hang")
    candles = scene.fault(path="/v1/candles/*", action="hang")
    scene.db.execute("UPDATE job_controls SET paused = false WHERE job = 'signals'")
    return scene.slots_until(lambda: scene.hits(gemini) > 0 and scene.hits(candles) > 5)


def ban_collector(scene: Scene) -> list[dict[str, Any]]:
    """It has stored the new price, and then is banned; return the slots that took."""
    scene.venue.http.delete("/sandbox/faults")
    scene.fault(path="/v1beta/*generateContent", action="hang")
    candles = scene.fault(path="/v1/candles/*", action="answer", status=418, body=BANNED)
    scene.wake_connections()
    scene.db.execute(SNAPSHOT, (MARKET, scene.venue.price(MARKET, down_pct=0)))
    slots = scene.slots_until(lambda: scene.hits(candles) > 0)
    return slots + scene.put_connections_to_sleep()


SLOW = ("skipped", "still running")


def in_order(slots: Sequence[dict[str, Any]], outcomes: set[str]) -> None:
    """No slot failed, and they were taken in their time.

    A busy machine is slow before anything hangs, too, and skips a slot each second or two: what
    hangs would hold them all, and `typical_s` is compared with the calm before.
    """
    shown = [(each["outcome"], each["reason"], each["error"]) for each in slots]
    taken = [each for each in slots if (each["outcome"], each["reason"]) != SLOW]
    assert {each["outcome"] for each in taken} <= outcomes, shown
    assert 2 * len(taken) >= len(slots), shown


def typical_s(slots: Sequence[dict[str, Any]]) -> float:
    """How long such a run takes."""
    return median(float(each["duration_s"]) for each in slots)


@pytest.mark.timeout(180)
def test_orders_are_followed_and_exits_sent_through_everything(scene: Scene) -> None:
    rest_a_bid(scene)
    calm = scene.slots(CALM_SLOTS)
    in_order(calm, {"ok"})

    stuck = hang_gemini_and_collector(scene) + scene.put_connections_to_sleep()
    scene.venue.force_price(MARKET, scene.venue.price(MARKET, down_pct=3))  # meets our bid
    held = "SELECT count(*) FROM positions WHERE market = %s AND volume > 0"
    stuck += scene.slots_until(lambda: scene.value(held, MARKET) == 1)
    stuck += scene.slots(STORM_SLOTS)
    in_order(stuck, {"ok"})
    assert typical_s(stuck) <= SLOWER * typical_s(calm)
    assert scene.sleepers() == SHARED

    banned = ban_collector(scene)
    scene.setting("stop_loss_pct", 1)
    banned += scene.slots_until(lambda: scene.value(held, MARKET) == 0)
    banned += scene.slots(STORM_SLOTS)
    in_order(banned, {"ok", "deferred"})  # prices are asked for behind the same ban
    assert typical_s(banned) <= SLOWER * typical_s(calm)
    assert scene.sleepers() == SHARED

    purposes = scene.db.execute("SELECT purpose FROM orders ORDER BY id").fetchall()
    assert purposes == [("entry",), ("stop_loss",)]
    assert scene.venue.balances().get("BTC", (0, 0)) == (0, 0)
