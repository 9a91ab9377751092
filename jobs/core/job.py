"""What a job is: its name, its function, how slots treat it, and what it is handed."""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

Clock = Callable[[], datetime]
"""Returns the present as an aware UTC datetime."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds (asyncio.sleep, or a fake in tests)."""


Lane = Literal["orders", "work"]
"""Who may use what is kept free: `orders` is what can change the account, `work` all else."""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_s() -> float:
    """Seconds that no step of the wall clock changes; they pass while the machine sleeps, too."""
    return time.clock_gettime(_BOOT_CLOCK)


@dataclass(slots=True, kw_only=True)
class RunCounters:
    """What one run used, counted by the clients while it works.

    `progress` is one line of the job's own: what is done and what is not. It becomes the reason of
    a run that reaches its deadline.
    """

    api_calls: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    progress: str = ""


current_counters: ContextVar[RunCounters | None] = ContextVar("current_counters", default=None)
"""The tally of the run on whose behalf the present task works; None outside a run."""


current_lane: ContextVar[Lane] = ContextVar("current_lane", default="work")
"""On whose behalf the present task works; decides about connections that are kept free."""


def note_progress(text: str) -> None:
    """Say what is done and what is not, for the case that the run does not get to its end."""
    if (tally := current_counters.get()) is not None:
        tally.progress = text


def count_api_call() -> None:
    """Add one sent request to the present run's tally, if there is a run."""
    if (tally := current_counters.get()) is not None:
        tally.api_calls += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One due instant of one job. `run_id` names the run in logs and in the ledger.

    `occasion` says why a slot is there that no schedule named.
    """

    job: str
    scheduled_at: datetime
    run_id: str
    occasion: str | None = None


current_slot: ContextVar[Slot | None] = ContextVar("current_slot", default=None)
"""The run on whose behalf the present task works; None outside a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job. `run` returns how many rows it wrote; it raises what jobs/core/errors.py names.

    `overlap` is what happens to a slot that comes due while the previous run is still busy:
    `skip` closes it as skipped, `queue` runs it afterwards unless a newer one came due meanwhile.

    `misfire` is what happens to the newest of the slots that are handed over late (suspend, clock
    jump, stuck loop): `newest` runs it however late, `skip` runs it only within
    `misfire_grace_s`. Older ones are always skipped.

    `max_wait_s` is the longest wait imposed by a server that a run sits out (None: as retries do
    in general); a longer one defers it.
    """

    name: str
    run: Callable[[Slot], Awaitable[int]]
    deadline_s: float
    overlap: Literal["skip", "queue"] = "skip"
    misfire: Literal["newest", "skip"] = "newest"
    misfire_grace_s: float = 30.0
    lane: Lane = "work"
    max_wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something a person should hear about. Repeats of the same `incident` fold into one alert.

    `kind` is one of the contract's alert kinds, `incident` the key of this very trouble, for
    example `order_unknown:KRW-BTC`. `market`, `order_id` and `identifier` say what it is about;
    `advice` is one line that says what a person can do. `is_event` is what has no end: nothing
    recovers from it, and the same soon after is counted on it.
    """

    kind: str
    severity: Literal["info", "warning", "critical"]
    incident: str
    title: str
    message: str
    job: str | None = None
    run_id: str | None = None
    attempts: int | None = None
    error_type: str | None = None
    error: str | None = None
    market: str | None = None
    order_id: int | None = None
    identifier: str | None = None
    advice: str | None = None
    is_event: bool = False


class Notifier(Protocol):
    """Where jobs say what a person should hear: the alert outbox, or a list in tests."""

    async def notify(self, incident: Incident) -> None:
        """Store the incident, or count it on the open alert with the same key. Never raises."""
        ...

    async def resolve(self, incident: str) -> None:
        """Close the open alert with this key, if there is one, and send `recovered`."""
        ...
