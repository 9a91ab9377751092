"""The signals job on a real database, asking the sandbox's Gemini over real HTTP."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.decisions import MINUTES, MODEL, NAMES, SLOT, START, Decisions
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from jobs.candles.backlog import CandlePlan, Page
from jobs.core.errors import (
    BudgetExhausted,
    ModelRejected,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from jobs.core.job import RunCounters, current_counters
from jobs.gemini.model import Reply, Request
from jobs.gemini.source import GeminiSource
from jobs.signals.multi_timeframe import LongerFeatures
from jobs.signals.protocol import Decision, Inputs, Verdict
from jobs.signals.rule_source import RulesSource
from jobs.store import candles
from jobs.store.tables import positions
from jobs.upbit.wire import Level, Orderbook
from sandbox.gemini import API_KEY

MINUTE = timedelta(minutes=1)

if TYPE_CHECKING:
    from loguru import Record


async def test_one_call_makes_a_linked_signal_for_every_market(decisions: Decisions) -> None:
    tally = RunCounters()
    current_counters.set(tally)
    assert await decisions.run() == 3
    signals = decisions.rows(
        "SELECT s.*, m.market AS snapshot_market FROM signals s"
        " JOIN market_data m ON m.id = s.market_data_id ORDER BY s.market"
    )
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert [each["market"] for each in signals] == ["KRW-BTC", "KRW-ETH", "KRW-XRP"]
    for signal in signals:
        assert signal["snapshot_market"] == signal["market"]
        assert signal["llm_call_id"] == call["id"]
        assert signal["candle_ts"] == START + timedelta(minutes=MINUTES - 1)
        assert signal["source"] == "gemini"
        assert signal["model"] == MODEL
        assert signal["status"] == "new"
    assert "buy" in {signal["action"] for signal in signals}
    assert decisions.calls == 1
    assert tally.api_calls == 1
    assert (tally.tokens_in, tally.tokens_out) == (call["tokens_in"], call["tokens_out"])
    assert tally.tokens_thought == call["tokens_thought"] > 0
    assert tally.cost_usd == call["cost_usd"] > 0


async def test_the_record_reproduces_the_decision(decisions: Decisions) -> None:
    await decisions.run()
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    asked, answered = json.loads(call["prompt"]), json.loads(call["answer"])
    sent: Any = decisions.server.fake.requests[0]["body"]
    assert asked["prompt"] == sent["contents"][0]["parts"][0]["text"]
    assert asked["system"] == sent["systemInstruction"]["parts"][0]["text"]
    text = answered["candidates"][0]["content"]["parts"][0]["text"]
    decided = {each["market"]: each["action"] for each in json.loads(text)["decisions"]}
    assert call["verdicts"] == decided
    assert call["outcome"] == "ok"
    assert call["cost_known"] is True
    assert call["model_version"] == MODEL
    assert call["latency_ms"] >= 0
    assert call["cost_usd"] < call["reserved_usd"]


async def test_the_prompt_holds_no_key_no_balance_and_one_fence(decisions: Decisions) -> None:
    async with decisions.db.begin() as tx:
        await tx.execute(
            insert(positions).values(
                mode="paper",
                market="KRW-BTC",
                volume=Decimal("0.12345678"),
                avg_price=Decimal(800),
                opened_at=START + timedelta(minutes=200),
            )
        )
    await decisions.run()
    (call,) = decisions.rows("SELECT prompt FROM llm_calls")
    prompt = json.loads(call["prompt"])["prompt"]
    assert prompt.count("</market_data>") == 1
    assert "0.12345678" not in prompt
    assert "800" not in prompt.split("<market_data>")[1]
    assert API_KEY not in prompt
    table = json.loads(prompt.split("<market_data>")[1].split("</market_data>")[0])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert (rows[0]["position_return_pct"], rows[0]["position_minutes"]) == ("25.00", 99)
    assert rows[1]["position_return_pct"] is None


async def test_the_same_candle_is_never_asked_about_twice(decisions: Decisions) -> None:
    assert await decisions.run() == 3
    decisions.clock.now += timedelta(seconds=30)
    await decisions.snapshot()
    assert await decisions.run() == 0
    assert decisions.calls == 1


async def test_a_new_candle_is_a_new_question(decisions: Decisions) -> None:
    await decisions.run()
    await decisions.feed(MINUTES + 1)
    assert await decisions.run() == 3
    assert decisions.calls == 2


async def test_a_market_whose_data_is_old_is_left_out(decisions: Decisions) -> None:
    decisions.clock.now += timedelta(minutes=4)
    assert await decisions.run() == 0
    assert decisions.calls == 0


async def test_a_market_whose_candles_stand_still_is_left_out(decisions: Decisions) -> None:
    decisions.clock.now += timedelta(minutes=4)
    await decisions.snapshot()
    assert await decisions.run() == 0
    assert decisions.calls == 0


async def test_a_market_without_candles_or_snapshot_is_left_out(decisions: Decisions) -> None:
    decisions.names = {**NAMES, "KRW-NEW": "New"}
    assert await decisions.run() == 3
    await decisions.snapshot()  # KRW-NEW has a snapshot now, and still no candle
    assert await decisions.run() == 0


async def test_no_decision_is_made_over_candles_that_may_yet_come(
    decisions: Decisions, log_records: list["Record"]
) -> None:
    end, late = START + MINUTES * MINUTE, START + 200 * MINUTE
    plan = CandlePlan()
    for market in NAMES:
        gaps = [(late, late + 31 * MINUTE)] if market == "KRW-ETH" else []
        plan.begin(market, 1, since=START, end=end, gaps=gaps)
    job = replace(decisions.job(RulesSource(), "rules"), holes=plan.holes)
    assert await job.run(SLOT) == 2
    (deferred,) = [each for each in log_records if each["extra"].get("event") == "signals.deferred"]
    assert deferred["extra"]["markets"] == {
        "KRW-ETH": "candles from 2026-01-05 03:20 to 2026-01-05 03:51 UTC may yet come"
    }
    page = Page(market="KRW-ETH", unit=1, since=late, to=late + 31 * MINUTE)
    plan.done(page, [late + n * MINUTE for n in range(31)], end)
    assert await job.run(SLOT) == 1


async def test_before_anything_was_looked_at_nothing_is_decided(decisions: Decisions) -> None:
    job = replace(decisions.job(RulesSource(), "rules"), holes=CandlePlan().holes)
    assert await job.run(SLOT) == 0


@pytest.mark.parametrize("minutes_late", [1, 4, 29, 61])
async def test_the_decision_about_an_hour_is_made_late_rather_than_never(
    decisions: Decisions, minutes_late: int
) -> None:
    hours = decisions.make_tape(range(100, 200), start=START, unit=60)
    for market in NAMES:
        await candles.upsert(decisions.db, [replace(each, market=market) for each in hours])
    decisions.clock.now = START + timedelta(hours=100, minutes=minutes_late)
    await decisions.snapshot()
    job = replace(decisions.job(RulesSource(), "rules"), unit=60)
    assert await job.run(SLOT) == 3
    assert await job.run(SLOT) == 0
    decisions.clock.now = START + timedelta(hours=101, minutes=3)
    await decisions.snapshot()
    async with decisions.db.connection() as connection:
        await connection.execute("DELETE FROM signals")
    assert await job.run(SLOT) == 0  # older than the candle that should be there by now


async def test_a_late_candle_is_looked_for_again_where_the_next_slot_is_far(
    decisions: Decisions,
) -> None:
    wanted: list[datetime] = []

    async def again(at: datetime) -> None:
        wanted.append(at)

    hours = decisions.make_tape(range(100, 200), start=START, unit=60)
    for market in NAMES:
        await candles.upsert(decisions.db, [replace(each, market=market) for each in hours])
    job = replace(decisions.job(RulesSource(), "rules"), unit=60, again=again)
    decisions.clock.now = START + timedelta(hours=100, seconds=5)
    await decisions.snapshot()
    assert await job.run(SLOT) == 3
    assert wanted == []
    decisions.clock.now = START + timedelta(hours=101, seconds=5)  # the next hour's is not there
    await decisions.snapshot()
    assert await job.run(SLOT) == 0
    assert wanted == [decisions.clock.now + timedelta(minutes=1)]
    decisions.clock.now = START + timedelta(hours=101, minutes=31)
    await decisions.snapshot()
    await job.run(SLOT)
    assert len(wanted) == 1  # it is not waited for any more


async def test_an_unfinished_candle_is_not_looked_at(decisions: Decisions) -> None:
    open_minute = decisions.make_tape([9999], start=START + timedelta(minutes=MINUTES))
    await candles.upsert(decisions.db, open_minute)
    await decisions.run()
    newest = decisions.rows("SELECT DISTINCT candle_ts FROM signals")
    assert newest == [{"candle_ts": START + timedelta(minutes=MINUTES - 1)}]


async def test_a_partial_answer_stores_the_valid_markets_and_names_the_rest(
    decisions: Decisions,
) -> None:
    decisions.script("out-of-range")
    assert await decisions.run() == 2
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert call["outcome"] == "partial"
    assert call["verdicts"]["KRW-BTC"] == "confidence is not a number in [0, 1]"
    incident = decisions.notes.open["model_output_rejected:gemini"]
    assert "KRW-BTC" in incident.message
    assert (incident.kind, incident.job) == ("model_output_rejected", "signals")


@pytest.mark.parametrize(
    "scenario",
    ["prose", "max-tokens-half", "safety", "blocked", "stop-empty", "wrong-shape", "nan"],
)
async def test_an_unusable_answer_is_no_signal_one_alert_and_a_record(
    decisions: Decisions, scenario: str
) -> None:
    decisions.script(scenario)
    with pytest.raises(ModelRejected):
        await decisions.run()
    assert decisions.rows("SELECT * FROM signals") == []
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert call["outcome"] == "rejected"
    assert call["error"]
    assert call["answer"]
    assert call["tokens_in"] > 0
    assert call["cost_usd"] > 0
    assert decisions.notes.said == ["model_output_rejected:gemini"]


async def test_a_rejected_input_is_not_paid_for_twice(decisions: Decisions) -> None:
    decisions.script("prose")
    for _ in range(2):
        with pytest.raises(ModelRejected):
            await decisions.run()
    assert decisions.calls == 1


async def test_a_good_answer_after_bad_ones_closes_the_incident(decisions: Decisions) -> None:
    decisions.script("prose")
    with pytest.raises(ModelRejected):
        await decisions.run()
    await decisions.feed(MINUTES + 1)
    await decisions.run()
    assert decisions.notes.open == {}


async def test_without_budget_nothing_is_sent(decisions: Decisions) -> None:
    decisions.budget = Decimal("0.0001")
    with pytest.raises(BudgetExhausted):
        await decisions.run()
    assert decisions.calls == 0
    assert decisions.rows("SELECT * FROM llm_calls") == []
    assert decisions.notes.open["budget_exhausted:gemini"].kind == "budget_exhausted"
    decisions.budget = Decimal(1)
    await decisions.run()
    assert decisions.notes.open == {}


@pytest.mark.parametrize(
    ("scenario", "error", "outcome", "billed"),
    [
        ("429-retry-info", RateLimited, "failed", False),
        ("503", Unavailable, "failed", False),
        ("504", Unavailable, "failed", True),
        ("502-html", Unavailable, "failed", True),
        ("reset", Unavailable, "failed", True),
        ("400-key", Unauthorized, "refused", False),
    ],
)
async def test_a_failed_call_is_recorded_with_what_it_may_have_cost(
    decisions: Decisions, scenario: str, error: type[Exception], outcome: str, billed: bool
) -> None:
    decisions.script(scenario)
    with pytest.raises(error):
        await decisions.run()
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert call["outcome"] == outcome
    assert (call["cost_usd"] > 0) is billed
    assert call["cost_known"] is not billed
    assert call["error"]
    assert decisions.rows("SELECT * FROM signals") == []


async def test_a_retry_after_a_failure_asks_again(decisions: Decisions) -> None:
    decisions.script("503")
    with pytest.raises(Unavailable):
        await decisions.run()
    assert await decisions.run() == 3
    assert [call["outcome"] for call in decisions.rows("SELECT * FROM llm_calls ORDER BY id")] == [
        "failed",
        "ok",
    ]


async def test_the_day_s_quota_closes_the_gate_until_it_resets_and_alerts(
    decisions: Decisions,
) -> None:
    decisions.script("429-per-day")
    for _ in range(2):
        with pytest.raises(RateLimited):
            await decisions.run()
    assert decisions.calls == 1
    assert "budget_exhausted:gemini-quota" in decisions.notes.open
    assert decisions.gates.wait_s("gemini") > 3600
    decisions.clock.now += timedelta(days=1)
    await decisions.feed(start=decisions.clock.now.replace(second=0))
    await decisions.run()
    assert decisions.notes.open == {}


async def test_inside_a_wait_nothing_is_sent_or_recorded(decisions: Decisions) -> None:
    decisions.gates.close("gemini", 60, source="retry-after", reason="test")
    with pytest.raises(RateLimited):
        await decisions.run()
    assert decisions.calls == 0
    assert decisions.rows("SELECT * FROM llm_calls") == []


async def test_the_dearer_model_that_really_answered_is_what_counts(decisions: Decisions) -> None:
    decisions.script("ok", "rerouted", "unpriced")
    for minutes in (0, 1, 2):
        await decisions.feed(MINUTES + minutes)
        await decisions.run()
    asked, rerouted, unknown = decisions.rows("SELECT * FROM llm_calls ORDER BY id")
    assert rerouted["model_version"] == "gemini-3.8-flash"
    assert rerouted["cost_usd"] > asked["cost_usd"]
    assert unknown["cost_usd"] > rerouted["cost_usd"]
    assert (asked["cost_known"], rerouted["cost_known"], unknown["cost_known"]) == (
        True,
        True,
        False,
    )
    assert {row["model"] for row in decisions.rows("SELECT model FROM signals")} >= {
        "gemini-3.8-flash"
    }


async def test_an_answer_without_a_bill_is_not_free(decisions: Decisions) -> None:
    decisions.script("empty")
    with pytest.raises(ModelRejected):
        await decisions.run()
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert call["cost_usd"] > 0
    assert call["cost_known"] is False


class Hanging:
    """A model that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def generate(self, request: Request) -> Reply:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def probe(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        raise AssertionError


async def test_a_cancelled_call_is_settled_at_an_estimate(decisions: Decisions) -> None:
    model = Hanging()
    task = asyncio.create_task(decisions.job(decisions.source(model)).run(SLOT))
    await model.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert call["outcome"] == "cancelled"
    assert 0 < call["cost_usd"] <= call["reserved_usd"]
    assert call["cost_known"] is False


class TimedOut(Hanging):
    async def generate(self, request: Request) -> Reply:
        raise Unavailable("no answer in time", timed_out=True, may_be_billed=True)


async def test_a_call_that_ran_out_of_time_says_so(decisions: Decisions) -> None:
    with pytest.raises(Unavailable):
        await decisions.job(decisions.source(TimedOut())).run(SLOT)
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert (call["outcome"], call["cost_known"]) == ("timeout", False)


class Forsaken(Hanging):
    """A model during whose call the database goes away."""

    source: GeminiSource

    async def generate(self, request: Request) -> Reply:
        nobody = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
        gone = replace(self.source.db, engine=nobody)
        object.__setattr__(self.source, "db", gone)
        raise Unavailable("no answer", may_be_billed=True)


async def test_a_call_that_cannot_be_settled_counts_at_its_worst_case(
    decisions: Decisions, log_records: "list[Record]"
) -> None:
    model = Forsaken()
    model.source = decisions.source(model)
    with pytest.raises(Unavailable, match="no answer"):
        await decisions.job(model.source).run(SLOT)
    (call,) = decisions.rows("SELECT * FROM llm_calls")
    assert (call["outcome"], call["settled_at"]) == ("reserved", None)
    assert "gemini.unsettled" in {record["extra"].get("event") for record in log_records}


async def test_rules_decide_without_a_call(decisions: Decisions) -> None:
    job = decisions.job(RulesSource(), "rules")
    assert await job.run(SLOT) == 3
    assert await job.run(SLOT) == 0
    signals = decisions.rows("SELECT * FROM signals")
    assert {each["source"] for each in signals} == {"rules"}
    assert {each["llm_call_id"] for each in signals} == {None}
    assert decisions.calls == 0
    assert await decisions.run() == 3  # another source's signals are another's


class Liar:
    """A source that speaks about what it was not asked."""

    def __init__(self, *markets: str) -> None:
        self._markets = markets

    async def decide(self, inputs: Inputs) -> Verdict:
        made = tuple(
            Decision(market=market, action="buy", confidence=Decimal(1), reason="Trust me.")
            for market in self._markets
        )
        return Verdict(decisions=made, model="liar")


@pytest.mark.parametrize("markets", [("KRW-MOON",), ("KRW-BTC", "KRW-BTC")])
async def test_a_source_that_names_other_markets_or_one_twice_is_not_believed(
    decisions: Decisions, markets: tuple[str, ...]
) -> None:
    with pytest.raises(ModelRejected):
        await decisions.job(Liar(*markets), "liar").run(SLOT)
    assert decisions.rows("SELECT * FROM signals") == []


async def test_a_source_may_stay_silent_about_a_market(decisions: Decisions) -> None:
    assert await decisions.job(Liar("KRW-ETH"), "liar").run(SLOT) == 1


async def test_every_call_and_every_signal_has_its_line(
    decisions: Decisions, log_records: "list[Record]"
) -> None:
    await decisions.run()
    events = [record["extra"].get("event") for record in log_records]
    assert events.count("gemini.call") == 1
    assert events.count("signal.created") == 3
    (call,) = [each["extra"] for each in log_records if each["extra"].get("event") == "gemini.call"]
    assert len(call["request_id"]) == 32
    assert call["outcome"] == "ok"
    assert call["model_version"] == MODEL
    assert Decimal(call["cost_usd"]) > 0
    assert API_KEY not in str([record["extra"] for record in log_records])


@pytest.mark.parametrize(("most", "asked"), [(65_536, 4_096 + 3 * 160), (2_000, 2_000)])
async def test_room_is_asked_for_by_the_number_of_markets_up_to_the_limit(
    decisions: Decisions, most: int, asked: int
) -> None:
    """What is not asked for is not reserved; what many markets need is there."""
    source = decisions.source()
    source = replace(source, asking=replace(source.asking, max_output_tokens=most))
    assert await decisions.job(source).run(SLOT) == 3
    (call,) = decisions.rows("SELECT prompt FROM llm_calls")
    assert json.loads(call["prompt"])["max_output_tokens"] == asked
    sent: Any = decisions.server.fake.requests[0]["body"]
    assert sent["generationConfig"]["maxOutputTokens"] == asked


async def test_larger_candles_and_the_spread_are_told_where_they_are_wanted(
    decisions: Decisions,
) -> None:
    async def books(markets: Sequence[str]) -> Sequence[Orderbook]:
        level = Level(
            ask_price=Decimal(1001),
            ask_size=Decimal(1),
            bid_price=Decimal(999),
            bid_size=Decimal(1),
        )
        return [Orderbook(market=each, ts=START, units=(level,)) for each in markets[:2]]

    longer = LongerFeatures(db=decisions.db, base=1, units=(15,))
    assert await replace(decisions.job(), longer=longer, books=books).run(SLOT) == 3
    (call,) = decisions.rows("SELECT prompt FROM llm_calls")
    text = json.loads(call["prompt"])["prompt"]
    table = json.loads(text.split("<market_data>")[1].split("</market_data>")[0])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["spread_pct"] for row in rows] == ["0.2000", "0.2000", None]
    assert all(row["m15_ret_5"] is not None for row in rows)


async def test_a_decision_does_not_wait_for_books_that_cannot_be_had(decisions: Decisions) -> None:
    async def books(markets: Sequence[str]) -> Sequence[Orderbook]:
        raise Unavailable("no answer")

    assert await replace(decisions.job(), books=books).run(SLOT) == 3
