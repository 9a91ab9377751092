"""Candles of many markets against the sandbox's quota: requests, refusals, and the time they took.

The line is `--one-way-ms` long with up to `--jitter-ms` more for each direction of each request.
Goal at share 1.0: at most 1.02 times what the quota itself takes, and no 429.

    python -m bench.rate_limit --requests 200
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from loguru import logger

from bench._daemon import sandbox
from jobs.core.cooldowns import Gates
from jobs.core.errors import JobError
from jobs.upbit.client import UpbitClient
from jobs.upbit.http import timeouts
from jobs.upbit.limits import QUOTATION, Limiter

TIMEOUT_S = 5.0
IN_FLIGHT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How far away the exchange is, in seconds."""

    one_way_s: float
    jitter_s: float

    async def travel(self) -> None:
        """Pass one direction of the line."""
        await asyncio.sleep(self.one_way_s + random.random() * self.jitter_s)


class FarAway(httpx.AsyncHTTPTransport):
    """A transport with a line before it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request down the line, and its answer back."""
        await self._line.travel()
        response = await super().handle_async_request(request)
        await response.aread()
        await self._line.travel()
        return response


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one measurement."""

    requests: int
    took_s: float
    failed: int
    refused: int


def main() -> None:
    """Measure and print."""
    wanted = _parser().parse_args()
    logger.remove()
    line = Line(one_way_s=wanted.one_way_ms / 1000, jitter_s=wanted.jitter_ms / 1000)
    with sandbox() as url:
        outcome = asyncio.run(measure(url, wanted.requests, wanted.share, line))
    quota_s = outcome.requests / QUOTATION["candle"].requests
    print(f"requests {outcome.requests}, share {wanted.share}")
    print(f"line     {wanted.one_way_ms:g} ms + 0..{wanted.jitter_ms:g} ms each way")
    print(f"took     {outcome.took_s:.2f} s; the quota alone {quota_s:.2f} s")
    print(f"ratio    {outcome.took_s / quota_s:.3f}")
    print(f"429      {outcome.refused}; failed {outcome.failed}")


async def measure(url: str, requests: int, share: float, line: Line) -> Outcome:
    """Ask for `requests` pages of candles, ten in flight."""
    async with httpx.AsyncClient(transport=FarAway(line), timeout=timeouts(TIMEOUT_S)) as http:
        client = _client(http, url, share)
        markets = [market.market for market in await client.markets()]
        await client.candles(markets[0], 1, count=1)  # the connection is made
        await asyncio.sleep(2)
        todo = iter([markets[number % len(markets)] for number in range(requests)])
        started = time.perf_counter()
        failed = sum(await asyncio.gather(*(_work(client, todo) for _ in range(IN_FLIGHT))))
        took_s = time.perf_counter() - started
        ledger = (await http.get(f"{url}/sandbox/ledger")).json()
    return Outcome(
        requests=requests,
        took_s=took_s,
        failed=failed,
        refused=ledger["refusals"].get("candle", 0),
    )


def _client(http: httpx.AsyncClient, url: str, share: float) -> UpbitClient:
    def clock() -> datetime:
        return datetime.now(UTC)

    return UpbitClient(
        http,
        base_url=url,
        keys=None,
        gates=Gates(clock),
        limiter=Limiter(share=share),
        clock=clock,
        timeout_s=TIMEOUT_S,
    )


async def _work(client: UpbitClient, todo: Iterator[str]) -> int:
    failed = 0
    for market in todo:
        try:
            await client.candles(market, 1, count=200)
        except JobError:
            failed += 1
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.rate_limit", description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--one-way-ms", type=float, default=15.0)
    parser.add_argument("--jitter-ms", type=float, default=15.0)
    return parser


if __name__ == "__main__":
    main()
