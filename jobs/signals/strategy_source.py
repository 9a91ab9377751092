"""A user's own strategy as a source of signals: a function of candles, asked once a market.

    def decide(candles: Candles) -> str:                  "buy", "sell", "hold", or None
    def decide(candles: Candles, holding: Holding | None) -> Advice:

What it says is judged like anybody's: limits, sizes and exits are the daemon's. A strategy that
fails in one market makes no signal there and does not stop the others.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import partial

from loguru import logger

from jobs.candles.frame import NotYet, frame_of
from jobs.core.errors import BadData
from jobs.core.isolated_thread import IsolatedThread
from jobs.signals.protocol import (
    ACTIONS,
    CONFIDENCE_STEP,
    LONGEST_REASON,
    Action,
    Decision,
    Inputs,
    MarketInput,
    Verdict,
)

SURE = Decimal(1)
"""The confidence of an answer that names none."""

Strategy = Callable[..., object]
Answers = dict[str, Decision | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a strategy says about one market; `confidence` is in [0, 1]."""

    action: Action
    confidence: float | Decimal = SURE
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySource:
    """Asks `strategy` about every market, in a thread, so that it may take its time."""

    name: str
    strategy: Strategy
    thread: IsolatedThread[Answers]
    wants_holding: bool = False

    async def decide(self, inputs: Inputs) -> Verdict:
        """What the strategy says of each market it speaks about.

        Raises BadData when it failed in all of them, Permanent while it hangs in an earlier call.
        """
        answers = await self.thread.run(partial(self._ask_all, inputs.markets))
        decisions = tuple(each for each in answers.values() if isinstance(each, Decision))
        refused = {market: each for market, each in answers.items() if isinstance(each, str)}
        if refused and len(refused) == len(inputs.markets):
            raise BadData(f"the strategy {self.name} failed in every market", failures=refused)
        return Verdict(decisions=decisions, model=self.name, refused=refused)

    def _ask_all(self, markets: Sequence[MarketInput]) -> Answers:
        return {market.market: self._ask(market) for market in markets}

    def _ask(self, market: MarketInput) -> Decision | str | None:
        """Its decision, why there is none, or None when it has nothing to say."""
        frame = frame_of(market.candles, market.days, market.marks)
        try:
            if self.wants_holding:
                answer = self.strategy(frame, market.holding)
            else:
                answer = self.strategy(frame)
            return None if answer is None else read(market.market, answer, self.name)
        except NotYet as exc:
            logger.bind(
                event="signals.deferred", markets={market.market: str(exc)}, strategy=self.name
            ).info("No decision without complete days")
            return None
        except Exception as exc:  # noqa: BLE001 - somebody else's code; the others go on
            why = f"{type(exc).__name__}: {exc}"
            logger.bind(
                event="signals.strategy_failed", market=market.market, strategy=self.name, error=why
            ).warning("A strategy failed")
            return why


def read(market: str, answer: object, name: str) -> Decision:
    """A strategy's answer as a decision. Raises ValueError or TypeError otherwise."""
    if isinstance(answer, str):
        answer = _from_word(answer)
    if not isinstance(answer, Advice):
        raise TypeError(f"{answer!r} is neither an Advice nor one of {', '.join(ACTIONS)}")
    confidence = Decimal(str(answer.confidence))
    if not confidence.is_finite():
        raise ValueError(f"confidence {confidence} is not in [0, 1]")
    return Decision(
        market=market,
        action=answer.action,
        confidence=confidence.quantize(CONFIDENCE_STEP, ROUND_DOWN),
        reason=answer.reason[:LONGEST_REASON] or f"{name} says {answer.action}.",
    )


def as_source(name: str, strategy: Strategy) -> StrategySource:
    """The source that asks a function of one (candles) or two (candles, holding) arguments.

    Raises TypeError for a function of any other number.
    """
    wanted = required(strategy)
    if wanted not in {1, 2}:
        raise TypeError(f"{name}: a strategy takes candles, or candles and holding, not {wanted}")
    return StrategySource(
        name=name,
        strategy=strategy,
        thread=IsolatedThread(f"the strategy {name}"),
        wants_holding=wanted == 2,  # noqa: PLR2004
    )


def required(function: Callable[..., object]) -> int:
    """How many arguments a call must give in order."""
    return sum(
        each.default is each.empty
        and each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        for each in inspect.signature(function).parameters.values()
    )


def _from_word(word: str) -> Advice:
    for action in ACTIONS:
        if word == action:
            return Advice(action=action)
    raise ValueError(f"{word!r} is not one of {', '.join(ACTIONS)}")
