"""The real daemon, live against the sandbox, with one hostile answer after the other: it stays up,
goes on where others are not concerned, and sells what a stop-loss says.
"""

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures.process import Daemon, Start
from fixtures.venue import Venue

BTC, ETH = "KRW-BTC", "KRW-ETH"
GEMINI = "/v1beta/*generateContent"
SURROGATE = r'{"error":{"name":"x","message":"bad \ud800 text \u0000 \u001b[2J"}}'
DEEP = "[" * 50_000
BOMB = gzip.compress(b"[" + b" " * 300_000_000, compresslevel=9)
PLANT = """
INSERT INTO signals (market_data_id, market, action, confidence, reason, source, model, candle_ts)
SELECT max(id), market, 'buy', 1, 'planted', 'test', 'test', now() FROM market_data
WHERE market = %s GROUP BY market RETURNING id
"""
SETTINGS = {
    "min_confidence": 0.99,  # of the model's signals none, of the planted ones
    "order_timeout_s": 600,
    "take_profit_pct": 0,
    "stop_loss_pct": 5,
    "cooldown_s": 0,
}
PATIENCE = 30
LONG_WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "400s"}
QUOTA = {"violations": [{"quotaId": "GenerateRequestsPerMinute\x00\ud800"}]}


def packed(content: bytes) -> dict[str, Any]:
    raw = base64.b64encode(content).decode()
    return {"raw": raw, "headers": {"content-encoding": "gzip"}}


KINDS: dict[str, dict[str, Any]] = {
    "lone surrogate in an error": {"path": "/v1/ticker*", "status": 400, "body": SURROGATE},
    "deep ticker": {"path": "/v1/ticker*", "body": DEEP},
    "deep error": {"path": "/v1/ticker*", "status": 400, "body": DEEP},
    "huge exponent": {
        "path": "/v1/ticker*",
        "body": f'[{{"market":"{BTC}","trade_price":1E+3000000,"timestamp":1E+1000000}}]',
    },
    "digits": {"path": "/v1/accounts", "body": f'[{{"currency":"KRW","balance":{"9" * 6000}}}]'},
    "packed": {"path": "/v1/orderbook", **packed(BOMB)},
    "no UTF-8": {"path": "/v1/orderbook", "raw": base64.b64encode(b"[\xff\xfe").decode()},
    "a page": {"path": "/v1/accounts", "body": "<html>busy</html>"},
    "a date": {
        "path": "/v1/orderbook",
        "status": 429,
        "body": "",
        "headers": {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -1200"},
    },
    "model: lone surrogate": {"path": GEMINI, "status": 400, "body": SURROGATE},
    "model: deep": {"path": GEMINI, "body": DEEP},
    "model: long": {"path": GEMINI, "body": '{"a":"' + "a" * 2_000_000 + '"}'},
    "model: packed": {"path": GEMINI, **packed(BOMB)},
    "model: NUL in the quota": {
        "path": GEMINI,
        "status": 429,
        "body": json.dumps({"error": {"message": "x", "details": [QUOTA, LONG_WAIT]}}),
    },
}


@dataclass(slots=True)
class Scene:
    """A daemon, its database and its venue."""

    daemon: Daemon
    venue: Venue
    db: psycopg.Connection[Any]

    def fault(self, **fault: Any) -> int:
        """Let all matching requests go wrong from now on; return the fault's number."""
        return int(self.venue.tell("faults", count=0, **fault)["number"])

    def hits(self, number: int) -> int:
        """How many requests a fault has hit."""
        faults = self.venue.http.get("/sandbox/faults").json()
        return int(next(each["hits"] for each in faults if each["number"] == number))

    def ask_again(self) -> None:
        """Let the model be asked about candles that were decided about: one call a minute else."""
        self.db.execute("DELETE FROM signals WHERE source = 'gemini'")

    def is_hit(self, number: int) -> bool:
        """Whether a fault has hit any request."""
        return self.hits(number) > 0

    def until(self, holds: Callable[[], bool]) -> None:
        """Let slots of the orders job pass until something holds."""
        for _ in range(PATIENCE):
            if holds():
                return
            self.daemon.until("job.metric", job="orders")
        pytest.fail(f"nothing came of it; the last lines: {self.daemon.lines[-5:]}")

    def value(self, query: str, *values: object) -> Any:
        """The first column of the first row, None without one."""
        row = self.db.execute(query.encode(), values).fetchone()
        return None if row is None else row[0]

    def prepared(self) -> "Scene":
        """Settings for planted signals, from before the daemon reads them."""
        for key, value in SETTINGS.items():
            self.db.execute(
                "INSERT INTO settings (key, value) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )
        return self

    def buy(self, market: str) -> None:
        """Have the daemon buy, and wait until it intends to."""
        known = "SELECT count(*) FROM market_data WHERE market = %s"
        self.until(lambda: self.value(known, market) > 0)
        signal = self.value(PLANT, market)
        made = "SELECT count(*) FROM orders WHERE signal_id = %s AND uuid IS NOT NULL"
        self.until(lambda: self.value(made, signal) > 0)

    def holds(self, market: str) -> bool:
        """Whether the books hold any of it."""
        held = "SELECT count(*) FROM positions WHERE market = %s AND volume > 0"
        return bool(self.value(held, market) > 0)


@pytest.mark.timeout(400)
def test_the_daemon_outlives_one_hostile_answer_of_each_kind(
    start_daemon: Start, venue: Venue, dsn: str, tmp_path: Path
) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        keys = venue.tell(
            "faults", count=0, path="/v1/api_keys", action="answer", status=200, body=DEEP
        )
        db.execute("INSERT INTO job_controls (job, paused) VALUES ('signals', true)")
        scene = Scene(start_daemon(database=dsn), venue, db).prepared()
        venue.calm(BTC)
        scene.daemon.ready()
        assert scene.hits(int(keys["number"])) >= 1
        scene.buy(BTC)  # before the model decides: its newer signal would replace the planted one
        scene.until(lambda: scene.holds(BTC))
        db.execute("UPDATE job_controls SET paused = false WHERE job = 'signals'")
        for kind, fault in KINDS.items():
            number = scene.fault(action="answer", **{"status": 200, **fault})
            scene.ask_again()
            scene.until(partial(scene.is_hit, number))
            scene.daemon.until("job.metric", job="orders")
            assert scene.daemon.process.poll() is None, kind
            venue.http.delete(f"/sandbox/faults/{number}")
        assert "NUL" in kind
        _odd_rows(scene)
        _lift(tmp_path / "config.toml", scene)
        venue.http.delete("/sandbox/faults")
        venue.force_price(BTC, venue.price(BTC, down_pct=20))
        scene.until(lambda: not scene.holds(BTC))
        scene.daemon.until("job.metric", job="orders", outcome="ok")
        shown = scene.daemon.get("/health")
        assert shown.json()["components"]["scheduler"]["status"] == "healthy"
        purposes = [row[0] for row in db.execute("SELECT purpose FROM orders ORDER BY id")]
        assert (purposes[0], purposes[-1]) == ("entry", "stop_loss")
        written = "SELECT count(*) FROM job_runs WHERE error LIKE '%%bad _ text _ _[2J%%'"
        assert scene.value(written) > 0
    assert scene.daemon.stop() == 0
    events = {line["event"] for line in scene.daemon.lines}
    assert not events & {"daemon.task_ended", "daemon.task_failed", "daemon.crashed", "job.bug"}


def _odd_rows(scene: Scene) -> None:
    """Odd rows beside good ones: every run goes well, each odd row is named, none is stored."""
    rows = scene.venue.http.get("/v1/ticker/all", params={"quote_currencies": "KRW"}).json()
    price_0 = {**rows[0], "market": ETH, "trade_price": 0}
    body = [row for row in rows if row["market"] != ETH] + [price_0, None, 5, {"market": None}]
    scene.daemon.until("job.metric", job="orders", outcome="ok")
    number = scene.fault(path="/v1/ticker", action="answer", status=200, body=body)
    scene.until(partial(scene.is_hit, number))
    for job in ("market", "orders", "market", "orders"):
        assert scene.daemon.until("job.metric", job=job)["outcome"] == "ok"
    named = [line.get("market") for line in scene.daemon.of("upbit.odd_row")]
    assert named.count(ETH) == 1
    assert "upbitd_odd_rows_total" in scene.daemon.get("/metrics").text
    assert scene.value("SELECT count(*) FROM market_data WHERE price <= 0") == 0
    scene.venue.http.delete(f"/sandbox/faults/{number}")


def _lift(config: Path, scene: Scene) -> None:
    """The gate that the last answer closed is opened by a person, and the model is asked again."""
    shown = _upbitd(config, "cooldowns", "list", "--json")
    assert [row["name"] for row in json.loads(shown)] == ["gemini"]
    assert "gemini: lifted" in _upbitd(config, "cooldowns", "lift", "gemini")
    line = scene.daemon.until("cooldown.lifted", cooldown="gemini")
    assert line["reason"].startswith("lifted by cli:")
    asked = scene.fault(path=GEMINI, action="pass")
    scene.ask_again()
    scene.until(lambda: scene.hits(asked) > 0)


def _upbitd(config: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "daemon", *arguments, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


ORDERS: dict[str, Callable[[str], str]] = {
    "deep": lambda _: DEEP,
    "an exponent": lambda uuid: f'{{"uuid":"{uuid}","price":1e99999999999999999999}}',
    "no name that can be read": lambda uuid: f'{{"uuid":"{uuid}\\ud800","market":"\\u0000"}}',
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ORDERS)
def test_an_answer_about_one_order_stops_no_other_market_s_stop_loss(
    start_daemon: Start, venue: Venue, dsn: str, kind: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("INSERT INTO job_controls (job, paused) VALUES ('signals', true)")
        scene = Scene(start_daemon(database=dsn), venue, db).prepared()
        for market in (BTC, ETH):
            venue.calm(market)
        scene.daemon.ready()
        scene.buy(BTC)
        scene.until(lambda: scene.holds(BTC))
        scene.fault(method="POST", path="/v1/orders", market=ETH, share="0")
        scene.buy(ETH)
        uuid = scene.value("SELECT uuid FROM orders WHERE market = %s AND state = 'wait'", ETH)
        assert uuid is not None
        body = ORDERS[kind](uuid)
        odd = scene.fault(path="/v1/order", market=uuid, action="answer", status=200, body=body)
        scene.until(lambda: scene.hits(odd) > 1)
        venue.force_price(BTC, venue.price(BTC, down_pct=20))
        scene.until(lambda: not scene.holds(BTC))
        sold = scene.value("SELECT purpose FROM orders WHERE market = %s AND side = 'ask'", BTC)
        assert sold == "stop_loss"
        assert scene.daemon.process.poll() is None


@pytest.mark.timeout(200)
def test_a_start_among_answers_that_cannot_be_read_sells_at_the_stop_loss(
    start_daemon: Start, venue: Venue, dsn: str
) -> None:
    """The first comparison of exchange and tables meets them, and nothing runs before it."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("INSERT INTO job_controls (job, paused) VALUES ('signals', true)")
        scene = Scene(start_daemon(database=dsn), venue, db).prepared()
        venue.calm(BTC)
        scene.daemon.ready()
        scene.buy(BTC)
        scene.until(lambda: scene.holds(BTC))
        assert scene.daemon.stop() == 0
        ours = [{"uuid": "u", "identifier": "upd-1", "market": None, "side": "bid"}]
        scene.fault(path="/v1/orders/open", action="answer", status=200, body=ours)
        scene.fault(path="/v1/order", method="GET", action="answer", status=200, body=DEEP)
        venue.force_price(BTC, venue.price(BTC, down_pct=20))
        scene.daemon = start_daemon(database=dsn)
        scene.daemon.ready()
        sold = "SELECT count(*) FROM orders WHERE purpose = 'stop_loss' AND uuid IS NOT NULL"
        scene.until(lambda: bool(scene.value(sold) > 0))
        asks = [order for order in venue.orders() if order["side"] == "ask"]
        assert len(asks) >= 1
