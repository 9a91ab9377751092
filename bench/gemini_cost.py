"""Tokens and cost of one cycle for few and for many markets, with and without larger candles.

Real features of a random walk, the real prompt, asked of the sandbox's Gemini over HTTP. The
sandbox counts four bytes a token; `at most` is the worst case that the budget reserves: a token
for every byte, the whole room for the answer, the dearest model of the table.

    python -m bench.gemini_cost --markets 5 200
"""

import argparse
import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from loguru import logger

from bench._daemon import sandbox
from jobs.candles import features, resample
from jobs.core.cooldowns import Gates
from jobs.core.job import Slot
from jobs.gemini import prompt
from jobs.gemini.answer import SCHEMA, read_answer
from jobs.gemini.client import Connection, GeminiClient, open_model
from jobs.gemini.cost import parse_prices
from jobs.gemini.model import Request, Usage
from jobs.gemini.source import ROOM_TOKENS, TOKENS_PER_MARKET
from jobs.signals.multi_timeframe import COUNT, of_candles
from jobs.signals.protocol import Inputs, MarketInput
from jobs.upbit.wire import Candle

NOW = datetime(2026, 11, 20, 3, 0, 5, tzinfo=UTC)
KEY = "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE"
MODELS = ("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-3.1-pro-preview")
CYCLES_A_DAY = 288
PRICES = parse_prices({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What one cycle took."""

    request: Request
    usage: Usage
    decisions: int
    features_ms: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gemini_cost", description=__doc__)
    parser.add_argument("--markets", type=int, nargs="+", default=[5, 200])
    wanted = parser.parse_args()
    logger.remove()
    with sandbox() as url:
        asyncio.run(measure(url, wanted.markets))


async def measure(url: str, sizes: list[int]) -> None:
    """Ask once for each size, bare and with larger candles, and print each."""
    connection = Connection(
        sdk="google-genai", model=MODELS[0], api_key=KEY, base_url=url, timeout_s=120.0
    )
    gates = Gates(lambda: NOW)
    async with open_model(connection, gates=gates, clock=lambda: NOW) as model:
        for size in sizes:
            markets, took_ms = build(size)
            for units in ((), (15, 60)):
                chosen = tuple(
                    replace(each, longer=tuple(f for f in each.longer if f.unit in units))
                    for each in markets
                )
                show(units, await ask(model, chosen, took_ms))


async def ask(model: GeminiClient, markets: tuple[MarketInput, ...], took_ms: float) -> Cycle:
    """One call about `markets`, as the signals job makes it."""
    inputs = Inputs(
        slot=Slot(job="signals", scheduled_at=NOW, run_id="bench"), now=NOW, markets=markets
    )
    request = Request(
        model=MODELS[0],
        system=prompt.system_text(),
        prompt=prompt.render(inputs),
        schema=SCHEMA,
        max_output_tokens=min(65_536, ROOM_TOKENS + TOKENS_PER_MARKET * len(markets)),
        timeout_s=120.0,
        template=prompt.template_name(),
    )
    reply = await model.generate(request)
    answer = read_answer(reply, [market.market for market in markets])
    return Cycle(
        request=request,
        usage=reply.usage,
        decisions=len(answer.decisions),
        features_ms=took_ms,
    )


def build(size: int) -> tuple[tuple[MarketInput, ...], float]:
    """`size` markets with five days of minutes each, and how long their features took."""
    tapes = [tape(f"KRW-M{number:03d}", seed=number) for number in range(size)]
    began = datetime.now(UTC)
    computed = [
        (features.compute(each[-features.WINDOW :]), of_candles(each, (15, 60), until=NOW))
        for each in tapes
    ]
    took_ms = (datetime.now(UTC) - began).total_seconds() * 1000
    made = [
        MarketInput(
            market=base.market,
            name=f"Market number {number}",
            market_data_id=number,
            price=base.close,
            change_rate=Decimal("0.0123"),
            value_24h=Decimal(12345678901),
            candles=(),
            features=base,
            holding=None,
            longer=larger,
        )
        for number, (base, larger) in enumerate(computed)
    ]
    return tuple(made), took_ms


def tape(market: str, seed: int) -> list[Candle]:
    """Five days of minutes that end now."""
    random = np.random.default_rng(seed)
    count = COUNT * 60
    closes = 50_000 * np.exp(np.cumsum(random.normal(0, 0.001, count)))
    end = resample.floor(NOW, 60)
    return [
        Candle(
            market=market,
            unit=1,
            ts=end - (count - index) * timedelta(minutes=1),
            open=(price := Decimal(str(round(float(close), 1)))),
            high=price + 30,
            low=price - 30,
            close=price,
            volume=Decimal(index % 17 + 1),
            value=price,
        )
        for index, close in enumerate(closes)
    ]


def show(units: tuple[int, ...], cycle: Cycle) -> None:
    """Print one cycle."""
    request, usage, day = cycle.request, cycle.usage, NOW.date()
    print(f"{cycle.decisions} markets, larger candles {units or 'none'}")
    print(f"  features   {cycle.features_ms:.0f} ms for all three units")
    print(f"  prompt     {len(request.prompt.encode()):,} bytes")
    print(
        f"  tokens     {usage.prompt:,} in, {usage.candidates:,} out, {usage.thoughts} thought; "
        f"room for {request.max_output_tokens:,} out"
    )
    for model in MODELS:
        usd = PRICES.cost(model, usage, day).usd
        print(f"  {model:22} {usd:.5f} USD a cycle, {usd * CYCLES_A_DAY:.2f} USD a day")
    print(f"  at most    {PRICES.worst_case(request, day):.4f} USD, reserved while a call is out")


if __name__ == "__main__":
    main()
