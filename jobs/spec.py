"""What a job is: its name, its function, how slots treat it, and what it is handed."""

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


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one run used, counted by the clients while it works."""

    api_calls: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)


current_tally: ContextVar[Tally | None] = ContextVar("current_tally", default=None)
"""The tally of the run on whose behalf the present task works; None outside a run."""


def count_api_call() -> None:
    """Add one sent request to the present run's tally, if there is a run."""
    if (tally := current_tally.get()) is not None:
        tally.api_calls += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One due instant of one job. `run_id` names the run in logs and in the ledger."""

    job: str
    scheduled_at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job. `run` returns how many rows it wrote; it raises what jobs/errors.py names.

    `overlap` is what happens to a slot that comes due while the previous run is still busy;
    `misfire` what happens to slots that were missed (down-time, suspend, clock jumps).
    """

    name: str
    run: Callable[[Slot], Awaitable[int]]
    deadline_s: float
    overlap: Literal["skip"] = "skip"
    misfire: Literal["skip"] = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something a person should hear about. Repeats of the same `incident` fold into one alert.

    `kind` is one of the contract's alert kinds, `incident` the key of this very trouble, for
    example `order_unknown:KRW-BTC`.
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


class Notifier(Protocol):
    """Where jobs say what a person should hear: the alert outbox, or a list in tests."""

    async def notify(self, incident: Incident) -> None:
        """Store the incident, or count it on the open alert with the same key. Never raises."""
        ...

    async def resolve(self, incident: str) -> None:
        """Close the open alert with this key, if there is one, and send `recovered`."""
        ...
