"""The six checks: pure functions from facts to a verdict. A cause names the fact and its limit.

What is not known is never healthy. The exceptions are deliberate and stand in `detail`: a model
that the configuration does not use, a job that it switches off, a standby that runs no jobs, and
the age of the newest order: an order is only expected when signals asked for one. Without such a
demand an old order, or none at all, is the normal state of a quiet market.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from health.check_inputs import (
    BlockedExit,
    Budget,
    CallFact,
    DatabaseFacts,
    GateFact,
    GeminiFacts,
    JobFact,
    LaneFact,
    LatestOrderFacts,
    LatestSignalFacts,
    ModelCall,
    OrderFact,
    ReconcileFact,
    SchedulerFacts,
    UpbitFacts,
)
from health.report import Status, Verdict, hms, worst

Finding = tuple[Status, str]
"""Something that is not well: how bad, and its cause."""

IN_FLIGHT: Final = ("intent", "sent")
GOOD_CALLS: Final = ("ok", "partial", "reserved")
BAD_RUNS: Final = ("failed", "timeout", "deferred")


MOST_AHEAD_S = 3600.0
"""A signal dated further ahead says that the clock was set back, however rarely one is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How slow a call may be, how often it may fail in a row before it is unhealthy, and how long
    a closed gate passes as the normal pacing of requests.
    """

    slow_ms: float = 3000.0
    failures: int = 1
    gate_s: float = 2.0
    clock_skew_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """How late a slot may start, how far a run may outlive its deadline, failures in a row, and
    how long an outcome may wait to be stored.
    """

    lag_s: float = 8.0
    overrun_s: float = 10.0
    failures: int = 3
    unwritten_s: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLimits:
    """How long an order may stay in a state that is not final, and a signal without its order.

    A waiting order has its `order_timeout_s`, a sale a minute of it at most, and then `cancel_s`
    for its cancel. A signal has the age at which it expires, or `demand_s` where that is shorter.
    `max_age_s` is the greatest age of the newest order when signals asked for another since.
    """

    max_age_s: float = 86400.0
    in_flight_s: float = 30.0
    unknown_s: float = 120.0
    longest_sale_s: float = 60.0
    cancel_s: float = 120.0
    demand_s: float = 300.0


def check_database(facts: DatabaseFacts, now: datetime, *, slow_ms: float = 250.0) -> Verdict:
    """Whether queries are answered soon, may write, and find a connection and their schema."""
    del now  # an answer has no age of its own
    pool = facts.pool
    found: list[Finding] = []
    if facts.read_only:
        found.append((Status.UNHEALTHY, "the database is read-only"))
    if facts.revision != facts.head:
        revision = facts.revision or "empty"
        found.append((Status.UNHEALTHY, f"the schema is {revision}, expected {facts.head}"))
    if pool.waiting >= pool.max_waiting:
        found.append((Status.UNHEALTHY, f"{_waiting(facts)}, limit {pool.max_waiting}"))
    elif pool.waiting > 0 and pool.available == 0 and pool.size >= pool.max:
        found.append((Status.DEGRADED, f"{_waiting(facts)}, limit 0"))
    if facts.latency_ms > slow_ms:
        found.append((Status.DEGRADED, _slow("a query", facts.latency_ms, slow_ms)))
    detail = {
        "pool": {
            "size": pool.size,
            "available": pool.available,
            "waiting": pool.waiting,
            "max": pool.max,
        },
        "revision": facts.revision,
    }
    return _verdict(found, detail, latency_ms=facts.latency_ms)


def check_upbit(facts: UpbitFacts, now: datetime, *, limits: CallLimits | None = None) -> Verdict:
    """Whether the exchange answers, accepts our keys, and lets us send."""
    limits = limits or CallLimits()
    found = list(_call_findings("public call", facts.public, now, limits))
    if facts.private is not None:
        private = _call_findings("authenticated call", facts.private, now, limits)
        # without real orders nothing depends on the keys
        found += private if facts.live else [(Status.DEGRADED, cause) for _, cause in private]
    elif facts.live:
        found.append((Status.UNHEALTHY, "no authenticated call was made, live mode needs one"))
    found += _gate_findings(facts.gates, now, limits)
    skew_s = facts.clock_skew_s
    if skew_s is not None and abs(skew_s) > limits.clock_skew_s:
        way = "ahead of" if skew_s > 0 else "behind"
        cause = f"our clock is {abs(skew_s):.1f} s {way} Upbit's, limit {limits.clock_skew_s:g} s"
        found.append((Status.DEGRADED, cause))
    detail = {
        "public": _call_detail(facts.public),
        "authenticated": None if facts.private is None else _call_detail(facts.private),
        "gates": _gate_detail(facts.gates, now),
        "clock_skew_s": skew_s,
    }
    return _verdict(found, detail, latency_ms=facts.public.latency_ms)


def check_gemini(facts: GeminiFacts, now: datetime, *, limits: CallLimits | None = None) -> Verdict:
    """Whether the model answers, its newest real call gave signals, and the day has money left."""
    limits = limits or CallLimits()
    if not facts.used:
        return Verdict(status=Status.HEALTHY, detail={"used": False, "note": "not used"})
    found: list[Finding] = []
    if facts.probe is None:
        found.append((Status.UNHEALTHY, "the model was not asked yet"))
    else:
        found += _call_findings("probe", facts.probe, now, limits)
    if facts.last_call is not None:
        found += _model_findings(facts.last_call, now)
    if facts.budget is None:
        found.append((Status.DEGRADED, "the day's budget is not known"))
    else:
        found += _budget_findings(facts.budget)
    found += _gate_findings(facts.gates, now, limits)
    last = facts.last_call
    detail = {
        "used": True,
        "probe": None if facts.probe is None else _call_detail(facts.probe),
        "last_call": None if last is None else {"at": last.at, "outcome": last.outcome},
        "budget": None
        if facts.budget is None
        else {"spent_usd": facts.budget.spent_usd, "limit_usd": facts.budget.limit_usd},
        "gates": _gate_detail(facts.gates, now),
    }
    return _verdict(found, detail, latency_ms=facts.probe.latency_ms if facts.probe else None)


def check_scheduler(
    facts: SchedulerFacts, now: datetime, *, limits: JobLimits | None = None
) -> Verdict:
    """Whether every lane makes progress and every job runs when it is due."""
    limits = limits or JobLimits()
    found = [finding for lane in facts.lanes if (finding := _lane_finding(lane))]
    if not facts.lanes:
        found.append((Status.UNHEALTHY, "no lane has reported progress"))
    if facts.database_fault:
        # a leader's jobs still say for themselves how they fare; no slot can be claimed now
        bad = Status.DEGRADED if facts.role == "leader" else Status.UNHEALTHY
        found.append((bad, f"no job can run: {facts.database_fault}"))
    if facts.role == "starting" and not facts.database_fault:
        found.append((Status.DEGRADED, f"still starting{_because(facts.reason)}"))
    elif facts.role == "leader":
        if not facts.jobs:
            found.append((Status.UNHEALTHY, "no job is scheduled"))
        for job in facts.jobs:
            found += _job_findings(job, now, limits)
    if facts.unwritten_since is not None:
        found += _unwritten(facts.unwritten_since, now, limits)
    detail = {
        "role": facts.role,
        "lanes": {
            lane.name: {"age_s": round(lane.age_s, 1), "limit_s": lane.limit_s}
            for lane in facts.lanes
        },
        "jobs": {job.name: _job_detail(job) for job in facts.jobs},
    }
    return _verdict(found, detail)


def check_latest_signal(
    facts: LatestSignalFacts, now: datetime, *, max_age_s: float = 3600.0
) -> Verdict:
    """Whether the newest signal is fresh. None at all is degraded from the first moment."""
    latest = facts.latest
    detail: dict[str, object] = {"at": None, "age_s": None, "market": None, "action": None}
    found: list[Finding] = []
    age_s = 0.0
    if latest is not None:
        age_s = (now - latest.at).total_seconds()
        detail = {
            "at": latest.at,
            "age_s": round(age_s),
            "market": latest.market,
            "action": latest.action,
        }
    if not facts.expected:
        return Verdict(status=Status.HEALTHY, detail={**detail, "note": "signals are switched off"})
    if latest is None:
        found.append((Status.DEGRADED, "no signal yet"))
    elif age_s > max_age_s:
        cause = f"last signal {hms(age_s)} ago, limit {hms(max_age_s)}"
        found.append((Status.DEGRADED, cause))
    elif age_s < -(ahead_s := min(max_age_s, MOST_AHEAD_S)):
        # the wall clock was set back; its age says nothing any more
        cause = f"last signal is dated {hms(-age_s)} in the future, limit {hms(ahead_s)}"
        found.append((Status.DEGRADED, cause))
    return _verdict(found, detail)


def check_latest_order(
    facts: LatestOrderFacts, now: datetime, *, limits: OrderLimits | None = None
) -> Verdict:
    """Whether orders reach a final state, and come when signals ask for them."""
    limits = limits or OrderLimits()
    found = [finding for each in facts.open if (finding := _open_finding(each, facts, now, limits))]
    found += [_blocked_finding(each, now) for each in facts.blocked]
    if facts.reconciled is not None and facts.reconciled.mismatches:
        cause = f"venue and books differ: {'; '.join(facts.reconciled.mismatches)}"
        found.append((Status.DEGRADED, cause))
    found += [
        (Status.DEGRADED, f"{market} is held and the exchange does not list it: its exits are off")
        for market in facts.delisted
    ]
    detail = _order_detail(facts, now)
    if not facts.expected:
        detail["note"] = "orders are switched off"
        return _verdict(found, detail)
    found += _demand_findings(facts, now, limits)
    if facts.latest is None:
        detail["note"] = "no order yet"
    elif not found and (now - facts.latest.created_at).total_seconds() > limits.max_age_s:
        detail["note"] = "no order was asked for since the last one"
    return _verdict(found, detail)


def _verdict(
    found: Sequence[Finding], detail: Mapping[str, object], *, latency_ms: float | None = None
) -> Verdict:
    """The worst of the findings, every cause, the worst first; none at all is healthy."""
    ranked = sorted(found, key=lambda finding: list(Status).index(finding[0]), reverse=True)
    return Verdict(
        status=worst([status for status, _ in ranked]) if ranked else Status.HEALTHY,
        cause="; ".join(cause for _, cause in ranked) or None,
        detail=detail,
        latency_ms=latency_ms,
    )


def _because(reason: str | None) -> str:
    return "" if reason in (None, "starting") else f": {reason}"


def _waiting(facts: DatabaseFacts) -> str:
    pool = facts.pool
    return f"{pool.waiting} wait for one of {pool.max} connections"


def _slow(what: str, latency_ms: float, limit_ms: float) -> str:
    return f"{what} took {latency_ms:,.0f} ms, limit {limit_ms:,.0f} ms"


def _call_findings(
    what: str, call: CallFact, now: datetime, limits: CallLimits
) -> Iterable[Finding]:
    if call.ok:
        if call.latency_ms > limits.slow_ms:
            yield Status.DEGRADED, _slow(what, call.latency_ms, limits.slow_ms)
        return
    cause = f"{what} failed: {call.error or 'no reason given'}"
    if call.failures > 1:
        cause += f" ({call.failures} in a row, limit {limits.failures})"
    if call.last_ok_at is not None:
        cause += f", last success {hms((now - call.last_ok_at).total_seconds())} ago"
    hopeless = call.fatal or call.failures > limits.failures or call.last_ok_at is None
    yield Status.UNHEALTHY if hopeless else Status.DEGRADED, cause


def _call_detail(call: CallFact) -> dict[str, object]:
    return {
        "ok": call.ok,
        "at": call.at,
        "latency_ms": round(call.latency_ms, 1),
        "last_ok_at": call.last_ok_at,
    }


def _gate_findings(
    gates: Sequence[GateFact], now: datetime, limits: CallLimits
) -> Iterable[Finding]:
    for gate in gates:
        left_s = (gate.until - now).total_seconds()
        if gate.banned and left_s > 0:
            yield Status.UNHEALTHY, f"{gate.name} is banned for {hms(left_s)} more: {gate.reason}"
        elif left_s > limits.gate_s:
            limit = hms(limits.gate_s)
            cause = f"{gate.name} is closed for {hms(left_s)} more, limit {limit}: {gate.reason}"
            yield Status.DEGRADED, cause


def _gate_detail(gates: Sequence[GateFact], now: datetime) -> dict[str, object]:
    return {gate.name: gate.until for gate in gates if gate.until > now}


def _model_findings(call: ModelCall, now: datetime) -> Iterable[Finding]:
    if call.outcome in GOOD_CALLS:
        return
    age = hms((now - call.at).total_seconds())
    cause = f"last call {age} ago was {call.outcome}: {call.error or 'no reason given'}"
    if call.failures > 1:
        cause += f" ({call.failures} in a row, limit 2)"
    yield Status.UNHEALTHY if call.failures > 2 else Status.DEGRADED, cause  # noqa: PLR2004


def _budget_findings(budget: Budget) -> Iterable[Finding]:
    if budget.spent_usd + budget.needed_usd > budget.limit_usd or not budget.limit_usd:
        cause = (
            f"{budget.spent_usd:.4f} USD spent today (KST), "
            f"a call may need {budget.needed_usd:.4f}, limit {budget.limit_usd:.2f}"
        )
        yield Status.DEGRADED, cause


def _lane_finding(lane: LaneFact) -> Finding | None:
    if lane.age_s <= lane.limit_s:
        return None
    status = Status.UNHEALTHY if lane.critical else Status.DEGRADED
    return status, f"no progress of {lane.name} for {hms(lane.age_s)}, limit {hms(lane.limit_s)}"


def _unwritten(since: datetime, now: datetime, limits: JobLimits) -> Iterable[Finding]:
    waits_s = (now - since).total_seconds()
    if waits_s > limits.unwritten_s:
        cause = f"outcomes of runs are not stored since {hms(waits_s)}"
        yield Status.UNHEALTHY, f"{cause}, limit {hms(limits.unwritten_s)}"


def _job_findings(job: JobFact, now: datetime, limits: JobLimits) -> Iterable[Finding]:
    if job.paused:
        yield Status.DEGRADED, f"{job.name} is paused"
        return
    if job.running_since is not None:
        busy_s = (now - job.running_since).total_seconds()
        limit_s = job.deadline_s + limits.overrun_s
        if busy_s > limit_s:
            cause = f"{job.name} runs for {hms(busy_s)}, limit {hms(limit_s)}"
            yield Status.UNHEALTHY, cause
    elif job.next_due_at is None:
        yield Status.UNHEALTHY, f"{job.name} has no next slot"
    elif (late_s := (now - job.next_due_at).total_seconds()) > limits.lag_s:
        cause = f"{job.name} is {hms(late_s)} late, limit {hms(limits.lag_s)}"
        yield Status.UNHEALTHY, cause
    if job.last_outcome in BAD_RUNS:
        cause = f"last run of {job.name}: {job.last_outcome}"
        cause += f", {job.last_error}" if job.last_error else ""
        cause += f" ({job.failures} in a row, limit {limits.failures})" if job.failures > 1 else ""
        bad = Status.UNHEALTHY if job.failures > limits.failures else Status.DEGRADED
        yield bad, cause


def _job_detail(job: JobFact) -> dict[str, object]:
    return {
        "next_due_at": job.next_due_at,
        "running_since": job.running_since,
        "last_outcome": job.last_outcome,
        "last_finished_at": job.last_finished_at,
        "paused": job.paused,
        "progress": job.progress,
    }


def _blocked_finding(blocked: BlockedExit, now: datetime) -> Finding:
    waited = hms((now - blocked.since).total_seconds())
    cause = blocked.cause or "no attempt was possible"
    what = f"the {blocked.purpose} exit from {blocked.market} has been blocked for {waited}"
    return Status.DEGRADED, f"{what}: {cause}"


def _open_finding(
    order: OrderFact, facts: LatestOrderFacts, now: datetime, limits: OrderLimits
) -> Finding | None:
    age_s = (now - order.since).total_seconds()
    timeout_s = facts.order_timeout_s
    if order.side == "ask":
        timeout_s = min(timeout_s, limits.longest_sale_s)
    limit_s = timeout_s + limits.cancel_s
    if order.state in IN_FLIGHT:
        limit_s = limits.in_flight_s
    elif order.state == "unknown":
        limit_s = limits.unknown_s
    cause = f"order {order.id} of {order.market} is {order.state} for {hms(age_s)}"
    if age_s > limit_s:
        return Status.UNHEALTHY, f"{cause}, limit {hms(limit_s)}"
    if order.state == "unknown":
        return Status.DEGRADED, f"{cause}, limit {hms(limit_s)}"
    return None


def _order_detail(facts: LatestOrderFacts, now: datetime) -> dict[str, object]:
    latest = facts.latest
    detail: dict[str, object] = {"at": None, "age_s": None, "open": len(facts.open)}
    if latest is not None:
        detail["at"] = latest.created_at
        detail["age_s"] = round((now - latest.created_at).total_seconds())
        detail |= {"market": latest.market, "side": latest.side, "state": latest.state}
    detail["blocked_exits"] = [
        {
            "market": each.market,
            "purpose": each.purpose,
            "cause": each.cause,
            "since": each.since,
            "attempts": each.attempts,
        }
        for each in facts.blocked
    ]
    return detail | {"reconciliation": _reconcile_detail(facts.reconciled, now)}


def _reconcile_detail(fact: ReconcileFact | None, now: datetime) -> dict[str, object] | None:
    if fact is None:
        return None
    return {
        "at": fact.at,
        "age_s": round((now - fact.at).total_seconds()),
        "open_ours": fact.open_ours,
        "open_foreign": fact.open_foreign,
        "unknown": fact.unknown,
        "mismatches": list(fact.mismatches),
        "runs": fact.runs,
    }


def _demand_findings(
    facts: LatestOrderFacts, now: datetime, limits: OrderLimits
) -> Iterable[Finding]:
    demand = facts.demand
    if demand.waiting_since is not None:
        waited_s = (now - demand.waiting_since).total_seconds()
        limit_s = max(limits.demand_s, facts.signal_max_age_s)
        if waited_s > limit_s:
            cause = f"a signal waits for its order since {hms(waited_s)}"
            yield Status.DEGRADED, f"{cause}, limit {hms(limit_s)}"
    if not demand.count or demand.first_at is None:
        return
    since = demand.first_at if facts.latest is None else facts.latest.created_at
    age_s = (now - since).total_seconds()
    if age_s > limits.max_age_s:
        what = "no order in" if facts.latest is None else "last order"
        ago = "" if facts.latest is None else " ago"
        cause = f"{what} {hms(age_s)}{ago}, limit {hms(limits.max_age_s)}"
        yield Status.DEGRADED, f"{cause}, though {demand.count} signals asked for one"
