"""Statistics from log lines: the same figures as from the database, and no line stops them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telemetry.log_reading import numbered
from daemon.telemetry.metrics import JobMetric
from daemon.telemetry.stats import Stats, from_lines

AT = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


def line(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "event": "job.metric",
        "job": "market",
        "scheduled_at": "2026-11-20T05:00:00Z",
        "started_at": "2026-11-20T05:00:00.1Z",
        "outcome": "ok",
        "attempts": 1,
        "duration_s": 0.5,
    }
    return json.dumps(fields | changes).encode()


def call(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "event": "gemini.call",
        "ts": "2026-11-20T05:00:00.000000Z",
        "model": "flash",
        "model_version": "flash-001",
        "outcome": "ok",
        "tokens_in": 100,
        "tokens_out": 10,
        "tokens_thought": 5,
        "cost_usd": "0.000123",
        "cost_known": True,
    }
    return json.dumps(fields | changes).encode()


def count(*lines: bytes, since: datetime | None = None) -> Stats:
    return from_lines(numbered("log", lines), since)


def test_a_line_of_the_daemon_is_counted() -> None:
    metric = JobMetric(
        job="market",
        run_id="r",
        scheduled_at=AT,
        started_at=AT,
        finished_at=AT,
        lateness_s=0,
        duration_s=1,
        success=True,
        outcome="ok",
        attempts=1,
    )
    written = json.dumps(metric.fields(), default=lambda value: value.isoformat()).encode()
    assert count(written).jobs[0].ok == 1


def test_slots_runs_and_retries_are_told_apart() -> None:
    result = count(
        line(attempts=4),
        line(attempts=4, outcome="failed"),
        line(),
        line(outcome="skipped", started_at=None, attempts=0, duration_s=0),
        line(outcome="cancelled", duration_s=99),
    )
    (job,) = result.jobs
    assert (job.slots, job.runs, job.ok, job.skipped) == (5, 3, 2, 1)
    assert (job.retries, job.retried, job.recovered) == (6, 2, 1)
    assert job.success_rate == pytest.approx(2 / 3)
    assert job.p99_s == 0.5


def test_a_job_that_never_ran_has_no_durations() -> None:
    (job,) = count(line(outcome="skipped", started_at=None, attempts=0)).jobs
    assert (job.success_rate, job.p50_s) == (None, None)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=50))
def test_percentiles_are_those_of_percentile_cont(durations: list[float]) -> None:
    (job,) = count(*(line(duration_s=each) for each in durations)).jobs
    ordered = sorted(durations)
    place = 0.95 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    expected = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    assert job.p95_s == pytest.approx(expected)
    assert job.p50_s == pytest.approx(quantiles(durations, n=2, method="inclusive")[0])


def test_costs_are_exact_and_by_korean_day_and_answering_model() -> None:
    result = count(
        call(),
        call(cost_usd="0.000001", outcome="rejected"),
        call(ts="2026-11-20T15:00:00Z"),
        call(model_version=None, cost_known=False),
    )
    assert [(each.day.isoformat(), each.model) for each in result.days] == [
        ("2026-11-21", "flash-001"),
        ("2026-11-20", "flash"),
        ("2026-11-20", "flash-001"),
    ]
    same = result.days[2]
    assert (same.calls, same.ok, same.tokens_in, same.cost_usd) == (2, 1, 200, Decimal("0.000124"))
    assert [each.is_estimate for each in result.days] == [False, True, False]


def test_lines_before_the_span_are_not_counted() -> None:
    assert count(line(), call(), since=datetime(2026, 11, 20, 6, tzinfo=UTC)).jobs == []
    assert count(line(), since=AT).jobs[0].slots == 1


def test_lines_of_others_are_passed_over() -> None:
    result = count(b"", b"  \n", b'{"event": "daemon.start"}', b"<6>" + line())
    assert (result.malformed, result.jobs[0].slots) == (0, 1)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b'{"ts":"2026-', "is not JSON"),
        (b"{half", "is no line of upbitd"),
        (b"{}", "is no line of upbitd"),
        (b"[1]", "is no line of upbitd"),
        (b"\xff\xfe", "is no line of upbitd"),
        (line(outcome=None, attempts=None), "TypeError"),
        (line(duration_s="fast"), "ValueError"),
        (line(scheduled_at="today"), "ValueError"),
        (line(scheduled_at=5), "TypeError"),
        (json.dumps({"event": "job.metric"}).encode(), "scheduled_at is missing"),
        (call(cost_usd="much"), "InvalidOperation"),
        (call(model_version=None, model=None, tokens_in=None), "TypeError"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named_and_stops_nothing(broken: bytes, why: str) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    result = count(line(), broken, line(), call(), since=since)
    assert result.malformed == 1
    assert result.faults[0].place == "log:2"
    assert why in result.faults[0].why
    assert (result.jobs[0].slots, len(result.jobs)) == (2, 1)
    assert result.days[0].calls == 1


def test_a_time_without_a_zone_is_a_broken_line() -> None:
    result = count(line(scheduled_at="2026-11-20T05:00:00"), since=AT)
    assert (result.malformed, result.jobs) == (1, [])


def test_only_the_first_broken_lines_are_named() -> None:
    result = count(*[b"x"] * 30)
    assert (result.malformed, len(result.faults)) == (30, 10)


def test_the_plain_form_is_json() -> None:
    told = json.loads(json.dumps(count(line(), call(), b"x", since=AT).as_dict()))
    assert told["since"] == "2026-11-20T05:00:00+00:00"
    assert told["jobs"][0]["success_rate"] == 1
    assert told["days"][0]["cost_usd"] == "0.000123"
    assert told["malformed"] == 1
