"""When a holding is to be sold whatever anybody thinks: stop-loss, take-profit, trailing stop.

Pure, from the holding, fresh prices and the settings; no signal and no model is asked. The
percentages are of price: fees are not counted in. A setting of 0 switches its exit off.

One last trade may be far from what anybody pays. So a fall counts when the last price and the best
bid are both down, a rise (and a new high) when both are up.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from jobs.domain.ledger import Holding
from jobs.domain.settings import Settings
from jobs.upbit.wire import Side

ExitKind = Literal["stop_loss", "take_profit", "trailing_stop"]
LONGEST_REST_S = 60.0
_HUNDRED = Decimal(100)
_SHOWN = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Sell now; `reason` names the fact and the limit."""

    kind: ExitKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The prices at which each exit of one holding is due; None where it is switched off."""

    stop: Decimal | None
    goal: Decimal | None
    trail: Decimal | None

    def calls_at(self, price: Decimal) -> bool:
        """Whether any exit is due at `price`."""
        return (
            (self.stop is not None and price <= self.stop)
            or (self.goal is not None and price >= self.goal)
            or (self.trail is not None and price <= self.trail)
        )


def levels(holding: Holding, settings: Settings, high: Decimal) -> Levels:
    """Where the exits of `holding` lie when `high` is the highest price after those it has seen."""
    stop, goal, trail = (
        settings.stop_loss_pct,
        settings.take_profit_pct,
        settings.trailing_stop_pct,
    )
    top = max(holding.high_price, high)
    return Levels(
        stop=holding.avg_price * (1 - stop / _HUNDRED) if stop else None,
        goal=holding.avg_price * (1 + goal / _HUNDRED) if goal else None,
        trail=top * (1 - trail / _HUNDRED) if trail else None,
    )


def fallen(price: Decimal, bid: Decimal | None) -> Decimal:
    """The price that a fall is judged by: as far as last price and best bid are both down."""
    return price if bid is None else max(price, bid)


def risen(price: Decimal, bid: Decimal | None) -> Decimal:
    """The price that a rise is judged by: as far as last price and best bid are both up."""
    return price if bid is None else min(price, bid)


def rests_at_most_s(side: Side, timeout_s: float) -> float:
    """How long an order may wait for its fill: a sale is tried anew after a minute at the latest,
    because the price that it waits for may be falling away.
    """
    return timeout_s if side == "bid" else min(timeout_s, LONGEST_REST_S)


def decide(
    holding: Holding, price: Decimal, settings: Settings, *, bid: Decimal | None = None
) -> Exit | None:
    """The exit that `price` and `bid` call for; a loss goes before a profit, that before the trail.

    Without a bid the last price alone is judged: the caller looks twice then. `holding.high_price`
    is the highest price seen before; the present one counts as well.
    """
    if not holding.volume:
        return None
    low, high = fallen(price, bid), risen(price, bid)
    at = levels(holding, settings, high)
    if at.stop is not None and low <= at.stop:
        return _exit("stop_loss", low, "at or under", at.stop, settings.stop_loss_pct)
    if at.goal is not None and high >= at.goal:
        return _exit("take_profit", high, "at or over", at.goal, settings.take_profit_pct)
    if at.trail is not None and low <= at.trail:
        return _exit("trailing_stop", low, "at or under", at.trail, settings.trailing_stop_pct)
    return None


def _exit(kind: ExitKind, price: Decimal, where: str, limit: Decimal, pct: Decimal) -> Exit:
    shown = limit.quantize(_SHOWN).normalize()
    reason = f"price {price:f} is {where} {shown:f} ({kind}_pct {pct.normalize():f})"
    return Exit(kind=kind, reason=reason)
