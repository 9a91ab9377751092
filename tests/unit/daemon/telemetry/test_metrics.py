"""Prometheus figures: what is counted, and that instances share nothing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.telemetry.metrics import ApiRequest, JobMetric, Metrics, ModelUse, Reading
from jobs.core.job import Incident

AT = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", mode="paper")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of what a scraper would read."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def run(**changes: Any) -> JobMetric:
    fields: dict[str, Any] = {
        "job": "market",
        "run_id": "r",
        "scheduled_at": AT,
        "started_at": AT + timedelta(seconds=0.25),
        "finished_at": AT + timedelta(seconds=2),
        "lateness_s": 0.25,
        "duration_s": 1.75,
        "success": True,
        "outcome": "ok",
        "attempts": 3,
        "rows": 10,
    }
    return JobMetric(**fields | changes)


def test_a_run_is_counted_with_its_retries_rows_and_time(metrics: Metrics) -> None:
    metrics.job(run())
    assert value(metrics, "upbitd_job_runs_total", upbitd_job="market", outcome="ok") == 1
    assert value(metrics, "upbitd_job_retries_total", upbitd_job="market") == 2
    assert value(metrics, "upbitd_job_rows_total", upbitd_job="market") == 10
    assert value(metrics, "upbitd_job_duration_seconds_sum", upbitd_job="market") == 1.75
    assert value(metrics, "upbitd_job_duration_seconds_bucket", upbitd_job="market", le="2.5") == 1
    assert value(metrics, "upbitd_job_duration_seconds_bucket", upbitd_job="market", le="1.0") == 0
    assert value(metrics, "upbitd_job_lateness_seconds", upbitd_job="market") == 0.25
    success = value(metrics, "upbitd_job_last_success_timestamp_seconds", upbitd_job="market")
    assert success == AT.timestamp() + 2


def test_a_failed_run_is_no_success(metrics: Metrics) -> None:
    metrics.job(run(success=False, outcome="failed"))
    assert value(metrics, "upbitd_job_runs_total", upbitd_job="market", outcome="failed") == 1
    assert value(metrics, "upbitd_job_last_success_timestamp_seconds", upbitd_job="market") is None


def test_a_skipped_slot_says_nothing_about_time(metrics: Metrics) -> None:
    metrics.job(run(started_at=None, success=False, outcome="skipped", attempts=0))
    assert value(metrics, "upbitd_job_runs_total", upbitd_job="market", outcome="skipped") == 1
    assert value(metrics, "upbitd_job_duration_seconds_count", upbitd_job="market") is None


def test_requests_model_calls_orders_alerts_and_deliveries(metrics: Metrics) -> None:
    metrics.request(ApiRequest(service="upbit", group="order", status="201", duration_s=0.03))
    metrics.model(
        ModelUse(
            model="flash",
            outcome="ok",
            tokens_in=10,
            tokens_out=5,
            tokens_thought=2,
            cost_usd=Decimal("0.001"),
        )
    )
    metrics.order("done")
    metrics.alert(
        Incident(kind="halted", severity="warning", incident="halted", title="t", message="m")
    )
    metrics.delivery("exec:/x#1", delivered=True)
    metrics.delivery("exec:/x#1", delivered=False)
    metrics.port("/health", 0.002)
    assert (
        value(metrics, "upbitd_api_requests_total", service="upbit", group="order", status="201")
        == 1
    )
    assert value(metrics, "upbitd_api_request_seconds_count", service="upbit", group="order") == 1
    assert value(metrics, "upbitd_model_calls_total", model="flash", outcome="ok") == 1
    assert value(metrics, "upbitd_model_tokens_total", model="flash", kind="thought") == 2
    assert value(metrics, "upbitd_model_cost_usd_total", model="flash") == 0.001
    assert value(metrics, "upbitd_orders_total", state="done") == 1
    assert value(metrics, "upbitd_alerts_total", kind="halted", severity="warning") == 1
    assert value(metrics, "upbitd_alert_deliveries_total", hook="exec:/x#1", result="failed") == 1
    assert value(metrics, "upbitd_port_request_seconds_sum", path="/health") == 0.002


def test_watched_figures_are_read_when_somebody_asks(metrics: Metrics) -> None:
    busy = [3.0]
    asked: list[int] = []

    def read() -> Reading:
        asked.append(1)
        return [(("busy",), busy[0])]

    metrics.watch("upbitd_pool_connections", "Pool.", ["state"], read)
    assert asked == []
    metrics.watch("upbitd_cache_hits", "Hits.", ["cache"], lambda: [(("x",), 7)], kind="counter")
    assert value(metrics, "upbitd_pool_connections", state="busy") == 3
    busy[0] = 4
    assert value(metrics, "upbitd_pool_connections", state="busy") == 4
    assert value(metrics, "upbitd_cache_hits_total", cache="x") == 7


def test_a_figure_that_cannot_be_read_hides_no_other(metrics: Metrics) -> None:
    def broken() -> Reading:
        raise RuntimeError("gone")

    metrics.watch("upbitd_broken", "x", [], broken)
    metrics.order("done")
    assert value(metrics, "upbitd_orders_total", state="done") == 1
    assert value(metrics, "upbitd_broken") is None


def test_the_process_is_measured(metrics: Metrics) -> None:
    assert (value(metrics, "process_resident_memory_bytes") or 0) > 1_000_000
    assert value(metrics, "upbitd_info", version="1.2.3", mode="paper") == 1


def test_two_instances_share_nothing(metrics: Metrics) -> None:
    other = Metrics()
    other.order("done")
    assert value(metrics, "upbitd_orders_total", state="done") is None


def test_every_name_is_ours(metrics: Metrics) -> None:
    metrics.job(run())
    families = text_string_to_metric_families(metrics.render().decode())
    assert all(family.name.startswith(("upbitd_", "process_")) for family in families)
