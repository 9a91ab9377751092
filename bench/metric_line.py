"""Lines a second and bytes a line of `job.metric`, beside loguru's own serialize=True.

Both write the same fields to /dev/null in the same run, in alternating rounds; the best round of
each counts. Usage: python -m bench.metric_line [lines]
"""

import io
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loguru import logger

from daemon.config.sections import LogConfig
from daemon.telemetry.logs import configure
from daemon.telemetry.metrics import JobMetric

ROUNDS = 5
SECRETS = ("A" * 40, "B" * 40, "AIza" + "C" * 35)


def sample() -> JobMetric:
    """A slot as most are."""
    at = datetime(2026, 11, 20, 5, 0, 2, 1234, UTC)
    return JobMetric(
        job="market",
        run_id="0b5ae1ce2f1c4ac8",
        scheduled_at=at.replace(microsecond=0),
        started_at=at,
        finished_at=at + timedelta(milliseconds=312),
        lateness_s=0.001234,
        duration_s=0.311766,
        success=True,
        outcome="ok",
        attempts=1,
        api_calls=6,
        rows=10,
    )


def ours(metric: JobMetric, lines: int) -> float:
    """Seconds for so many lines through the daemon's own sink, masking included."""
    with Path("/dev/null").open("w") as nowhere:
        logs = configure(LogConfig(format="json"), SECRETS, stream=nowhere)
        spent_s = timed(lambda: logs.metric(metric), lines)
        logs.close()
    return spent_s


def loguru_serialize(metric: JobMetric, lines: int) -> float:
    """Seconds for so many lines through loguru's serialize=True, without any masking."""
    with Path("/dev/null").open("w") as nowhere:
        logger.remove()
        handler = logger.add(nowhere, serialize=True)
        spent_s = timed(lambda: logger.bind(**metric.fields()).info("slot closed"), lines)
        logger.remove(handler)
    return spent_s


def timed(call: Callable[[], None], lines: int) -> float:
    """Seconds for so many calls."""
    start = time.perf_counter()
    for _ in range(lines):
        call()
    return time.perf_counter() - start


def size(metric: JobMetric, *, serialize: bool) -> int:
    """Bytes of one line."""
    stream = io.StringIO()
    if serialize:
        logger.remove()
        handler = logger.add(stream, serialize=True)
        logger.bind(**metric.fields()).info("slot closed")
        logger.remove(handler)
    else:
        logs = configure(LogConfig(format="json"), SECRETS, stream=stream)
        logs.metric(metric)
        logs.close()
    return len(stream.getvalue().encode())


def main(lines: int) -> None:
    """Print both."""
    metric = sample()
    rounds = [(ours(metric, lines), loguru_serialize(metric, lines)) for _ in range(ROUNDS)]
    mine, theirs = (lines / min(each) for each in zip(*rounds, strict=True))
    print(f"job.metric, masked    {mine:>9,.0f} lines/s  {size(metric, serialize=False):>4} bytes")
    print(f"loguru serialize=True {theirs:>9,.0f} lines/s  {size(metric, serialize=True):>4} bytes")
    print(f"ratio {mine / theirs:.2f} (goal: 90,000 lines/s beside 44,000, at most 500 bytes)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
