"""A user's function as a source: what it may say, and what becomes of its mistakes."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from jobs.candles import features
from jobs.candles.days import Days
from jobs.candles.frame import Candles
from jobs.core.errors import BadData, Permanent
from jobs.core.job import Slot
from jobs.signals.protocol import Decision, Holding, Inputs, MarketInput, Verdict
from jobs.signals.strategy_source import Advice, as_source
from jobs.upbit.wire import Candle

if TYPE_CHECKING:
    from loguru import Record

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def market(name: str, holding: Holding | None = None) -> MarketInput:
    candles = tuple(
        Candle(
            market=name,
            unit=1,
            ts=NOW - timedelta(minutes=30 - number),
            open=Decimal(100),
            high=Decimal(101),
            low=Decimal(99),
            close=Decimal(100),
            volume=Decimal(1),
            value=Decimal(100),
        )
        for number in range(30)
    )
    return MarketInput(
        market=name,
        name=name,
        market_data_id=1,
        price=Decimal(100),
        change_rate=Decimal(0),
        value_24h=Decimal(0),
        candles=candles,
        features=features.compute(candles),
        holding=holding,
    )


async def ask(strategy: Callable[..., object], *markets: MarketInput) -> Verdict:
    asked = markets or (market("KRW-BTC"),)
    slot = Slot(job="signals", scheduled_at=NOW, run_id="run")
    return await as_source("mine", strategy).decide(Inputs(slot=slot, now=NOW, markets=asked))


async def test_a_word_is_a_decision_that_is_sure() -> None:
    verdict = await ask(lambda _candles: "buy")
    assert verdict.decisions == (
        Decision(
            market="KRW-BTC", action="buy", confidence=Decimal("1.0000"), reason="mine says buy."
        ),
    )
    assert verdict.model == "mine"


async def test_an_advice_keeps_its_words_and_its_confidence_is_cut_not_rounded() -> None:
    verdict = await ask(lambda _candles: Advice(action="sell", confidence=0.79999, reason="down"))
    (decision,) = verdict.decisions
    assert (decision.action, decision.confidence, decision.reason) == (
        "sell",
        Decimal("0.7999"),
        "down",
    )


async def test_it_sees_what_the_exchange_warns_of() -> None:
    warned = replace(market("KRW-BTC"), marks=("WARNING", "PRICE_FLUCTUATIONS"))
    verdict = await ask(lambda candles: "sell" if "WARNING" in candles.marks else "hold", warned)
    assert verdict.decisions[0].action == "sell"


async def test_a_long_reason_is_cut() -> None:
    verdict = await ask(lambda _candles: Advice(action="hold", reason="x" * 900))
    assert len(verdict.decisions[0].reason) == 500


async def test_none_is_no_signal_and_no_fault() -> None:
    verdict = await ask(lambda _candles: None)
    assert (verdict.decisions, verdict.refused) == ((), {})


async def test_it_sees_the_frame_and_its_own_position() -> None:
    seen: list[tuple[Candles, Holding | None]] = []

    def strategy(candles: Candles, holding: Holding | None) -> None:
        seen.append((candles, holding))

    held = Holding(return_pct=Decimal(3), held_minutes=7)
    await ask(strategy, market("KRW-BTC", held), market("KRW-ETH"))
    assert [(frame.market, len(frame), holding) for frame, holding in seen] == [
        ("KRW-BTC", 30, held),
        ("KRW-ETH", 30, None),
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("short", "'short' is not one of"),
        (1, "neither an Advice"),
        (True, "neither an Advice"),
        (Advice(action="buy", confidence=1.5), "not in"),
        (Advice(action="buy", confidence=float("nan")), "not in"),
        (Advice(action="all in"), "all in"),  # type: ignore[arg-type]
    ],
)
async def test_anything_else_is_refused_in_that_market_alone(answer: object, why: str) -> None:
    def strategy(candles: Candles) -> object:
        return answer if candles.market == "KRW-BTC" else "hold"

    verdict = await ask(strategy, market("KRW-BTC"), market("KRW-ETH"))
    assert [each.market for each in verdict.decisions] == ["KRW-ETH"]
    assert why in verdict.refused["KRW-BTC"]


async def test_an_exception_in_one_market_does_not_stop_the_others() -> None:
    def strategy(candles: Candles) -> str:
        return "buy" if candles.market == "KRW-ETH" else str(1 / 0)

    verdict = await ask(strategy, market("KRW-BTC"), market("KRW-ETH"))
    assert [each.market for each in verdict.decisions] == ["KRW-ETH"]
    assert verdict.refused == {"KRW-BTC": "ZeroDivisionError: division by zero"}


async def test_a_strategy_that_fails_everywhere_fails_the_run() -> None:
    with pytest.raises(BadData, match="mine failed in every market"):
        await ask(lambda _candles: 1 / 0)


async def test_a_strategy_that_hangs_is_not_asked_again_before_it_returned() -> None:
    released = threading.Event()
    source = as_source("mine", lambda _candles: "buy" if released.wait() else None)
    slot = Slot(job="signals", scheduled_at=NOW, run_id="run")
    inputs = Inputs(slot=slot, now=NOW, markets=(market("KRW-BTC"),))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.decide(inputs), 0.05)  # as the job's deadline does
    with pytest.raises(Permanent, match="the strategy mine has not returned"):
        await source.decide(inputs)
    released.set()
    for each in threading.enumerate():
        if each.name == "the strategy mine":
            each.join()
    assert len((await source.decide(inputs)).decisions) == 1


@pytest.mark.parametrize("strategy", [lambda: "buy", lambda _a, _b, _c: "buy"])
def test_a_function_of_another_shape_is_refused_when_it_is_loaded(
    strategy: Callable[..., object],
) -> None:
    with pytest.raises(TypeError, match="takes candles"):
        as_source("mine", strategy)


def test_optional_arguments_do_not_count() -> None:
    assert not as_source("mine", lambda _candles, _k=0.5: "buy").wants_holding


def yesterday_and_today() -> Days:
    candle = market("KRW-BTC").candles[-1]
    days = [replace(candle, unit=1440, ts=NOW - timedelta(days=number)) for number in (2, 1)]
    return Days(candles=tuple(days), why_not="")


async def test_days_stand_beside_the_candles() -> None:
    seen: list[object] = []

    def strategy(candles: Candles) -> str:
        seen.append(candles.daily.index)
        seen.append(candles.tail(3).daily["high"][-2])
        return "hold"

    await ask(strategy, replace(market("KRW-BTC"), days=yesterday_and_today()))
    at_nine = datetime(2026, 1, 3, 9)  # noqa: DTZ001 - as pyupbit
    assert seen == [(at_nine, at_nine + timedelta(days=1)), 101.0]


async def test_days_that_are_not_complete_are_no_decision_and_no_fault(
    log_records: "list[Record]",
) -> None:
    def strategy(candles: Candles) -> str:
        return "buy" if candles.daily.high[-2] > 1 else "hold"

    why = Days(why_not="the daily candle of 2026-01-04 has not come yet")
    verdict = await ask(strategy, replace(market("KRW-BTC"), days=why), market("KRW-ETH"))
    assert (verdict.decisions, dict(verdict.refused)) == ((), {})
    told = [each["extra"] for each in log_records if each["extra"].get("event")]
    assert [each["event"] for each in told] == ["signals.deferred", "signals.deferred"]
    assert "2026-01-04 has not come yet" in told[0]["markets"]["KRW-BTC"]
    assert "jobs.market.days is 0" in told[1]["markets"]["KRW-ETH"]
