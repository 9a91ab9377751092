"""Log events become figures, whatever the level, and a strange one stops nothing."""

from collections.abc import Iterator

import pytest
from loguru import logger

from daemon.telemetry.event_metrics import count_events
from daemon.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(process=False)
    stop = count_events(made)
    yield made
    stop()


def text(metrics: Metrics) -> str:
    return metrics.render().decode()


def test_requests_are_counted_by_group_and_status(metrics: Metrics) -> None:
    logger.bind(event="api.request", group="order", status=201, ms=30.0).debug("x")
    logger.bind(event="api.request", group="order", status=None, ms=5000.0).warning("x")
    shown = text(metrics)
    assert 'upbitd_api_requests_total{group="order",service="upbit",status="201"} 1.0' in shown
    assert 'upbitd_api_requests_total{group="order",service="upbit",status="none"} 1.0' in shown
    assert 'upbitd_api_request_seconds_sum{group="order",service="upbit"} 5.03' in shown


def test_model_calls_are_counted_under_the_model_that_answered(metrics: Metrics) -> None:
    logger.bind(
        event="gemini.call",
        model="flash",
        model_version="flash-001",
        outcome="ok",
        tokens_in=10,
        tokens_out=5,
        tokens_thought=1,
        cost_usd="0.25",
        latency_ms=1500,
    ).info("x")
    shown = text(metrics)
    assert 'upbitd_model_tokens_total{kind="in",model="flash-001"} 10.0' in shown
    assert 'upbitd_model_cost_usd_total{model="flash-001"} 0.25' in shown
    assert 'upbitd_api_request_seconds_sum{group="generate",service="gemini"} 1.5' in shown
    assert '{group="generate",service="gemini",status="ok"} 1.0' in shown
    assert "_created" not in shown


def test_orders_are_counted_by_the_state_they_reach(metrics: Metrics) -> None:
    logger.bind(event="order.state", state="done").info("x")
    assert 'upbitd_orders_total{state="done"} 1.0' in text(metrics)


def test_other_lines_are_not_counted(metrics: Metrics) -> None:
    logger.bind(event="order.sent", state="done").info("x")
    logger.info("x")
    assert "upbitd_orders_total{" not in text(metrics)


def test_a_line_that_cannot_be_counted_is_counted_as_such(metrics: Metrics) -> None:
    logger.bind(event="api.request", group="order").info("x")
    logger.bind(event="order.state", state="done").info("x")
    assert "upbitd_uncounted_events_total 1.0" in text(metrics)
    assert 'upbitd_orders_total{state="done"} 1.0' in text(metrics)


def test_counting_ends() -> None:
    metrics = Metrics(process=False)
    count_events(metrics)()
    logger.bind(event="order.state", state="done").info("x")
    assert "upbitd_orders_total{" not in text(metrics)


def test_odd_rows_are_counted_by_list(metrics: Metrics) -> None:
    for level in ("WARNING", "DEBUG"):
        logger.bind(event="upbit.odd_row", path="/v1/ticker/all").log(level, "x")
    assert 'upbitd_odd_rows_total{path="/v1/ticker/all"} 2.0' in text(metrics)
