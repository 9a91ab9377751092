"""The six checks: what is not well is named with its limit, what is not known is not green."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from health.check_inputs import (
    BlockedExit,
    Budget,
    CallFact,
    DatabaseFacts,
    Demand,
    GateFact,
    GeminiFacts,
    JobFact,
    LaneFact,
    LatestOrderFacts,
    LatestSignalFacts,
    ModelCall,
    OrderFact,
    PoolFacts,
    ReconcileFact,
    SchedulerFacts,
    SignalFact,
    UpbitFacts,
)
from health.checks import (
    check_database,
    check_gemini,
    check_latest_order,
    check_latest_signal,
    check_scheduler,
    check_upbit,
)
from health.report import Status, Verdict

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HEALTHY, DEGRADED, UNHEALTHY = Status


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def said(verdict: Verdict) -> tuple[Status, str | None]:
    return verdict.status, verdict.cause


POOL = PoolFacts(size=10, available=9, waiting=0, max=20, max_waiting=200)
DATABASE = DatabaseFacts(latency_ms=0.8, pool=POOL, read_only=False, revision="0001", head="0001")


def test_a_quick_database_at_head_is_healthy() -> None:
    verdict = check_database(DATABASE, NOW)
    assert said(verdict) == (HEALTHY, None)
    assert verdict.latency_ms == 0.8
    assert verdict.detail["pool"] == {"size": 10, "available": 9, "waiting": 0, "max": 20}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            replace(DATABASE, latency_ms=1234.5),
            (DEGRADED, "a query took 1,234 ms, limit 250 ms"),
        ),
        (replace(DATABASE, read_only=True), (UNHEALTHY, "the database is read-only")),
        (
            replace(DATABASE, revision="0000"),
            (UNHEALTHY, "the schema is 0000, expected 0001"),
        ),
        (replace(DATABASE, revision=None), (UNHEALTHY, "the schema is empty, expected 0001")),
        (
            replace(DATABASE, pool=replace(POOL, size=20, available=0, waiting=3)),
            (DEGRADED, "3 wait for one of 20 connections, limit 0"),
        ),
        (
            replace(DATABASE, pool=replace(POOL, size=20, available=0, waiting=200)),
            (UNHEALTHY, "200 wait for one of 20 connections, limit 200"),
        ),
        # a pool that is about to grow serves the waiting ones in a moment
        (replace(DATABASE, pool=replace(POOL, available=0, waiting=3)), (HEALTHY, None)),
    ],
)
def test_database(facts: DatabaseFacts, expected: tuple[Status, str | None]) -> None:
    assert said(check_database(facts, NOW)) == expected


def test_every_finding_is_told_the_worst_first() -> None:
    facts = replace(DATABASE, latency_ms=300.0, read_only=True)
    expected = "the database is read-only; a query took 300 ms, limit 250 ms"
    assert said(check_database(facts, NOW)) == (UNHEALTHY, expected)


GOOD_CALL = CallFact(at=NOW, ok=True, latency_ms=34.0, last_ok_at=NOW)
BAD_CALL = CallFact(
    at=NOW,
    ok=False,
    latency_ms=4000.0,
    error="Unavailable: 502",
    failures=1,
    last_ok_at=ago(seconds=7),
)
UPBIT = UpbitFacts(live=True, public=GOOD_CALL, private=GOOD_CALL, clock_skew_s=0.2)


def gate(left_s: float, *, banned: bool = False) -> list[GateFact]:
    until = NOW + timedelta(seconds=left_s)
    return [GateFact(name="upbit:order", until=until, reason="429", banned=banned)]


def test_upbit_with_both_calls_answered_is_healthy() -> None:
    verdict = check_upbit(UPBIT, NOW)
    assert said(verdict) == (HEALTHY, None)
    assert verdict.latency_ms == 34.0


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            replace(UPBIT, public=BAD_CALL),
            (DEGRADED, "public call failed: Unavailable: 502, last success 0:00:07 ago"),
        ),
        (
            replace(UPBIT, public=replace(BAD_CALL, failures=2)),
            (
                UNHEALTHY,
                "public call failed: Unavailable: 502 (2 in a row, limit 1), "
                "last success 0:00:07 ago",
            ),
        ),
        (
            replace(UPBIT, public=replace(BAD_CALL, last_ok_at=None, error=None)),
            (UNHEALTHY, "public call failed: no reason given"),
        ),
        (
            replace(UPBIT, private=replace(BAD_CALL, fatal=True, error="Unauthorized: ip")),
            (UNHEALTHY, "authenticated call failed: Unauthorized: ip, last success 0:00:07 ago"),
        ),
        (
            replace(UPBIT, private=None),
            (UNHEALTHY, "no authenticated call was made, live mode needs one"),
        ),
        (
            replace(UPBIT, public=replace(GOOD_CALL, latency_ms=3500.0)),
            (DEGRADED, "public call took 3,500 ms, limit 3,000 ms"),
        ),
        (
            replace(UPBIT, gates=gate(252, banned=True)),
            (UNHEALTHY, "upbit:order is banned for 0:04:12 more: 429"),
        ),
        (
            replace(UPBIT, gates=gate(53)),
            (DEGRADED, "upbit:order is closed for 0:00:53 more, limit 0:00:02: 429"),
        ),
        (replace(UPBIT, gates=gate(0.9)), (HEALTHY, None)),
        (replace(UPBIT, gates=gate(-1, banned=True)), (HEALTHY, None)),
        (
            replace(UPBIT, clock_skew_s=-61.5),
            (DEGRADED, "our clock is 61.5 s behind Upbit's, limit 5 s"),
        ),
        (
            replace(UPBIT, clock_skew_s=6.0),
            (DEGRADED, "our clock is 6.0 s ahead of Upbit's, limit 5 s"),
        ),
        (replace(UPBIT, clock_skew_s=None), (HEALTHY, None)),
    ],
)
def test_upbit(facts: UpbitFacts, expected: tuple[Status, str | None]) -> None:
    assert said(check_upbit(facts, NOW)) == expected


def test_paper_trading_needs_no_keys_and_a_refused_one_is_a_warning() -> None:
    paper = replace(UPBIT, live=False, private=None)
    assert said(check_upbit(paper, NOW)) == (HEALTHY, None)
    refused = replace(paper, private=replace(BAD_CALL, fatal=True))
    assert check_upbit(refused, NOW).status is DEGRADED


BUDGET = Budget(spent_usd=Decimal("0.5"), limit_usd=Decimal("1.00"), needed_usd=Decimal("0.0200"))
GEMINI = GeminiFacts(
    used=True,
    probe=GOOD_CALL,
    last_call=ModelCall(at=ago(minutes=2), outcome="ok"),
    budget=BUDGET,
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (GEMINI, (HEALTHY, None)),
        (replace(GEMINI, last_call=None), (HEALTHY, None)),
        (replace(GEMINI, probe=None), (UNHEALTHY, "the model was not asked yet")),
        (
            replace(GEMINI, probe=replace(BAD_CALL, fatal=True, error="Refused: unknown model")),
            (UNHEALTHY, "probe failed: Refused: unknown model, last success 0:00:07 ago"),
        ),
        (replace(GEMINI, budget=None), (DEGRADED, "the day's budget is not known")),
        (
            replace(GEMINI, budget=replace(BUDGET, spent_usd=Decimal("0.9812"))),
            (DEGRADED, "0.9812 USD spent today (KST), a call may need 0.0200, limit 1.00"),
        ),
        (
            replace(GEMINI, budget=Budget(spent_usd=Decimal(0), limit_usd=Decimal(0))),
            (DEGRADED, "0.0000 USD spent today (KST), a call may need 0.0000, limit 0.00"),
        ),
        (
            replace(GEMINI, last_call=ModelCall(at=ago(minutes=2), outcome="rejected", failures=1)),
            (DEGRADED, "last call 0:02:00 ago was rejected: no reason given"),
        ),
        (
            replace(
                GEMINI,
                last_call=ModelCall(at=ago(minutes=2), outcome="timeout", error="30 s", failures=3),
            ),
            (UNHEALTHY, "last call 0:02:00 ago was timeout: 30 s (3 in a row, limit 2)"),
        ),
        (
            replace(GEMINI, gates=[replace(gate(3600)[0], name="gemini")]),
            (DEGRADED, "gemini is closed for 1:00:00 more, limit 0:00:02: 429"),
        ),
    ],
)
def test_gemini(facts: GeminiFacts, expected: tuple[Status, str | None]) -> None:
    assert said(check_gemini(facts, NOW)) == expected


def test_a_model_that_is_not_used_says_so() -> None:
    verdict = check_gemini(GeminiFacts(used=False), NOW)
    assert said(verdict) == (HEALTHY, None)
    assert verdict.detail["used"] is False


LOOP = LaneFact(name="loop", age_s=0.4, limit_s=10)
JOB = JobFact(
    name="market",
    next_due_at=NOW + timedelta(seconds=30),
    deadline_s=55,
    last_outcome="ok",
    last_finished_at=ago(seconds=30),
)


def scheduler(*jobs: JobFact, lanes: Sequence[LaneFact] = (LOOP,)) -> SchedulerFacts:
    return SchedulerFacts(role="leader", lanes=lanes, jobs=jobs)


STANDBY = SchedulerFacts(role="standby", lanes=(LOOP,), jobs=())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (scheduler(JOB), (HEALTHY, None)),
        (scheduler(replace(JOB, last_outcome=None)), (HEALTHY, None)),
        (scheduler(replace(JOB, next_due_at=ago(seconds=7))), (HEALTHY, None)),
        (
            scheduler(replace(JOB, next_due_at=ago(seconds=40))),
            (UNHEALTHY, "market is 0:00:40 late, limit 0:00:08"),
        ),
        (
            scheduler(replace(JOB, next_due_at=None)),
            (UNHEALTHY, "market has no next slot"),
        ),
        (scheduler(), (UNHEALTHY, "no job is scheduled")),
        (scheduler(JOB, lanes=()), (UNHEALTHY, "no lane has reported progress")),
        (
            scheduler(JOB, lanes=[replace(LOOP, age_s=12.0)]),
            (UNHEALTHY, "no progress of loop for 0:00:12, limit 0:00:10"),
        ),
        (
            scheduler(
                JOB, lanes=[LOOP, LaneFact(name="alerts", age_s=90, limit_s=60, critical=False)]
            ),
            (DEGRADED, "no progress of alerts for 0:01:30, limit 0:01:00"),
        ),
        (
            scheduler(replace(JOB, running_since=ago(seconds=70), next_due_at=ago(seconds=20))),
            (UNHEALTHY, "market runs for 0:01:10, limit 0:01:05"),
        ),
        # a run that is busy inside its deadline makes its next slot a skipped one, no fault
        (
            scheduler(replace(JOB, running_since=ago(seconds=60), next_due_at=ago(seconds=20))),
            (HEALTHY, None),
        ),
        (
            scheduler(replace(JOB, last_outcome="failed", last_error="Refused: no", failures=1)),
            (DEGRADED, "last run of market: failed, Refused: no"),
        ),
        (
            scheduler(replace(JOB, last_outcome="timeout", failures=4)),
            (UNHEALTHY, "last run of market: timeout (4 in a row, limit 3)"),
        ),
        (scheduler(replace(JOB, paused=True, next_due_at=None)), (DEGRADED, "market is paused")),
        (replace(STANDBY, database_fault="it is away"), (UNHEALTHY, "no job can run: it is away")),
        (replace(STANDBY, role="starting"), (DEGRADED, "still starting")),
        (
            replace(STANDBY, role="starting", reason="comparing"),
            (DEGRADED, "still starting: comparing"),
        ),
        (
            replace(scheduler(JOB), database_fault="it is away"),
            (DEGRADED, "no job can run: it is away"),
        ),
        (replace(scheduler(JOB), unwritten_since=ago(seconds=7)), (HEALTHY, None)),
        (
            replace(scheduler(JOB), unwritten_since=ago(seconds=9)),
            (UNHEALTHY, "outcomes of runs are not stored since 0:00:09, limit 0:00:08"),
        ),
    ],
)
def test_scheduler(facts: SchedulerFacts, expected: tuple[Status, str | None]) -> None:
    assert said(check_scheduler(facts, NOW)) == expected


def test_a_standby_runs_no_jobs_but_its_lanes_have_to_move() -> None:
    standby = SchedulerFacts(role="standby", lanes=[LOOP], jobs=[replace(JOB, next_due_at=None)])
    verdict = check_scheduler(standby, NOW)
    assert said(verdict) == (HEALTHY, None)
    assert verdict.detail["role"] == "standby"
    stuck = replace(standby, lanes=[replace(LOOP, age_s=60)])
    assert check_scheduler(stuck, NOW).status is UNHEALTHY


def test_a_daemon_that_starts_is_not_green_yet() -> None:
    starting = SchedulerFacts(role="starting", lanes=[LOOP], jobs=[])
    assert said(check_scheduler(starting, NOW)) == (DEGRADED, "still starting")


def latest_signal(
    at: datetime | None, *, expected: bool = True, max_age_s: float = 3600.0
) -> Verdict:
    fact = None if at is None else SignalFact(at=at, market="KRW-BTC", action="hold")
    facts = LatestSignalFacts(latest=fact, expected=expected)
    return check_latest_signal(facts, NOW, max_age_s=max_age_s)


def test_an_old_signal_is_told_as_the_contract_words_it() -> None:
    verdict = latest_signal(ago(seconds=4323))
    assert said(verdict) == (DEGRADED, "last signal 1:12:03 ago, limit 1:00:00")
    assert verdict.detail == {
        "at": ago(seconds=4323),
        "age_s": 4323,
        "market": "KRW-BTC",
        "action": "hold",
    }


def test_latest_signal() -> None:
    assert said(latest_signal(ago(minutes=59))) == (HEALTHY, None)
    assert said(latest_signal(None)) == (DEGRADED, "no signal yet")
    future = "last signal is dated 2:00:00 in the future, limit 1:00:00"
    assert said(latest_signal(ago(hours=-2))) == (DEGRADED, future)
    assert said(latest_signal(ago(hours=-2), max_age_s=90_000.0)) == (DEGRADED, future)


def test_signals_that_are_switched_off_are_not_waited_for() -> None:
    verdict = latest_signal(None, expected=False)
    assert said(verdict) == (HEALTHY, None)
    assert verdict.detail["note"] == "signals are switched off"


ORDER = OrderFact(
    id=7,
    market="KRW-BTC",
    side="bid",
    state="done",
    created_at=ago(minutes=5),
    since=ago(minutes=4),
)
ORDERS = LatestOrderFacts(latest=ORDER, open=[], demand=Demand())


def still(state: str, **span: float) -> LatestOrderFacts:
    return replace(ORDERS, open=[replace(ORDER, state=state, since=ago(**span))])


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (ORDERS, (HEALTHY, None)),
        (replace(ORDERS, latest=None), (HEALTHY, None)),
        (replace(ORDERS, latest=replace(ORDER, created_at=ago(days=9))), (HEALTHY, None)),
        (still("wait", seconds=60), (HEALTHY, None)),
        (still("sent", seconds=3), (HEALTHY, None)),
        (
            still("sent", seconds=31),
            (UNHEALTHY, "order 7 of KRW-BTC is sent for 0:00:31, limit 0:00:30"),
        ),
        (
            still("wait", seconds=240),
            (UNHEALTHY, "order 7 of KRW-BTC is wait for 0:04:00, limit 0:03:00"),
        ),
        (
            still("unknown", seconds=5),
            (DEGRADED, "order 7 of KRW-BTC is unknown for 0:00:05, limit 0:02:00"),
        ),
        (
            still("unknown", seconds=192),
            (UNHEALTHY, "order 7 of KRW-BTC is unknown for 0:03:12, limit 0:02:00"),
        ),
        (
            replace(
                ORDERS,
                demand=Demand(count=1, first_at=ago(minutes=6), waiting_since=ago(minutes=6)),
            ),
            (DEGRADED, "a signal waits for its order since 0:06:00, limit 0:05:00"),
        ),
        (
            replace(
                ORDERS,
                demand=Demand(count=1, first_at=ago(minutes=4), waiting_since=ago(minutes=4)),
            ),
            (HEALTHY, None),
        ),
        (
            replace(
                ORDERS,
                latest=replace(ORDER, created_at=ago(hours=26)),
                demand=Demand(count=3, first_at=ago(hours=2)),
            ),
            (DEGRADED, "last order 26:00:00 ago, limit 24:00:00, though 3 signals asked for one"),
        ),
        (
            replace(ORDERS, latest=None, demand=Demand(count=2, first_at=ago(hours=25))),
            (DEGRADED, "no order in 25:00:00, limit 24:00:00, though 2 signals asked for one"),
        ),
    ],
)
def test_latest_order(facts: LatestOrderFacts, expected: tuple[Status, str | None]) -> None:
    assert said(check_latest_order(facts, NOW)) == expected


@pytest.mark.parametrize(
    ("side", "timeout_s", "age_s", "expected"),
    [
        ("bid", 60, 180, (HEALTHY, None)),
        ("bid", 3600, 3700, (HEALTHY, None)),
        ("bid", 86_400, 86_400, (HEALTHY, None)),
        (
            "bid",
            3600,
            3721,
            (UNHEALTHY, "order 7 of KRW-BTC is wait for 1:02:01, limit 1:02:00"),
        ),
        ("bid", 5, 126, (UNHEALTHY, "order 7 of KRW-BTC is wait for 0:02:06, limit 0:02:05")),
        # a sale never rests longer than a minute
        ("ask", 3600, 181, (UNHEALTHY, "order 7 of KRW-BTC is wait for 0:03:01, limit 0:03:00")),
    ],
)
def test_an_order_may_rest_as_long_as_the_setting_allows(
    side: str, timeout_s: float, age_s: float, expected: tuple[Status, str | None]
) -> None:
    resting = replace(ORDER, side=side, state="wait", since=ago(seconds=age_s))
    facts = replace(ORDERS, open=[resting], order_timeout_s=timeout_s)
    assert said(check_latest_order(facts, NOW)) == expected


def test_a_signal_may_wait_until_it_expires() -> None:
    waiting = Demand(count=1, first_at=ago(minutes=20), waiting_since=ago(minutes=20))
    facts = replace(ORDERS, demand=waiting, signal_max_age_s=3600)
    assert said(check_latest_order(facts, NOW)) == (HEALTHY, None)


def test_a_blocked_exit_degrades_with_its_market_and_cause() -> None:
    blocked = BlockedExit(
        market="KRW-XRP",
        purpose="stop_loss",
        cause="the exchange refused the sale: volume_too_large",
        since=ago(minutes=2),
        attempts=3,
    )
    verdict = check_latest_order(replace(ORDERS, blocked=[blocked]), NOW)
    assert said(verdict) == (
        DEGRADED,
        "the stop_loss exit from KRW-XRP has been blocked for 0:02:00: the exchange refused the "
        "sale: volume_too_large",
    )
    assert verdict.detail["blocked_exits"] == [
        {
            "market": "KRW-XRP",
            "purpose": "stop_loss",
            "cause": "the exchange refused the sale: volume_too_large",
            "since": ago(minutes=2),
            "attempts": 3,
        }
    ]


def test_a_delisted_holding_is_degraded_and_named() -> None:
    verdict = check_latest_order(replace(ORDERS, delisted=["KRW-SOL"]), NOW)
    said = "KRW-SOL is held and the exchange does not list it: its exits are off"
    assert (verdict.status, verdict.cause) == (Status.DEGRADED, said)


def test_an_order_is_only_expected_when_signals_asked_for_one() -> None:
    none = check_latest_order(replace(ORDERS, latest=None), NOW)
    assert none.detail["note"] == "no order yet"
    old = check_latest_order(replace(ORDERS, latest=replace(ORDER, created_at=ago(days=9))), NOW)
    assert old.detail["note"] == "no order was asked for since the last one"
    assert "note" not in check_latest_order(ORDERS, NOW).detail


def test_what_reconciling_found_is_shown_and_a_mismatch_degrades() -> None:
    fact = ReconcileFact(at=ago(minutes=3), open_ours=1, open_foreign=2, unknown=0, runs=9)
    fits = check_latest_order(replace(ORDERS, reconciled=fact), NOW)
    assert fits.status is HEALTHY
    assert fits.detail["reconciliation"] == {
        "at": ago(minutes=3),
        "age_s": 180,
        "open_ours": 1,
        "open_foreign": 2,
        "unknown": 0,
        "mismatches": [],
        "runs": 9,
    }
    off = replace(fact, mismatches=["KRW-BTC: the books hold 1, the venue 0"])
    differs = check_latest_order(replace(ORDERS, reconciled=off), NOW)
    cause = "venue and books differ: KRW-BTC: the books hold 1, the venue 0"
    assert said(differs) == (DEGRADED, cause)
    assert check_latest_order(ORDERS, NOW).detail["reconciliation"] is None


def test_orders_that_are_switched_off_still_have_to_end() -> None:
    asked = Demand(count=9, first_at=ago(days=9), waiting_since=ago(days=9))
    off = replace(ORDERS, expected=False, demand=asked)
    assert said(check_latest_order(off, NOW)) == (HEALTHY, None)
    stuck = replace(still("unknown", minutes=9), expected=False)
    assert check_latest_order(stuck, NOW).status is UNHEALTHY
