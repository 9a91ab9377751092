"""Was it the signals? The same rules with the same signals in another order, many times.

Each shuffle deals every market's own signals anew over the same instants, so that it buys and sells
as often as the original and knows nothing. Limits, exits, fees and prices stay as they are. What a
shuffle earns is what trading like this earns without knowledge.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jobs.backtest.candle_history import Tape
from jobs.backtest.run import Plan, fixed, play
from jobs.domain.portfolio import SignalFact

Final = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Null:
    """Returns of the shuffles in per cent, sorted, and where the original stands among them.

    `p_value` is the share of shuffles, the original counted as one, that did at least as well.
    """

    returns_pct: tuple[float, ...]
    mean_pct: float
    low_pct: float
    high_pct: float
    p_value: float


def shuffled(signals: Sequence[SignalFact], seed: int) -> list[SignalFact]:
    """The same signals, each market's actions dealt anew over its own instants."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets; the same seed, the same deal
    by_market: dict[str, list[SignalFact]] = {}
    for signal in signals:
        by_market.setdefault(signal.market, []).append(signal)
    dealt: dict[int, SignalFact] = {}
    for _market, mine in sorted(by_market.items()):
        deck = list(mine)
        rng.shuffle(deck)
        for seat, card in zip(mine, deck, strict=True):
            dealt[seat.id] = replace(seat, action=card.action, confidence=card.confidence)
    return [dealt[signal.id] for signal in signals]


async def null_returns(
    tape: Tape,
    plan: Plan,
    signals: Sequence[SignalFact],
    *,
    count: int,
    progress: Final | None = None,
) -> list[float]:
    """The return of each of `count` shuffles in per cent, seeds 1 to `count`."""
    found = []
    for seed in range(1, count + 1):
        trader = await play(tape, plan, fixed(shuffled(signals, seed)))
        trader.finish(tape, plan.until)
        found.append(float(trader.books.equity[-1].total_krw / plan.start_krw - 1) * 100)
        if progress is not None:
            progress(seed)
    return found


def judge(returns_pct: Sequence[float], original_pct: float) -> Null | None:
    """Where `original_pct` stands among the shuffles' returns; None without any."""
    if not returns_pct:
        return None
    ordered = sorted(returns_pct)
    better = sum(each >= original_pct for each in ordered)
    return Null(
        returns_pct=tuple(ordered),
        mean_pct=sum(ordered) / len(ordered),
        low_pct=_quantile(ordered, 0.05),
        high_pct=_quantile(ordered, 0.95),
        p_value=(1 + better) / (1 + len(ordered)),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
