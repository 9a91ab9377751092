"""The fixed rules: each row of their table, and a hold wherever something is unknown."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from jobs.candles.features import NAMES, Features
from jobs.core.job import Slot
from jobs.signals.protocol import Inputs, MarketInput
from jobs.signals.rule_source import USED, RulesSource, decide

NOW = datetime(2026, 1, 5, tzinfo=UTC)
QUIET = {
    "ret_1": "0.0000",
    "ret_15": "0.0000",
    "rsi_14": "50.0000",
    "macd_hist": "0.0000",
    "bb_pos": "0.5000",
    "atr_14": "0.2000",
}


def market(**values: str | None) -> MarketInput:
    features = Features(
        market="KRW-BTC",
        unit=1,
        candle_ts=NOW,
        close=Decimal(1),
        values={**dict.fromkeys(NAMES), **QUIET, **values},
    )
    return MarketInput(
        market="KRW-BTC",
        name="Bitcoin",
        market_data_id=1,
        price=Decimal(1),
        change_rate=Decimal(0),
        value_24h=Decimal(1),
        candles=(),
        features=features,
        holding=None,
    )


@pytest.mark.parametrize(
    ("values", "action", "confidence"),
    [
        ({}, "hold", "0.5"),
        ({"macd_hist": "0.1", "ret_15": "0.2", "rsi_14": "60"}, "buy", "0.75"),
        ({"macd_hist": "0.1", "ret_15": "4.0", "rsi_14": "60"}, "buy", "0.9"),
        ({"macd_hist": "0.1", "ret_15": "0.2", "rsi_14": "72"}, "hold", "0.5"),
        ({"macd_hist": "0.1", "ret_15": "-0.2", "rsi_14": "60"}, "hold", "0.5"),
        ({"rsi_14": "25", "bb_pos": "0.05", "ret_1": "0.01"}, "buy", "0.6"),
        ({"rsi_14": "25", "bb_pos": "0.05", "ret_1": "-0.01"}, "hold", "0.5"),
        ({"rsi_14": "75.1"}, "sell", "0.6"),
        ({"macd_hist": "-0.1", "ret_15": "-0.2", "rsi_14": "40"}, "sell", "0.75"),
        ({"macd_hist": "-0.1", "ret_15": "-0.2", "rsi_14": "50"}, "hold", "0.5"),
        ({"rsi_14": "80", "atr_14": "0.0000"}, "sell", "0.6"),
    ],
)
def test_the_first_rule_that_fits_decides(
    values: dict[str, str], action: str, confidence: str
) -> None:
    decision = decide(market(**values))
    assert (decision.action, decision.confidence) == (action, Decimal(confidence))


@pytest.mark.parametrize("name", USED)
def test_an_unknown_value_is_a_hold_that_names_it(name: str) -> None:
    decision = decide(market(**{"rsi_14": "80", name: None}))
    assert decision.action == "hold"
    assert name in decision.reason


async def test_every_market_gets_one_decision_and_no_model_call() -> None:
    inputs = Inputs(
        slot=Slot(job="signals", scheduled_at=NOW, run_id="r"), now=NOW, markets=(market(),)
    )
    verdict = await RulesSource().decide(inputs)
    assert [decision.market for decision in verdict.decisions] == ["KRW-BTC"]
    assert verdict.model == "rules-1"
    assert verdict.llm_call_id is None
    assert await RulesSource().decide(inputs) == verdict
