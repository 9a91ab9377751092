"""How soon /health answers while everything behind it is black-holed.

The port and, beside it in the same run, the stdlib's ThreadingHTTPServer with the same body; each
in a process whose event loop is free, asleep (a blocking call) or spinning (pure Python). Requests
come from another process at a steady rate, each on its own connection.

    .venv/bin/python bench/health_latency.py [--seconds 20] [--rate 16]
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from loguru import logger

from health.report import COMPONENTS, Examiner, Explain, Probe, Status, Verdict
from health.routes import About, health, health_body
from health.server import HealthServer, Listen

GOALS_MS = {"free": 3.0, "asleep": 3.0, "spinning": 20.0}
SLICE_S = 2.0


async def black_hole() -> None:
    """A dependency that never answers."""
    await asyncio.Event().wait()


def examiner() -> Examiner:
    """Six probes into black holes."""
    probes = [
        Probe(
            component=name,
            gather=black_hole,
            judge=lambda _facts, _now: Verdict(status=Status.HEALTHY),
            period_s=1.0,
            deadline_s=1.0,
        )
        for name in COMPONENTS
    ]
    return Examiner(probes, explain=Explain(mask=str), clock=lambda: datetime.now(UTC))


def about() -> About:
    """What the process is."""
    return About(version="0", mode="paper", role="leader", uptime_s=1.0)


def start_ours(examined: Examiner) -> int:
    """Open the health port; returns its number."""
    server = HealthServer(Listen(port=0), {"/health": health(examined.snapshot, about)})
    server.start()
    return server.port


def start_stdlib(examined: Examiner) -> int:
    """Open the reference: the stdlib's server, as it comes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(health_body(examined.snapshot(), about()), default=str).encode()
            self.send_response(503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def spin() -> None:
    """Hold the interpreter in pure Python, a slice at a time."""
    end, n = time.perf_counter() + SLICE_S, 0
    while time.perf_counter() < end:
        for _ in range(1000):
            n += 1


SERVERS: dict[str, Callable[[Examiner], int]] = {"upbitd": start_ours, "stdlib": start_stdlib}


def serve(kind: str, loop_is: str, pipe: Connection) -> None:
    """The serving process: a loop with probes, and the port beside it."""
    logger.remove()

    async def main() -> None:
        examined = examiner()
        probing = asyncio.create_task(examined.run())
        await asyncio.sleep(1.2)  # every probe has failed once
        pipe.send(SERVERS[kind](examined))
        while not pipe.poll():
            if loop_is == "spinning":
                spin()
            elif loop_is == "asleep":
                time.sleep(SLICE_S)  # noqa: ASYNC251 - the fault that is measured
            await asyncio.sleep(0.01)
        probing.cancel()

    asyncio.run(main())


def measure(port: int, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each request, sent at `rate` a second; a failed one counts as 10,000."""
    took, begin = [], time.perf_counter()
    for n in range(int(rate * seconds)):
        due = begin + n / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/health")
            connection.getresponse().read()
            connection.close()
            took.append((time.perf_counter() - sent) * 1000)
        except OSError:
            took.append(10_000.0)
    return took


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(kind: str, loop_is: str, rate: float, seconds: float) -> tuple[float, float, float]:
    """p50, p99 and the slowest, in milliseconds, of one server with one kind of loop."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(kind, loop_is, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(30):
            raise TimeoutError("the serving process did not start")
        took = measure(ours.recv(), rate, seconds)
        ours.send("stop")
        process.join(10)
    finally:
        process.kill()
    return percentile(took, 0.5), percentile(took, 0.99), max(took)


def main() -> int:
    """Measure everything, print the table, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=16.0)
    options = parser.parse_args()
    missed = 0
    print(f"/health at {options.rate:g} requests/s for {options.seconds:g} s each, milliseconds")
    print(f"{'loop':<10}{'server':<8}{'p50':>8}{'p99':>8}{'max':>9}   goal p99")
    for loop_is, goal_ms in GOALS_MS.items():
        for kind in SERVERS:
            p50, p99, worst = run(kind, loop_is, options.rate, options.seconds)
            verdict = ""
            if kind == "upbitd":
                missed += p99 > goal_ms
                verdict = f"{goal_ms:g} {'met' if p99 <= goal_ms else 'MISSED'}"
            print(f"{loop_is:<10}{kind:<8}{p50:>8.2f}{p99:>8.2f}{worst:>9.2f}   {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
