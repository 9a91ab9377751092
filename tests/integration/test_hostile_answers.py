"""Thousands of hostile answers through the whole path: HTTP, SDK, Postgres, risk, orders.

    make hostile        all of them, and the counts

Every signal must be one that an independent reader takes from the same answer; every order must
follow from such a signal and stay within the limits; everything else is no signal, one alert that
counts its repeats, and a record that the answer can be read from again.
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

import psycopg
import pytest
from fixtures.gemini import MakeTape
from fixtures.hostile_answers import MARKETS, Hostile, answers, label
from fixtures.raw_http import Raw, RawServer
from fixtures.trading import START, Trading
from psycopg.rows import dict_row

from daemon.alerting.outbox import Origin, Outbox
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError, ModelRejected
from jobs.core.job import Slot
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.cost import parse_prices
from jobs.gemini.record import decision_of, replay
from jobs.gemini.source import Asking, GeminiSource
from jobs.signals.job import SignalsJob
from jobs.store import candles
from jobs.store.llm_calls import day_of

FULL = int(os.environ.get("UPBITD_HOSTILE", "0"))
"""How many answers `make hostile` asks for; the suite is content with fewer."""

FEW = {"google-genai": 260, "google-generativeai": 104}
REPLAYED_EVERY = 10
FED_EVERY = 20
ORDERS_EVERY = 5
LIMITS: Mapping[str, Any] = {
    "max_orders_per_day": 40,
    "max_position_krw": Decimal(600_000),
    "position_size_pct": Decimal(3),
    "cooldown_s": 5,
}


@dataclass
class Attack:
    """The daemon's path on one database, and what came of each answer."""

    trading: Trading
    server: RawServer
    client: GeminiClient
    dsn: str
    make_tape: MakeTape
    outbox: Outbox
    rng: random.Random
    calls: dict[int, Hostile] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    minutes: int = 0
    waiting: bool = False

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    async def feed(self) -> None:
        """Store the candles up to the present minute."""
        until = (self.trading.clock() - START) // timedelta(minutes=1)
        new = range(self.minutes, until)
        for market in MARKETS if new else ():
            price = float(self.trading.venue.price[market])
            closes = [round(price * (1 + 0.001 * ((minute * 7) % 13 - 6)), 0) for minute in new]
            start = START + self.minutes * timedelta(minutes=1)
            tape = self.make_tape(closes, market=market, start=start)
            await candles.upsert(self.trading.db, tape)
        self.minutes = max(self.minutes, until)

    async def meet(self, number: int, hostile: Hostile) -> None:
        """Let the daemon ask once, get `hostile`, and do whatever follows from it."""
        self.trading.clock.now += timedelta(seconds=3)
        if number % FED_EVERY == 0:
            await self.feed()
            for market in MARKETS:
                await self.trading.collect(market)
        self.server.answer = lambda _: Raw(
            body=hostile.body, status=hostile.status, content_type=hostile.content_type
        )
        self.kinds[hostile.kind] += 1
        stored, before = 0, self.server.asked
        error: JobError | None = None
        slot = Slot(job="signals", scheduled_at=self.trading.clock(), run_id=f"run-{number}")
        try:
            stored = await self._job(number).run(slot)
            self.fates["whole" if stored == len(hostile.believable) == 3 else "partial"] += 1
        except ModelRejected as exc:
            self.fates["rejected"] += 1
            error = exc
        except JobError as exc:
            self.fates["failed"] += 1
            error = exc
        assert self.server.asked == before + 1, error
        (newest,) = self.rows("SELECT max(id) AS id FROM llm_calls")
        self.calls[newest["id"]] = hostile
        self.waiting = self.waiting or bool(stored)
        if self.waiting and number % ORDERS_EVERY == 0:
            self.waiting = False
            await self.trading.run()

    def _job(self, number: int) -> SignalsJob:
        async def markets() -> Mapping[str, str]:
            return {market: label(self.rng) for market in MARKETS}

        trading = self.trading
        source = GeminiSource(
            model=self.client,
            db=trading.db,
            prices=parse_prices({}),
            asking=Asking(
                model="gemini-3.5-flash-lite",
                max_output_tokens=65_536,
                timeout_s=20.0,
                daily_budget_usd=Decimal(10**9),
            ),
            gates=Gates(trading.clock),
            notifier=self.outbox,
            clock=trading.clock,
        )
        return SignalsJob(
            db=trading.db,
            source=source,
            source_name=f"gemini-{number}",  # so that one candle can be asked about many times
            markets=markets,
            mode="live",
            clock=trading.clock,
        )

    # -- what must hold ------------------------------------------------------------------------

    def assert_signals_are_believable(self) -> int:
        """Every signal is one that a careful reader takes from the same answer."""
        found = self.rows("SELECT llm_call_id, market, action, confidence FROM signals")
        for signal in found:
            hostile = self.calls[signal["llm_call_id"]]
            assert hostile.believable.get(signal["market"]) == signal["action"], (signal, hostile)
            assert 0 <= signal["confidence"] <= 1
        return len(found)

    def assert_orders_keep_the_limits(self) -> int:
        """Every order follows from such a signal, in one of our markets, within every limit."""
        orders = self.rows(
            "SELECT o.*, s.action, s.confidence, s.market AS signal_market FROM orders o"
            " LEFT JOIN signals s ON s.id = o.signal_id"
        )
        bids = [order for order in orders if order["side"] == "bid"]
        a_day = Counter(day_of(order["created_at"]) for order in bids)  # the limit's day is KST
        for order in orders:
            assert order["market"] in MARKETS
            if order["purpose"] in {"entry", "exit"}:
                assert order["signal_market"] == order["market"]
                assert order["action"] == ("buy" if order["side"] == "bid" else "sell")
                assert order["confidence"] >= Decimal("0.6")
            if order["side"] == "bid":
                assert order["purpose"] == "entry"
                assert order["reserved_krw"] <= LIMITS["max_position_krw"]
        assert all(count <= LIMITS["max_orders_per_day"] for count in a_day.values())
        for position in self.rows("SELECT * FROM positions WHERE volume > 0"):
            worth = position["volume"] * self.trading.venue.price[position["market"]]
            assert worth <= LIMITS["max_position_krw"]
        identifiers = {order["identifier"] for order in orders}
        assert {post.identifier for post in self.trading.venue.posts} <= identifiers
        return len(orders)

    def assert_every_answer_has_its_record(self) -> None:
        """Each call is settled, with a cost that no bill can turn negative or absurd."""
        calls = self.rows("SELECT id, outcome, cost_usd, settled_at, error FROM llm_calls")
        assert {call["id"] for call in calls} == self.calls.keys()
        for call in calls:
            assert call["outcome"] in {"ok", "partial", "rejected", "refused", "failed"}, call
            assert call["settled_at"] is not None
            assert call["cost_usd"] >= 0
            assert call["error"] or call["outcome"] in {"ok", "partial"}

    def assert_alerts_fold(self) -> tuple[int, int]:
        """One alert for as long as answers stay unusable; every one of those is counted."""
        told = self.rows("SELECT occurrences FROM alerts WHERE kind = 'model_output_rejected'")
        unusable = self.rows(
            "SELECT count(*) AS n FROM llm_calls WHERE outcome IN ('rejected', 'partial')"
        )[0]["n"]
        counted = sum(alert["occurrences"] for alert in told)
        assert counted == unusable
        good = self.rows("SELECT count(*) AS n FROM llm_calls WHERE outcome = 'ok'")[0]["n"]
        assert len(told) <= good + 1
        return len(told), counted

    async def assert_replays(self) -> int:
        """What was decided is decided again from the record alone."""
        ids = sorted(self.calls)[::REPLAYED_EVERY]
        for call_id in ids:
            record = await decision_of(self.trading.db, call_id)
            assert record is not None
            assert replay(record).differences == (), (call_id, self.calls[call_id])
        return len(ids)


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])
async def test_no_hostile_answer_leads_to_an_order_it_should_not(
    sdk: Literal["google-genai", "google-generativeai"],
    trading: Trading,
    dsn: str,
    raw_server: RawServer,
    make_tape: MakeTape,
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = FEW[sdk] if not FULL else FULL if sdk == "google-genai" else FULL // 10
    await trading.set(**LIMITS)
    trading.clock.now += timedelta(minutes=300)
    outbox = Outbox(
        trading.db,
        [],
        Origin(host="test", instance="test"),
        dedupe=timedelta(minutes=15),
        clock=trading.clock,
    )
    connection = Connection(
        sdk=sdk, model="gemini-3.5-flash-lite", api_key="not-a-key", base_url=raw_server.url
    )
    gates = Gates(trading.clock)
    async with open_model(connection, gates=gates, clock=trading.clock) as client:
        rng = random.Random(count)  # noqa: S311  a seed, not a secret
        attack = Attack(trading, raw_server, client, dsn, make_tape, outbox, rng)
        for number, hostile in enumerate(islice(answers(seed=count), count)):
            await attack.meet(number, hostile)
    signals = attack.assert_signals_are_believable()
    orders = attack.assert_orders_keep_the_limits()
    attack.assert_every_answer_has_its_record()
    alerts, folded = attack.assert_alerts_fold()
    replayed = await attack.assert_replays()
    assert orders > 0, "the limits were never tried"
    report = f"""
{sdk}: {count} hostile answers
  kinds    {dict(sorted(attack.kinds.items()))}
  fates    {dict(sorted(attack.fates.items()))}
  signals  {signals}, every one believable to an independent reader
  orders   {orders}, outside the limits 0
  alerts   {alerts} for {folded} unusable answers
  replayed {replayed} decisions, differing 0
"""
    with capsys.disabled():
        sys.stdout.write(report if FULL else "")
