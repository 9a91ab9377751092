"""What others rely on, checked on one run of the real process: lines, answers, alerts."""

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from fixtures.whole_run import PATHS, Run


@pytest.fixture(scope="module")
def run(whole_run: Run) -> Run:
    return whole_run


# --- log lines

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
EVENT = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)*")
LEVELS = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
OUTCOMES = {"ok", "failed", "timeout", "deferred", "skipped", "cancelled"}
WAIT_SOURCES = {"backoff", "retry-after", "retry-info", "remaining-req", "ban"}
METRIC = {
    "job": "str",
    "run_id": "str",
    "scheduled_at": "instant",
    "started_at": "instant?",
    "finished_at": "instant",
    "lateness_s": "float",
    "duration_s": "float",
    "success": "bool",
    "outcome": "str",
    "reason": "str?",
    "attempts": "int",
    "waited_s": "float",
    "error_type": "str?",
    "error": "str?",
    "api_calls": "int",
    "rows": "int",
    "tokens_in": "int",
    "tokens_out": "int",
    "tokens_thought": "int",
    "cost_usd": "decimal",
}
SEEN = (
    *("daemon.start", "daemon.ready", "daemon.stop", "job.metric", "job.retry", "api.request"),
    *("gemini.call", "signal.created", "order.intent", "order.sent", "order.state"),
    *("order.fill", "alert.raised", "alert.delivered", "db.slow_query", "settings.changed"),
)


def fits(value: object, kind: str) -> bool:
    """Whether a JSON value is what the contract calls `kind`; `?` allows null."""
    if kind.endswith("?"):
        return value is None or fits(value, kind[:-1])
    if kind in {"instant", "decimal"}:
        return isinstance(value, str) and parses(value, kind)
    return type(value) is {"str": str, "int": int, "float": float, "bool": bool}[kind]


def parses(text: str, kind: str) -> bool:
    if kind == "instant":
        return datetime.fromisoformat(text).tzinfo is not None
    return Decimal(text).is_finite()


def test_it_ends_with_zero(run: Run) -> None:
    assert run.exit_code == 0


def test_every_line_has_the_common_fields(run: Run) -> None:
    for line in run.lines:
        assert STAMP.fullmatch(line["ts"]), line
        assert line["level"] in LEVELS, line
        assert isinstance(line["logger"], str), line
        assert isinstance(line["message"], str), line
        assert EVENT.fullmatch(line["event"]), line


def test_the_file_holds_the_same_lines(run: Run) -> None:
    assert run.file == run.lines


@pytest.mark.parametrize("event", SEEN)
def test_every_event_of_an_ordinary_run_is_written(run: Run, event: str) -> None:
    assert run.of(event)


def test_what_a_run_writes_names_job_and_run(run: Run) -> None:
    runs = {line["run_id"]: line["job"] for line in run.of("job.metric")}
    for event in ("gemini.call", "signal.created", "order.intent", "order.sent", "order.fill"):
        for line in run.of(event):
            assert runs[line["run_id"]] == line["job"]


def test_lines_about_an_order_name_it(run: Run) -> None:
    for event in ("order.intent", "order.sent", "order.state", "order.fill"):
        assert all(type(line["order_id"]) is int for line in run.of(event))


@pytest.mark.parametrize(("name", "kind"), METRIC.items())
def test_a_metric_field_has_its_type(run: Run, name: str, kind: str) -> None:
    assert all(fits(line[name], kind) for line in run.of("job.metric"))


def test_metric_lines_mean_what_they_say(run: Run) -> None:
    for line in run.of("job.metric"):
        assert line["outcome"] in OUTCOMES
        assert line["success"] is (line["outcome"] == "ok")
        assert (line["reason"] is None) is (line["outcome"] == "ok")
        assert (line["started_at"] is None) <= (line["outcome"] in {"skipped", "deferred"})
        assert (line["error_type"] is None) is (line["error"] is None)


def test_every_slot_has_one_line_and_one_row(run: Run) -> None:
    told = [(line["run_id"], line["outcome"]) for line in run.of("job.metric")]
    assert sorted(told) == sorted(run.slots)
    assert len({run_id for run_id, _ in told}) == len(told)
    assert {"ok", "failed"} <= {outcome for _, outcome in told}


def test_a_retry_says_how_long_it_waits_and_why(run: Run) -> None:
    for line in run.of("job.retry"):
        assert fits(line["attempt"], "int")
        assert fits(line["wait_s"], "float")
        assert line["wait_source"] in WAIT_SOURCES


def test_requests_of_the_port_are_logged_with_their_id(run: Run) -> None:
    ids = {line["request_id"] for line in run.of("health.request")}
    assert {answer.headers["X-Request-ID"] for answer in run.answers.values()} <= ids


@pytest.mark.parametrize("event", ["cache.stats", "risk.refused"])
def test_events_of_other_hours_are_in_the_program(event: str) -> None:
    root = Path(__file__).parents[2]
    sources = [path for part in ("daemon", "jobs") for path in (root / part).rglob("*.py")]
    assert any(f'event="{event}"' in path.read_text("utf-8") for path in sources)


# --- the health port

COMPONENTS = ("database", "upbit", "gemini", "scheduler", "latest_signal", "latest_order")
HEALTH = {
    "status": "str",
    "checked_at": "instant",
    "version": "str",
    "mode": "str",
    "role": "str",
    "uptime_s": "float",
}
STATUSES = ["healthy", "degraded", "unhealthy"]
PERCENTILES = ("p50_s", "p95_s", "p99_s")
TIER = {
    "cache": "str",
    "tier": "str",
    "hits": "int",
    "misses": "int",
    "entries": "int",
    "evictions": "int",
    "errors": "int",
    "hit_rate": "float?",
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_answers(run: Run, path: str) -> None:
    answer = run.answers[path]
    assert answer.status_code == 200
    kind = {"/metrics": "text/plain", "/": "text/html"}.get(path, "application/json")
    assert answer.headers["Content-Type"].startswith(kind)


def test_health_has_six_components_and_the_worst_ones_status(run: Run) -> None:
    body = run.answers["/health"].json()
    assert all(fits(body[name], kind) for name, kind in HEALTH.items())
    assert (body["mode"], body["role"]) == ("live", "leader")
    assert sorted(body["components"]) == sorted(COMPONENTS)
    each = [part["status"] for part in body["components"].values()]
    assert body["status"] == max(each, key=STATUSES.index)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_has_its_fields_and_a_cause_when_ill(run: Run, name: str) -> None:
    part = run.answers["/health"].json()["components"][name]
    assert part["status"] in STATUSES
    assert (part["cause"] is None) is (part["status"] == "healthy")
    assert fits(part["checked_at"], "instant")
    assert fits(part["latency_ms"], "float?")
    assert isinstance(part["detail"], dict)


def test_the_details_that_the_contract_shows(run: Run) -> None:
    parts = run.answers["/health"].json()["components"]
    pool = parts["database"]["detail"]["pool"]
    assert (pool["max"], set(pool)) == (20, {"size", "available", "waiting", "max"})
    signal = parts["latest_signal"]["detail"]
    assert {"at", "age_s", "market", "action"} <= signal.keys()


def test_statistics_per_job_and_per_day(run: Run) -> None:
    body = run.answers["/stats?since=24h"].json()
    assert {each["job"] for each in body["jobs"]} >= {"market", "signals", "orders"}
    for each in body["jobs"]:
        assert fits(each["runs"], "int")
        assert fits(each["success_rate"], "float?")
        assert all(fits(each[name], "float?") for name in PERCENTILES)
    for each in body["days"]:
        assert all(fits(each[name], "int") for name in ("tokens_in", "tokens_out"))
        assert fits(each["cost_usd"], "decimal")
    assert body["days"]


def test_cache_statistics_per_tier(run: Run) -> None:
    tiers = run.answers["/cache-stats"].json()["caches"]
    assert {each["cache"] for each in tiers} >= {"settings", "prices", "signals", "markets"}
    assert all(fits(each[name], kind) for each in tiers for name, kind in TIER.items())


def test_all_own_figures_carry_the_name(run: Run) -> None:
    text = run.answers["/metrics"].text
    names = [line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert names
    assert all(name.startswith(("upbitd_", "process_")) for name in names)
    assert not [name for name in names if name.endswith("_created")]


def test_no_label_collides_with_one_of_prometheus(run: Run) -> None:
    labels = set(re.findall(r'[{,]([a-z_]+)="', run.answers["/metrics"].text))
    assert "upbitd_job" in labels
    assert not labels & {"job", "instance"}


def test_calls_of_gemini_have_a_histogram_and_an_id(run: Run) -> None:
    text = run.answers["/metrics"].text
    assert 'upbitd_api_request_seconds_count{group="generate",service="gemini"}' in text
    ids = [line["request_id"] for line in run.of("gemini.call")]
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert len(set(ids)) == len(ids)
    assert any(line["response_id"] for line in run.of("gemini.call"))


@pytest.mark.parametrize(
    ("case", "status"),
    [("unknown", 404), ("post", 405), ("delete", 405), ("since", 400), ("mine", 200)],
)
def test_refusals_are_json_with_a_status(run: Run, case: str, status: int) -> None:
    answer = run.refused[case]
    assert answer.status_code == status
    assert isinstance(answer.json(), dict)


def test_every_answer_carries_a_request_id(run: Run) -> None:
    assert [run.refused[case].headers["X-Request-ID"] for case in ("post", "delete", "mine")] == [
        *("mine-1", "mine-2", "mine-3"),
    ]
    assert run.refused["invalid"].headers["X-Request-ID"] != "not valid"
    answers = [*run.answers.values(), *run.refused.values()]
    assert all(answer.headers["X-Request-ID"] for answer in answers)


def test_head_has_the_head_alone(run: Run) -> None:
    assert run.refused["head"].status_code == 200
    assert run.refused["head"].content == b""
    assert int(run.refused["head"].headers["Content-Length"]) > 0


# --- alerts

ALERT = {
    "id": "int?",  # of one that was sent before the database could take it
    "ts": "instant",
    "kind": "str",
    "severity": "str",
    "title": "str",
    "message": "str",
    "job": "str?",
    "run_id": "str?",
    "attempts": "int?",
    "error_type": "str?",
    "error": "str?",
    "market": "str?",
    "order_id": "int?",
    "identifier": "str?",
    "advice": "str?",
    "occurrences": "int",
    "first_at": "instant",
    "host": "str",
    "instance": "str",
}


def test_both_kinds_of_hooks_got_the_same_objects(run: Run) -> None:
    same = [each for each in run.executed if each in run.posted]
    assert {each["kind"] for each in same} >= {"retry_exhausted", "recovered"}


def test_an_alert_has_exactly_its_fields(run: Run) -> None:
    for alert in run.executed + run.posted:
        assert alert.keys() == ALERT.keys()
        assert all(fits(alert[name], kind) for name, kind in ALERT.items())
        assert alert["severity"] in {"info", "warning", "critical"}
        assert alert["instance"] == "contract"


def test_an_exhausted_run_is_told_with_its_attempts(run: Run) -> None:
    alert = next(each for each in run.executed if each["kind"] == "retry_exhausted")
    failed = {line["run_id"]: line for line in run.of("job.metric") if line["outcome"] == "failed"}
    line = failed[alert["run_id"]]
    assert (alert["job"], alert["attempts"], line["attempts"]) == (line["job"], 4, 4)
    assert (alert["error_type"], alert["error"]) == (line["error_type"], line["error"])
