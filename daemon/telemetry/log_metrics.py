"""The log's outputs as figures of /metrics."""

from daemon.telemetry.logs import Logs
from daemon.telemetry.metrics import Metrics, Reading


def watch_logs(metrics: Metrics, logs: Logs) -> None:
    """Add whether each output of the log works, and what it lacks."""

    def healthy() -> Reading:
        return [((each.name,), int(each.fault is None)) for each in logs.outputs()]

    def lost() -> Reading:
        return [((each.name,), each.lost) for each in logs.outputs()]

    def waiting() -> Reading:
        return [((each.name,), each.waiting) for each in logs.outputs()]

    label = ("output",)
    metrics.watch("upbitd_log_output_healthy", "1 while an output takes lines.", label, healthy)
    metrics.watch("upbitd_log_lines_waiting", "Log lines not written yet.", label, waiting)
    metrics.watch(
        "upbitd_log_lines_lost", "Log lines dropped or refused.", label, lost, kind="counter"
    )
