"""A small fixed rule set with the interface of a model: a baseline, and a choice of its own.

    buy   momentum   macd_hist > 0, ret_15 > 0, rsi_14 in 45..70
          rebound    rsi_14 < 30, bb_pos < 0.1, ret_1 > 0
    sell  overheated rsi_14 > 75
          breakdown  macd_hist < 0, ret_15 < 0, rsi_14 < 45
    hold  everything else, and whatever lacks one of these values

Confidence is 0.6 plus the size of the last 15 candles' move against two average ranges, at most
0.9; a hold is 0.5. The first rule that fits decides.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from jobs.candles.features import Features
from jobs.signals.protocol import CONFIDENCE_STEP, Action, Decision, Inputs, MarketInput, Verdict

MODEL = "rules-1"
FLOOR, SPAN = Decimal("0.6"), Decimal("0.3")
USED = ("ret_1", "ret_15", "rsi_14", "macd_hist", "bb_pos", "atr_14")


@dataclass(frozen=True, slots=True)
class RulesSource:
    """Decides without a model: same features, same decision."""

    async def decide(self, inputs: Inputs) -> Verdict:
        """One decision for every market."""
        return Verdict(decisions=tuple(decide(market) for market in inputs.markets), model=MODEL)


def decide(market: MarketInput) -> Decision:
    """What the rules say about one market."""
    values = {name: market.features.number(name) for name in USED}
    known = {name: value for name, value in values.items() if value is not None}
    if missing := [name for name in USED if name not in known]:
        return _hold(market, f"No value for {', '.join(missing)}.")
    action, why = _rule(known)
    if action == "hold":
        return _hold(market, why)
    return Decision(
        market=market.market, action=action, confidence=_confidence(market.features), reason=why
    )


def _rule(value: dict[str, Decimal]) -> tuple[Action, str]:
    rsi, bb_pos = value["rsi_14"], value["bb_pos"]
    rising = value["macd_hist"] > 0 and value["ret_15"] > 0
    falling = value["macd_hist"] < 0 and value["ret_15"] < 0
    if rsi > 75:  # noqa: PLR2004  the table above
        return "sell", f"Overheated: rsi_14 {rsi}."
    if rsi < 30 and bb_pos < Decimal("0.1") and value["ret_1"] > 0:  # noqa: PLR2004
        return "buy", f"Rebound: rsi_14 {rsi}, bb_pos {bb_pos}, ret_1 {value['ret_1']}."
    if rising and 45 <= rsi <= 70:  # noqa: PLR2004
        return "buy", f"Momentum: macd_hist {value['macd_hist']}, ret_15 {value['ret_15']}."
    if falling and rsi < 45:  # noqa: PLR2004
        return "sell", f"Breakdown: macd_hist {value['macd_hist']}, ret_15 {value['ret_15']}."
    return "hold", f"No rule fits: rsi_14 {rsi}, ret_15 {value['ret_15']}."


def _confidence(features: Features) -> Decimal:
    move, atr = features.number("ret_15"), features.number("atr_14")
    if move is None or not atr:
        return FLOOR
    strength = min(Decimal(1), abs(move) / (2 * atr))
    return (FLOOR + SPAN * strength).quantize(CONFIDENCE_STEP, ROUND_DOWN)


def _hold(market: MarketInput, why: str) -> Decision:
    return Decision(market=market.market, action="hold", confidence=Decimal("0.5"), reason=why)
