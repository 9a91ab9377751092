"""What every part of the order protocol works with, and the names of orders."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from jobs.core.job import Clock, Notifier
from jobs.domain.ceilings import UNLIMITED, Ceilings
from jobs.domain.exchange import Exchange
from jobs.domain.halt import halted_by_file, strongest
from jobs.domain.portfolio import Mode
from jobs.domain.settings import Settings
from jobs.store.db import Database
from jobs.upbit.wire import OUR_PREFIX

PREFIX = OUR_PREFIX

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_DIGITS = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When "not found" is believed: so many looks, the first and last so many seconds apart."""

    looks: int = 3
    over_s: float = 10.0

    def is_over(self, looks: list[datetime]) -> bool:
        """Whether these looks, oldest first, are enough."""
        if len(looks) < max(self.looks, 1):
            return False
        return (looks[-1] - looks[0]).total_seconds() >= self.over_s


def new_identifier(now: datetime) -> str:
    """A name no other order has: 30 characters that sort by time (prefix, 48 + 80 bits)."""
    number = int(now.timestamp() * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = (_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_DIGITS)))
    return PREFIX + "".join(digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingAccount:
    """One account of one venue, and the books kept of it.

    `mode` stands in every row and query. `epoch` is the leadership under which orders are made;
    with a fenced `db` no order leaves once a later leader exists. While `halt_file` exists
    trading is halted, whatever the settings say. `is_twin`: the paper account
    that shadows a live one, whose ends of signals stand beside the live ones.
    """

    db: Database
    exchange: Exchange
    clock: Clock
    notifier: Notifier
    mode: Mode
    epoch: int = 0
    patience: Patience = field(default_factory=Patience)
    name_order: Callable[[datetime], str] = new_identifier
    halt_file: Path | None = None
    is_twin: bool = False
    ceilings: Ceilings = UNLIMITED

    def in_force(self, settings: Settings) -> Settings:
        """The settings in force: below the ceilings, and halted as well while the file is there.

        Looks every time.
        """
        settings = self.ceilings.bound(settings)
        if self.halt_file is None:
            return settings
        return replace(settings, halt=strongest(settings.halt, halted_by_file(self.halt_file)))
