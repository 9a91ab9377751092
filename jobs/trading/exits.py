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


def decide(holding: Holding, price: Decimal, settings: Settings) -> Exit | None:
    """The exit that `price` calls for; a loss goes before a profit, that before the trail.

    `holding.high_price` is the highest price seen before; the present one counts as well.
    """
    if not holding.volume:
        return None
    stop = holding.avg_price * (1 - settings.stop_loss_pct / _HUNDRED)
    if settings.stop_loss_pct and price <= stop:
        return _exit("stop_loss", price, "at or under", stop, settings.stop_loss_pct)
    goal = holding.avg_price * (1 + settings.take_profit_pct / _HUNDRED)
    if settings.take_profit_pct and price >= goal:
        return _exit("take_profit", price, "at or over", goal, settings.take_profit_pct)
    high = max(holding.high_price, price)
    trail = high * (1 - settings.trailing_stop_pct / _HUNDRED)
    if settings.trailing_stop_pct and price <= trail:
        return _exit("trailing_stop", price, "at or under", trail, settings.trailing_stop_pct)
    return None


def _exit(kind: ExitKind, price: Decimal, where: str, limit: Decimal, pct: Decimal) -> Exit:
    shown = limit.quantize(_SHOWN).normalize()
    reason = f"price {price:f} is {where} {shown:f} ({kind}_pct {pct.normalize():f})"
    return Exit(kind=kind, reason=reason)
