"""Which change of a setting lets the daemon risk more than before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from jobs.domain.halt import HaltLevel
from jobs.domain.settings import HALTED, SPECS, Value
from jobs.store.db import Database
from jobs.store.tables import settings_audit as audit

MORE = frozenset(
    {
        *("position_size_pct", "max_position_krw", "max_open_positions", "max_orders_per_day"),
        *("daily_loss_limit_krw", "max_drawdown_pct", "stop_loss_pct", "trailing_stop_pct"),
        *("signal_max_age_s", "max_spread_pct", "max_entry_deviation_pct"),
        *("max_exit_slippage_pct", "entries_per_position"),
    }
)
"""A greater value risks more."""
LESS = frozenset({"min_confidence", "cooldown_s"})
"""A smaller value risks more."""
OFF_AT_ZERO = frozenset(
    {
        *("stop_loss_pct", "take_profit_pct", "trailing_stop_pct", "daily_loss_limit_krw"),
        *("max_drawdown_pct", "max_spread_pct", "max_entry_deviation_pct"),
    }
)
"""0 switches the limit off, which risks more than any value does."""
NEUTRAL = frozenset(
    {"order_timeout_s", "entry_order", "entry_time_in_force", "exit_order", "exit_time_in_force"}
)
"""How something is done, not how much of it."""


def is_looser(key: str, old: Value, new: Value) -> bool:
    """Whether the new value of a setting risks more than the old one."""
    if key == HALTED:
        return HaltLevel(str(new)).rank < HaltLevel(str(old)).rank
    if not isinstance(old, int | Decimal) or not isinstance(new, int | Decimal):
        return False
    if key in OFF_AT_ZERO and (old == 0) != (new == 0):
        return new == 0
    return (key in MORE and new > old) or (key in LESS and new < old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a setting, by whatever way; a key without a row has its default."""

    id: int
    key: str
    old: Value
    new: Value
    by: str
    at: datetime
    reason: str | None

    @property
    def is_looser(self) -> bool:
        """Whether it risks more than before."""
        return is_looser(self.key, self.old, self.new)


async def changes_since(db: Database, after_id: int, since: datetime) -> Sequence[Change]:
    """Return the changes after one, and after an instant; those of keys that nobody knows not."""
    query = select(audit).where(audit.c.id > after_id, audit.c.changed_at > since)
    async with db.begin() as conn:
        rows = (await conn.execute(query.order_by(audit.c.id))).all()
    return [
        Change(
            id=row.id,
            key=row.key,
            old=_value(row.key, row.old),
            new=_value(row.key, row.new),
            by=row.changed_by,
            at=row.changed_at,
            reason=row.reason,
        )
        for row in rows
        if row.key in SPECS
    ]


def _value(key: str, stored: Any) -> Value:
    """The stored value; what is missing or damaged counts as reading it does (settings.py)."""
    spec = SPECS[key]
    if stored is None:
        return spec.default
    try:
        return spec.check(Decimal(str(stored)) if isinstance(stored, float) else stored)
    except ValueError:
        return HaltLevel.ALL if key == HALTED else spec.default
