"""Thousands of calls by one client of each SDK: memory, descriptors and threads before and after.

Good answers with faults between them (429, 503, broken JSON, resets, cancelled calls), against the
sandbox's Gemini over HTTP. Each SDK in a process of its own; nothing should grow.

    python -m bench.gemini_soak --calls 4000
"""

import argparse
import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Literal

from loguru import logger

from bench._daemon import sandbox
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.gemini.answer import SCHEMA
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.model import Request

Sdk = Literal["google-genai", "google-generativeai"]
SDKS: tuple[Sdk, ...] = ("google-genai", "google-generativeai")
KEY = "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE"
MODEL = "gemini-3.5-flash-lite"
MIX = ("ok", "ok", "ok", "ok", "thoughts-and-cache", "503", "429-bare", "prose", "reset", "ok")
CANCELLED_EVERY = 50
WARM_UP = 300
PROMPT = '<market_data>\n{"columns":["market","ret_15"],"rows":[["KRW-BTC","0.3"]]}\n</market_data>'


def main() -> None:
    """Soak both SDKs, one after the other, and print what grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.gemini_soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--sdk", choices=SDKS)
    parser.add_argument("--url")
    wanted = parser.parse_args()
    logger.remove()
    if wanted.sdk:
        asyncio.run(soak(wanted.sdk, wanted.url, wanted.calls))
        return
    with sandbox() as url:
        for sdk in SDKS:
            command = [sys.executable, "-m", "bench.gemini_soak", "--sdk", sdk, "--url", url]
            subprocess.run([*command, "--calls", str(wanted.calls)], check=True)


async def soak(sdk: Sdk, url: str, calls: int) -> None:
    """Make the calls with one client and print the figures."""
    connection = Connection(sdk=sdk, model=MODEL, api_key=KEY, base_url=url)
    gates = Gates(lambda: datetime.now(UTC))
    async with open_model(connection, gates=gates, clock=lambda: datetime.now(UTC)) as client:
        await work(client, WARM_UP)
        before, began = usage(), time.perf_counter()
        failed = await work(client, calls)
        took_s = time.perf_counter() - began
        after = usage()
    print(
        f"{sdk}: {calls} calls in {took_s:.1f} s, {failed} of them failed or cancelled as scripted"
    )
    for name, first, last in zip(("RSS MiB", "descriptors", "threads"), before, after, strict=True):
        print(f"  {name:12} {first:.1f} -> {last:.1f}, {last - first:+.1f}")


async def work(client: GeminiClient, calls: int) -> int:
    """Make the calls one after another; return how many gave no reply."""
    failed = 0
    for number, scenario in zip(range(calls), cycle(MIX), strict=False):
        request = Request(
            model=f"{MODEL}--{scenario}",
            system="Decide.",
            prompt=PROMPT,
            schema=SCHEMA,
            max_output_tokens=2000,
            timeout_s=20.0,
        )
        call = asyncio.create_task(client.generate(request))
        if number % CANCELLED_EVERY == 0:
            await asyncio.sleep(0.001)
            call.cancel()
        try:
            await call
        except (JobError, asyncio.CancelledError):
            failed += 1
    return failed


def usage() -> tuple[float, float, float]:
    """Resident memory in MiB, open descriptors and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    rss_mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    descriptors = 0
    with suppress(OSError):
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return rss_mib, float(descriptors), float(threading.active_count())


if __name__ == "__main__":
    main()
