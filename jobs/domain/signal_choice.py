"""Which of the signals nobody has acted on ask for an order now; pure, live and in replay.

Sales go first, then purchases, the most confident first: what a sale frees can be spent later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.domain.portfolio import SignalFact
from jobs.domain.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A signal that no order comes of, with the status and reason it ends with."""

    signal: SignalFact
    status: str
    reason: str


def choose(
    signals: Sequence[SignalFact], settings: Settings, now: datetime
) -> tuple[list[SignalFact], list[Ended]]:
    """The newest signal of each market that asks for an order, in the order to act; the others.

    `signals` are those without an end yet, newest first.
    """
    chosen: dict[str, SignalFact] = {}
    ended: list[Ended] = []
    for signal in signals:
        age_s = (now - signal.created_at).total_seconds()
        limit_s = settings.signal_max_age_s
        if signal.market in chosen:
            reason = "replaced by a newer signal"
        elif signal.action == "hold":
            reason = "hold: nothing to do"
        elif age_s > limit_s:
            reason = f"the signal is {age_s:.0f} s old, limit {limit_s} s"
        else:
            chosen[signal.market] = signal
            continue
        ended.append(Ended(signal=signal, status="expired", reason=reason))
    order = sorted(chosen.values(), key=lambda s: (s.action != "sell", -s.confidence, s.id))
    return order, ended
