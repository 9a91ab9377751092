"""An exit that is due and not done yet: how often it was tried, and how the next order differs.

An exit begins at a price close to the best bid. Each order that sells nothing makes the next one
go further; the last one takes any price, because an exit has to end. Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from jobs.domain.exit_rules import Exit

if TYPE_CHECKING:
    from jobs.domain.portfolio import Purpose

LAST_RUNG = 3
"""The first step without a price limit."""

TRIES_PER_RUNG = 3
"""Orders that each sell a part: a thin book is waited for, but not for ever."""

BLOCKED_AFTER_ATTEMPTS = 2
BLOCKED_AFTER_S = 60.0
MOST_HALVINGS = 4
TOO_LARGE = "volume_too_large"
OFFLINE = "market_offline"
DUST = "dust"
"""Our own word where the exchange would refuse the sale for its small worth."""

_WANT_OF_FUNDS = "insufficient_funds"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueExit:
    """One market's exit since `since`: what asks for it, what was tried and why it is not done.

    `held` and `sent` are the position and the order's volume of the newest attempt, `refusal` the
    exchange's name for refusing it. `failed` counts attempts that sold nothing because of their
    form, `too_large` those at any price that were refused for their size. `blocked_at` is when a
    person was told, `told` the cause that was.
    """

    purpose: "Purpose"
    reason: str
    since: datetime
    attempts: int = 0
    failed: int = 0
    too_large: int = 0
    held: Decimal | None = None
    sent: Decimal | None = None
    refusal: str | None = None
    cause: str | None = None
    told: str | None = None
    blocked_at: datetime | None = None

    @property
    def is_dust(self) -> bool:
        """Whether what is left is worth too little to be sold."""
        return self.refusal == DUST

    @property
    def rung(self) -> int:
        """The step of the ladder that the next order takes, from 0."""
        return max(self.failed, self.attempts // TRIES_PER_RUNG)

    @property
    def halvings(self) -> int:
        """How often the volume is halved because the exchange found it too large."""
        return min(self.too_large, MOST_HALVINGS)

    def repeats(self, volume: Decimal) -> bool:
        """Whether an order of `volume` would be the very order that was refused last."""
        if self.refusal is None or volume != self.sent:
            return False
        is_for_funds = self.refusal.startswith(_WANT_OF_FUNDS)
        return is_for_funds or self.failed > LAST_RUNG + self.halvings

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have been done by now, so that a person has to hear of it."""
        waited_s = (now - self.since).total_seconds()
        return self.attempts >= BLOCKED_AFTER_ATTEMPTS or waited_s >= BLOCKED_AFTER_S

    def tried(self, *, held: Decimal, sent: Decimal, refusal: str | None) -> "DueExit":
        """The exit after one more order, which is taken as one that sells nothing.

        Where the next look finds less held, `progressed` takes that back. A market in maintenance
        and missing coins say nothing of the order's form.
        """
        is_form = refusal is None or not (refusal == OFFLINE or refusal.startswith(_WANT_OF_FUNDS))
        return replace(
            self,
            attempts=self.attempts + 1,
            failed=self.failed + is_form,
            too_large=self.too_large + (refusal == TOO_LARGE and self.rung >= LAST_RUNG),
            held=held,
            sent=sent,
            refusal=refusal,
        )

    def progressed(self, held: Decimal) -> "DueExit":
        """The exit as it stands with `held` left: an order that sold a part has not failed."""
        if self.held is None or held >= self.held:
            return self
        return replace(
            self,
            held=held,
            failed=max(self.failed - 1, 0),
            too_large=max(self.too_large - 1, 0),
            refusal=None,
        )


def under_way(due: DueExit | None, found: Exit, now: datetime) -> DueExit:
    """The exit that a rule asks for: a new one, or the one that is due already.

    What a signal has begun is not tied to the rule's price, and goes on as it began.
    """
    if due is None:
        return DueExit(purpose=found.kind, reason=found.reason, since=now)
    if due.purpose == "exit":
        return due
    return replace(due, purpose=found.kind, reason=found.reason)
