"""Figures counted from log events, so that jobs need to know nothing of Prometheus.

Requests, model calls and order states are told by their log lines, whatever the log's level.
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from loguru import logger

from daemon.telemetry.metrics import ApiRequest, Metrics, ModelUse

if TYPE_CHECKING:
    from loguru import Message, Record

NO_ANSWER = "none"


def count_events(metrics: Metrics) -> Callable[[], None]:
    """Count the events of this process from now on; returns what ends that."""
    counters = {
        "api.request": lambda fields: metrics.request(_request(fields)),
        "gemini.call": lambda fields: _count_model(metrics, fields),
        "order.state": lambda fields: metrics.order(str(fields["state"])),
        "upbit.odd_row": lambda fields: metrics.odd_row(str(fields["path"])),
        "reconcile.done": lambda fields: metrics.reconciled(int(fields["mismatches"])),
    }

    def wanted(record: "Record") -> bool:
        return record["extra"].get("event") in counters

    def count(message: "Message") -> None:
        fields = message.record["extra"]
        try:
            counters[fields["event"]](fields)
        except (KeyError, TypeError, ValueError, InvalidOperation):
            metrics.uncounted()

    handler = logger.add(
        count, level="DEBUG", filter=wanted, format="", backtrace=False, diagnose=False
    )
    return lambda: logger.remove(handler)


def _request(fields: dict[str, Any]) -> ApiRequest:
    status = fields["status"]
    return ApiRequest(
        service="upbit",
        group=str(fields["group"]),
        status=NO_ANSWER if status is None else str(status),
        duration_s=float(fields["ms"]) / 1000,
    )


def _count_model(metrics: Metrics, fields: dict[str, Any]) -> None:
    """Count a model call, and its one request to Gemini."""
    metrics.model(_model(fields))
    latency_ms = fields.get("latency_ms")
    if latency_ms is not None:
        metrics.request(
            ApiRequest(
                service="gemini",
                group="generate",
                status=str(fields["outcome"]),
                duration_s=float(latency_ms) / 1000,
            )
        )


def _model(fields: dict[str, Any]) -> ModelUse:
    return ModelUse(
        model=str(fields["model_version"] or fields["model"]),
        outcome=str(fields["outcome"]),
        tokens_in=int(fields["tokens_in"]),
        tokens_out=int(fields["tokens_out"]),
        tokens_thought=int(fields["tokens_thought"]),
        cost_usd=Decimal(fields["cost_usd"]),
    )
