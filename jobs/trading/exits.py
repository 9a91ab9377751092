"""When a holding is to be sold whatever anybody thinks: stop-loss, take-profit, trailing stop.

Pure, from the holding, a fresh price and the settings; no signal and no model is asked. The
percentages are of price: fees are not counted in. A setting of 0 switches its exit off.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from jobs.store.settings import Settings
from jobs.trading.ledger import Holding

ExitKind = Literal["stop_loss", "take_profit", "trailing_stop"]
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


def decide(holding: Holding, price: Decimal, settings: Settings) -> Exit | None:
    """The exit that `price` calls for; a loss goes before a profit, that before the trail.

    `holding.high_price` is the highest price seen before; the present one counts as well.
    """
    if not holding.volume:
        return None
    at = levels(holding, settings, price)
    if at.stop is not None and price <= at.stop:
        return _exit("stop_loss", price, "at or under", at.stop, settings.stop_loss_pct)
    if at.goal is not None and price >= at.goal:
        return _exit("take_profit", price, "at or over", at.goal, settings.take_profit_pct)
    if at.trail is not None and price <= at.trail:
        return _exit("trailing_stop", price, "at or under", at.trail, settings.trailing_stop_pct)
    return None


def _exit(kind: ExitKind, price: Decimal, where: str, limit: Decimal, pct: Decimal) -> Exit:
    shown = limit.quantize(_SHOWN).normalize()
    reason = f"price {price:f} is {where} {shown:f} ({kind}_pct {pct.normalize():f})"
    return Exit(kind=kind, reason=reason)
