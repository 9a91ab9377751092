"""The day's model budget, against fifty callers in five processes that are killed at random.

    make budget        ten thousand calls, and the figures

A provider that keeps its own ledger bills every request it gets, whatever becomes of who sent it.
For every day: what was billed <= what is counted <= the budget, at every look and at the end.
"""

import asyncio
import json
import os
import random
import re
import signal
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from fixtures.budget_caller import FIRST_DAY, Orders
from fixtures.decisions import Decisions
from fixtures.hostile_answers import envelope
from fixtures.raw_http import Raw, RawServer
from fixtures.trading import BTC, PRICE, Trading

from daemon.alerting.outbox import Origin, Outbox
from health.check_inputs import Budget, CallFact, GeminiFacts, JobFact, SchedulerFacts
from health.checks import check_gemini, check_scheduler
from health.report import Status
from jobs.core.errors import BudgetExhausted
from jobs.store import vitals

FULL = int(os.environ.get("UPBITD_BUDGET_CALLS", "0"))
"""How many calls `make budget` asks for; the suite is content with fewer."""

CALLS = FULL or 240
PROCESSES, CALLERS = (5 if FULL else 3), 10
SHARES = ("0.05", "0.35", "1", "2.6")
BUDGETS_USD = tuple(Decimal(share) * Decimal("0.0012") * CALLS for share in SHARES)
"""From a day with hardly any room to one with plenty; a killed call counts whole for ever."""

KILLED_EVERY = (80, 320) if FULL else (15, 35)
"""After how many ends of calls, at random, the next process is killed."""

CALLER = Path(__file__).parents[1] / "fixtures" / "budget_caller.py"
PRICES = {  # USD for a million tokens in and out, by hand
    "gemini-3.5-flash-lite": (Decimal("0.30"), Decimal("2.50")),
    "gemini-3.8-flash": (Decimal("0.75"), Decimal("3.75")),
    "gemini-3.1-pro-preview": (Decimal("2.00"), Decimal("12.00")),
}
TEXT = '{"decisions":[{"market":"KRW-BTC","action":"hold","confidence":0.5,"reason":"Quiet."}]}'


@dataclass
class Provider:
    """Bills every request by its own ledger, before it answers; now and then it does not answer."""

    rng: random.Random
    billed: defaultdict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    requests: int = 0

    def answer(self, body: bytes) -> Raw:
        self.requests += 1
        found = re.search(rb"day (\d) ", body)
        assert found is not None
        day, limit = int(found[1]), json.loads(body)["generationConfig"]["maxOutputTokens"]
        if self.rng.random() < 0.05:
            return Raw(status=503, body=b'{"error":{"message":"busy","status":"UNAVAILABLE"}}')
        prompt, out = len(body) // 3, self.rng.randint(1, limit // 4)
        model = self.rng.choices(list(PRICES), (8, 1, 1))[0]
        gone = self.rng.random() < 0.05
        if gone:
            model = "gemini-3.5-flash-lite"
        price_in, price_out = PRICES[model]
        self.billed[day] += (prompt * price_in + out * price_out) / 1_000_000
        if gone:  # billed all the same
            return Raw(status=504, body=b'{"error":{"message":"late"}}')
        thoughts = self.rng.randint(0, out)
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": out - thoughts,
            "thoughtsTokenCount": thoughts,
            "totalTokenCount": prompt + out,
        }
        answer = envelope(TEXT, usageMetadata=usage, modelVersion=model)
        return Raw(body=json.dumps(answer).encode())


@dataclass
class Siege:
    """The processes that call, what they say, and what is counted meanwhile."""

    dsn: str
    url: str
    provider: Provider
    rng: random.Random
    ends: Counter[str] = field(default_factory=Counter)
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    left: list[int] = field(default_factory=lambda: [CALLS // PROCESSES] * PROCESSES)
    kills: int = 0
    looks: int = 0

    async def run(self) -> None:
        """Let every place make its calls, however often its process is killed."""
        async with asyncio.TaskGroup() as group:
            for place in range(PROCESSES):
                group.create_task(self._place(place))

    async def _place(self, place: int) -> None:
        while self.left[place] > 0:
            orders = Orders(
                dsn=self.dsn,
                url=self.url,
                seed=self.rng.getrandbits(60),
                calls=self.left[place],
                callers=CALLERS,
                budgets_usd=tuple(map(str, BUDGETS_USD)),
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(CALLER),
                json.dumps(asdict(orders)),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self.processes[place] = process
            await self._follow(place, process)
            assert await process.wait() in {0, -signal.SIGKILL}

    async def _follow(self, place: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        fatal = self.rng.randint(*KILLED_EVERY)
        seen = 0
        async for line in process.stdout:
            self.ends[line.decode().strip()] += 1
            self.left[place] -= 1
            seen += 1
            if seen == fatal and self.left[place] > CALLERS:
                process.kill()  # in the middle of nine other calls
                self.left[place] -= CALLERS - 1  # which may have been made
                self.kills += 1
                await self.look()

    async def look(self) -> None:
        """No day is over its budget, and nothing was billed that is not counted."""
        billed = dict(
            self.provider.billed
        )  # before the count: what is billed later is counted then
        counted = await asyncio.to_thread(self.counted)
        self.looks += 1
        for day, budget in enumerate(BUDGETS_USD):
            spent = counted.get(day, Decimal(0))
            assert billed.get(day, Decimal(0)) <= spent <= budget, (day, billed, counted)

    def counted(self) -> dict[int, Decimal]:
        """What the table says of each day: open reservations at their worst case."""
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT day, sum(CASE outcome WHEN 'reserved' THEN reserved_usd ELSE cost_usd END)"
                " FROM llm_calls GROUP BY day"
            ).fetchall()
        return {(day - FIRST_DAY.date()).days: spent for day, spent in rows}

    def outcomes(self) -> dict[str, int]:
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("SELECT outcome, count(*) FROM llm_calls GROUP BY outcome")
            return dict(rows.fetchall())


@pytest.mark.timeout(3000 if FULL else 300)
async def test_no_day_costs_more_than_its_budget_whoever_is_killed(
    dsn: str, raw_server: RawServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(CALLS)  # noqa: S311  a seed, not a secret
    provider = Provider(rng)
    raw_server.answer = provider.answer
    siege = Siege(dsn=dsn, url=raw_server.url, provider=provider, rng=rng)
    await siege.run()
    await siege.look()
    outcomes, counted = siege.outcomes(), siege.counted()
    assert siege.kills > 0
    assert siege.ends["exhausted"] > 0, "the budget was never reached"
    assert siege.ends["settled"] > 0
    made = sum(outcomes.values())
    asked = made + siege.ends["exhausted"]
    report = f"""
{asked} calls by {PROCESSES * CALLERS} callers in {PROCESSES} processes, {siege.kills} killed
  ends      {dict(sorted(siege.ends.items()))}
  records   {made}: {dict(sorted(outcomes.items()))}
  requests  {provider.requests}
  budgets   {[f"{budget:.4f}" for budget in BUDGETS_USD]} USD, one for each day
  counted   {[f"{counted.get(day, 0):.4f}" for day in range(len(SHARES))]}
  billed    {[f"{provider.billed[day]:.4f}" for day in range(len(SHARES))]}
  looks     {siege.looks}, overshoot 0
"""
    with capsys.disabled():
        sys.stdout.write(report if FULL else "")


async def test_without_budget_there_is_one_alert_a_cause_and_exits_go_on(
    decisions: Decisions, trading: Trading
) -> None:
    await trading.set(max_entry_deviation_pct=0)  # the stored candles have prices of their own
    await trading.signal("buy")
    await trading.run()
    held = await trading.holding()
    assert held.volume > 0
    outbox = Outbox(
        decisions.db,
        [],
        Origin(host="test", instance="test"),
        dedupe=timedelta(minutes=15),
        clock=decisions.clock,
    )
    decisions.notifier = outbox
    assert await decisions.run() == 3
    decisions.budget = Decimal("0.0001")
    for _ in range(3):
        await decisions.feed(decisions.minutes + 1)
        with pytest.raises(BudgetExhausted) as caught:
            await decisions.run()
    (alert,) = decisions.rows("SELECT kind, occurrences, body FROM alerts")
    assert (alert["kind"], alert["occurrences"]) == ("budget_exhausted", 3)
    await assert_health_names_the_cause(decisions, str(caught.value))
    trading.venue.quote(PRICE * Decimal("0.9"), BTC)
    await trading.run(after_s=60)
    assert (await trading.holding()).volume == 0
    assert [order.purpose for order in await trading.orders()] == ["entry", "stop_loss"]


async def assert_health_names_the_cause(decisions: Decisions, error: str) -> None:
    now = decisions.clock()
    facts = await vitals.model_vitals(decisions.db, now.date())
    probe = CallFact(at=now, ok=True, latency_ms=1.0)
    budget = Budget(
        spent_usd=facts.spent_usd, limit_usd=decisions.budget, needed_usd=facts.dearest_usd
    )
    gemini = check_gemini(GeminiFacts(used=True, probe=probe, budget=budget), now)
    assert gemini.status is Status.DEGRADED
    assert "USD spent today" in str(gemini.cause)
    job = JobFact(
        name="signals",
        deadline_s=180,
        next_due_at=now + timedelta(minutes=5),
        last_outcome="failed",
        last_error=error,
        failures=1,
    )
    scheduler = check_scheduler(SchedulerFacts(role="leader", lanes=[], jobs=[job]), now)
    assert "does not cover this call" in str(scheduler.cause)
