"""What the daemon counts: one `job.metric` line a slot, and Prometheus figures.

Every `Metrics` has a registry of its own, so that two of them never share a figure.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from loguru import logger
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.core.job import Incident

Outcome = Literal["ok", "failed", "timeout", "deferred", "skipped", "cancelled"]
Reading = Iterable[tuple[Sequence[str], float]]
"""Label values and the figure, for each series of one family."""

JOB = "upbitd_job"
"""The label with a job's name: `job` is Prometheus' own for the target, and ours would arrive as
`exported_job`."""

METRIC_LOGGER = "job"
METRIC_MESSAGE = "slot"
"""Short, because this line is written for every slot of every job."""

JOB_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PORT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5)
API_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMetric:
    """What became of one slot: the fields of the `job.metric` line. Times aware UTC."""

    job: str
    run_id: str
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime
    lateness_s: float
    duration_s: float
    success: bool
    outcome: Outcome
    reason: str | None = None
    attempts: int = 0
    waited_s: float = 0.0
    error_type: str | None = None
    error: str | None = None
    api_calls: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    cost_usd: Decimal = Decimal(0)

    def fields(self) -> dict[str, object]:
        """The fields as they stand in the line; spelled out because it is four times as fast."""
        return {
            "event": "job.metric",
            "job": self.job,
            "run_id": self.run_id,
            "scheduled_at": self.scheduled_at,
            "started_at": None if self.started_at is None else _millis(self.started_at),
            "finished_at": _millis(self.finished_at),
            "lateness_s": round(self.lateness_s, 4),
            "duration_s": round(self.duration_s, 4),
            "success": self.success,
            "outcome": self.outcome,
            # the row keeps why an extra slot was there; the line has a reason for what is not ok
            "reason": None if self.outcome == "ok" else self.reason,
            "attempts": self.attempts,
            "waited_s": round(self.waited_s, 4),
            "error_type": self.error_type,
            "error": self.error,
            "api_calls": self.api_calls,
            "rows": self.rows,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "tokens_thought": self.tokens_thought,
            "cost_usd": str(self.cost_usd),
        }


def _millis(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request to Upbit or Gemini; `status` is the HTTP status or the name of the failure."""

    service: str
    group: str
    status: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What one model call used."""

    model: str
    outcome: str
    tokens_in: int
    tokens_out: int
    tokens_thought: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class _Pulled(Collector):
    """A family whose series are read at the moment somebody asks."""

    name: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[], Reading]
    kind: Literal["gauge", "counter"]

    def describe(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        """The family without series, so that registering it reads nothing."""
        make = GaugeMetricFamily if self.kind == "gauge" else CounterMetricFamily
        return [make(self.name, self.text, labels=self.labels)]

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The family; without series while its source cannot be read."""
        (family,) = self.describe()
        try:
            series = list(self.read())
        except Exception as exc:  # noqa: BLE001 - one broken source must not hide all other figures
            logger.bind(event="metrics.unreadable", family=self.name, error=repr(exc)).warning(
                "A figure cannot be read"
            )
            series = []
        for values, figure in series:
            family.add_metric(list(values), figure)
        yield family


class Metrics:
    """The Prometheus figures of one daemon: `upbitd_*`, and `process_*` as every exporter has them.

    Without `_created` series, which double their number for a second copy of the start.
    """

    def __init__(self, *, version: str = "", mode: str = "", process: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        if process:
            ProcessCollector(registry=self.registry)
        self._declare_jobs()
        self._declare_outside()
        self._declare_own()
        info = Gauge("upbitd_info", "1.", ["version", "mode"], registry=self.registry)
        info.labels(version, mode).set(1)

    def _declare_jobs(self) -> None:
        registry = self.registry
        self._runs = Counter("upbitd_job_runs", "Slots.", [JOB, "outcome"], registry=registry)
        self._retries = Counter("upbitd_job_retries", "Retries.", [JOB], registry=registry)
        self._rows = Counter("upbitd_job_rows", "Rows written.", [JOB], registry=registry)
        self._durations = Histogram(
            "upbitd_job_duration_seconds",
            "Run time with its retries.",
            [JOB],
            registry=registry,
            buckets=JOB_BUCKETS_S,
        )
        self._lateness = Gauge(
            "upbitd_job_lateness_seconds",
            "Start behind schedule, newest run.",
            [JOB],
            registry=registry,
        )
        self._succeeded = Gauge(
            "upbitd_job_last_success_timestamp_seconds",
            "End of the newest good run.",
            [JOB],
            registry=registry,
        )

    def _declare_outside(self) -> None:
        registry = self.registry
        labels = ["service", "group"]
        self._requests = Counter(
            "upbitd_api_requests", "Requests sent.", [*labels, "status"], registry=registry
        )
        self._request_s = Histogram(
            "upbitd_api_request_seconds",
            "Time to the answer.",
            labels,
            registry=registry,
            buckets=API_BUCKETS_S,
        )
        self._odd_rows = Counter(
            "upbitd_odd_rows",
            "Rows of list answers that could not be read and were left out.",
            ["path"],
            registry=registry,
        )
        self._calls = Counter(
            "upbitd_model_calls", "Model calls.", ["model", "outcome"], registry=registry
        )
        self._tokens = Counter(
            "upbitd_model_tokens", "Tokens.", ["model", "kind"], registry=registry
        )
        self._cost = Counter("upbitd_model_cost_usd", "Estimated.", ["model"], registry=registry)
        self._reconciled = Counter(
            "upbitd_reconciliations",
            "Comparisons of venue and tables by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._mismatches = Gauge(
            "upbitd_reconcile_mismatches",
            "What did not fit in the newest comparison of venue and tables.",
            registry=registry,
        )
        self._orders = Counter(
            "upbitd_orders", "Orders by state reached.", ["state"], registry=registry
        )

    def _declare_own(self) -> None:
        registry = self.registry
        self._alerts = Counter(
            "upbitd_alerts", "Incidents.", ["kind", "severity"], registry=registry
        )
        self._deliveries = Counter(
            "upbitd_alert_deliveries", "Attempts.", ["hook", "result"], registry=registry
        )
        self._port_s = Histogram(
            "upbitd_port_request_seconds",
            "The health port's time to an answer.",
            ["path"],
            registry=registry,
            buckets=PORT_BUCKETS_S,
        )
        self._uncounted = Counter(
            "upbitd_uncounted_events",
            "Events that were not what they should be.",
            registry=registry,
        )

    def job(self, metric: JobMetric) -> None:
        """Count one closed slot."""
        self._runs.labels(metric.job, metric.outcome).inc()
        if metric.started_at is None:
            return
        self._retries.labels(metric.job).inc(max(0, metric.attempts - 1))
        self._rows.labels(metric.job).inc(metric.rows)
        self._durations.labels(metric.job).observe(metric.duration_s)
        self._lateness.labels(metric.job).set(metric.lateness_s)
        if metric.success:
            self._succeeded.labels(metric.job).set(metric.finished_at.timestamp())

    def request(self, request: ApiRequest) -> None:
        """Count one request."""
        self._requests.labels(request.service, request.group, request.status).inc()
        self._request_s.labels(request.service, request.group).observe(request.duration_s)

    def odd_row(self, path: str) -> None:
        """Count one row of a list answer that was left out."""
        self._odd_rows.labels(path).inc()

    def model(self, use: ModelUse) -> None:
        """Count one model call."""
        self._calls.labels(use.model, use.outcome).inc()
        self._tokens.labels(use.model, "in").inc(use.tokens_in)
        self._tokens.labels(use.model, "out").inc(use.tokens_out)
        self._tokens.labels(use.model, "thought").inc(use.tokens_thought)
        self._cost.labels(use.model).inc(float(use.cost_usd))

    def order(self, state: str) -> None:
        """Count an order that reached a state."""
        self._orders.labels(state).inc()

    def reconciled(self, mismatches: int) -> None:
        """Count a comparison of venue and tables, and keep how much does not fit."""
        self._reconciled.labels("fits" if not mismatches else "differs").inc()
        self._mismatches.set(mismatches)

    def alert(self, incident: Incident) -> None:
        """Count one incident, folded or not."""
        self._alerts.labels(incident.kind, incident.severity).inc()

    def delivery(self, hook: str, *, delivered: bool) -> None:
        """Count one attempt to deliver an alert."""
        self._deliveries.labels(hook, "delivered" if delivered else "failed").inc()

    def port(self, path: str, duration_s: float) -> None:
        """Count one answer of the health port; from any thread."""
        self._port_s.labels(path).observe(duration_s)

    def uncounted(self) -> None:
        """Count an event that could not be counted as what it says it is."""
        self._uncounted.inc()

    def watch(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        read: Callable[[], Reading],
        *,
        kind: Literal["gauge", "counter"] = "gauge",
    ) -> None:
        """Add a family that is read when somebody asks: pool, caches, gates.

        `read` is called in the health port's thread.
        """
        self.registry.register(_Pulled(name, text, tuple(labels), read, kind))

    def render(self) -> bytes:
        """All figures in Prometheus text format."""
        return generate_latest(self.registry)
