"""Ceilings of the configuration that no runtime setting can pass.

Settings live in the database, which whoever may give commands can change; the configuration belongs
to root. What is stored above a ceiling counts as the ceiling, so that a change by psql gains
nothing either.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration needs no database
    from jobs.domain.settings import Settings, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The most that each of these settings may be; None: as the setting says."""

    max_position_krw: Decimal | None = None
    max_orders_per_day: int | None = None
    daily_loss_limit_krw: Decimal | None = None

    def of(self, key: str) -> Decimal | None:
        """The ceiling of a setting, None where there is none."""
        found = {
            "max_position_krw": self.max_position_krw,
            "max_orders_per_day": self.max_orders_per_day,
            "daily_loss_limit_krw": self.daily_loss_limit_krw,
        }.get(key)
        return None if found is None else Decimal(found)

    def check(self, key: str, value: "Value") -> None:
        """Raise ValueError, which names the ceiling, when a setting would pass it."""
        ceiling = self.of(key)
        if ceiling is None or not isinstance(value, int | Decimal):
            return
        is_off = key == "daily_loss_limit_krw" and value == 0
        if is_off or value > ceiling:
            said = "0 (off)" if is_off else f"{value:,f}" if isinstance(value, Decimal) else value
            raise ValueError(
                f"{key}: {said} passes the ceiling {ceiling:,f} of [limits] in the configuration"
            )

    def bound(self, settings: "Settings") -> "Settings":
        """The settings, none of them above its ceiling."""
        loss, most = settings.daily_loss_limit_krw, self.daily_loss_limit_krw
        if most is not None and (loss == 0 or loss > most):  # 0 switches the limit off
            loss = most
        position, orders = settings.max_position_krw, settings.max_orders_per_day
        if self.max_position_krw is not None:
            position = min(position, self.max_position_krw)
        if self.max_orders_per_day is not None:
            orders = min(orders, self.max_orders_per_day)
        return replace(
            settings,
            max_position_krw=position,
            max_orders_per_day=orders,
            daily_loss_limit_krw=loss,
        )


UNLIMITED = Ceilings()
