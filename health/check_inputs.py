"""The facts that the six checks judge: plain values that the root gathers from what it owns.

Instants are aware UTC, durations seconds, money Decimal.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from health.report import Clock, Explain, attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFact:
    """The newest call to a dependency. `failures` counts the failed ones in a row.

    `fatal` says that waiting will not help: a refused key or address, an unknown model.
    """

    at: datetime
    ok: bool
    latency_ms: float
    error: str | None = None
    fatal: bool = False
    failures: int = 0
    last_ok_at: datetime | None = None


class Observer:
    """Makes one kind of call when asked and remembers how the calls went."""

    def __init__(
        self,
        call: Callable[[], Awaitable[object]],
        *,
        deadline_s: float,
        explain: Explain,
        clock: Clock,
    ) -> None:
        self._call = call
        self._deadline_s = deadline_s
        self._explain = explain
        self._clock = clock
        self._failures = 0
        self._last_ok_at: datetime | None = None

    async def __call__(self) -> CallFact:
        """Make the call under its deadline. Never raises but CancelledError."""
        result = await attempt(self._call, self._deadline_s, self._explain)
        now = self._clock()
        if result.error is None:
            self._failures, self._last_ok_at = 0, now
        else:
            self._failures += 1
        return CallFact(
            at=now,
            ok=result.error is None,
            latency_ms=result.latency_ms,
            error=result.error,
            fatal=result.fatal,
            failures=self._failures,
            last_ok_at=self._last_ok_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFact:
    """A gate that a server's wait closed until `until`; `banned`: the venue blocks us."""

    name: str
    until: datetime
    reason: str
    banned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """The connection pool: open connections, idle ones, requests waiting, and the most of each."""

    size: int
    available: int
    waiting: int
    max: int
    max_waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """A query that was answered in `latency_ms`, and what it said. `revision` is the schema's."""

    latency_ms: float
    pool: PoolFacts
    read_only: bool
    revision: str | None
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpbitFacts:
    """The exchange: a public call, with keys an authenticated one, and what it forbids now.

    `live` says that real orders depend on the keys. `clock_skew_s` is our clock minus theirs
    (None: not known).
    """

    live: bool
    public: CallFact
    private: CallFact | None
    gates: Sequence[GateFact] = ()
    clock_skew_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """The newest real call of the model; `failures` counts those in a row that gave no signal."""

    at: datetime
    outcome: str
    error: str | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The day's model budget in USD; `needed_usd` is the worst case of the next call."""

    spent_usd: Decimal
    limit_usd: Decimal
    needed_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiFacts:
    """The model. `used` False: signals come from elsewhere and nothing depends on it."""

    used: bool
    probe: CallFact | None = None
    last_call: ModelCall | None = None
    budget: Budget | None = None
    gates: Sequence[GateFact] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFact:
    """One lane's heartbeat: seconds since the last one, and the most there may be."""

    name: str
    age_s: float
    limit_s: float
    critical: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact:
    """One scheduled job. `last_outcome` is its newest run's (skipped slots do not count).

    `next_due_at` is the oldest slot that has not started; `failures` counts those in a row;
    `progress` is what it works on beside its runs.
    """

    name: str
    next_due_at: datetime | None
    deadline_s: float
    running_since: datetime | None = None
    last_outcome: str | None = None
    last_error: str | None = None
    last_finished_at: datetime | None = None
    failures: int = 0
    paused: bool = False
    progress: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerFacts:
    """The lanes of this process and its jobs. A standby runs no jobs, and that is well as long as
    it could take over: `database_fault` says why it could not.

    `reason` is why no job runs yet. `unwritten_since` is the end of the oldest run whose row is
    not stored.
    """

    role: Literal["leader", "standby", "starting"]
    lanes: Sequence[LaneFact]
    jobs: Sequence[JobFact]
    database_fault: str | None = None
    unwritten_since: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFact:
    """The newest signal."""

    at: datetime
    market: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestSignalFacts:
    """`expected` False: the signals job is switched off in the configuration."""

    latest: SignalFact | None
    expected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """One order; `since` is the instant of its newest change."""

    id: int
    market: str
    side: str
    state: str
    created_at: datetime
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Buy and sell signals after the newest order that neither risk refused nor an order serves.

    `waiting_since` is the oldest that is still new; `count` includes those that expired.
    """

    count: int = 0
    first_at: datetime | None = None
    waiting_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileFact:
    """The newest comparison of venue and tables; `mismatches` says what does not fit."""

    at: datetime
    open_ours: int
    open_foreign: int
    unknown: int
    runs: int
    mismatches: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedExit:
    """A sale that is due since `since` and that the market or the exchange does not let through."""

    market: str
    purpose: str
    cause: str | None
    since: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestOrderFacts:
    """The newest order, those that are not final, and what signals asked for since.

    `reconciled` None: venue and tables were never compared. `order_timeout_s` and
    `signal_max_age_s` are the settings in force: so long an order may rest and a signal wait.
    `delisted` are held markets that the exchange does not list any more.
    """

    latest: OrderFact | None
    open: Sequence[OrderFact]
    demand: Demand
    expected: bool = True
    reconciled: ReconcileFact | None = None
    blocked: Sequence[BlockedExit] = ()
    order_timeout_s: float = 60.0
    signal_max_age_s: float = 300.0
    delisted: Sequence[str] = ()
