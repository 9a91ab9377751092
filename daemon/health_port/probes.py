"""The six checks, fed: what is asked of the database, the venue and the model, and how often."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.scheduling.job_status import JobStatus
from health import checks
from health.check_inputs import (
    BlockedExit,
    Budget,
    CallFact,
    DatabaseFacts,
    Demand,
    GateFact,
    GeminiFacts,
    LatestOrderFacts,
    LatestSignalFacts,
    ModelCall,
    Observer,
    OrderFact,
    PoolFacts,
    ReconcileFact,
    SchedulerFacts,
    SignalFact,
    UpbitFacts,
)
from health.report import Explain, Live, Probe, Verdict, within
from health.watchdog import Heartbeats
from jobs.core.cooldowns import Gates
from jobs.core.errors import Permanent, Transient, Unavailable
from jobs.core.job import Clock
from jobs.store import vitals
from jobs.store.db import Database
from jobs.store.llm_calls import day_of
from jobs.store.reconciliations import Reconciliation

Role = Literal["leader", "standby", "starting"]
AnyCheck = (
    Probe[DatabaseFacts]
    | Probe[UpbitFacts]
    | Probe[GeminiFacts]
    | Live[SchedulerFacts]
    | (Probe[LatestSignalFacts] | Probe[LatestOrderFacts])
)

WRITE = """
DO $$
BEGIN
    PERFORM pg_current_xact_id();
    SET LOCAL work_mem = '64kB';
    PERFORM count(*) FROM generate_series(1, 10000);
END $$
"""
"""A transaction of its own, and 300 kB of rows, which 64 kB of memory do not hold: the server
writes them to its disk. One statement: each more is a way there and back, and on a slow line
(240 ms) all of them together took longer than QUERY_S: "slow" was told as "does not answer".
"""
CANNOT_WRITE = frozenset({"53100", "53400", "58030"})
"""disk_full, configuration_limit_exceeded (temp_file_limit), io_error"""

DATABASE_S = 2.0
QUERY_S = 1.5
CONNECT_S = 1.0
VENUE_S = 5.0
VENUE_DEADLINE_S = 4.0
MODEL_S = 10.0
MODEL_DEADLINE_S = 5.0
MODEL_FACTS_S = 5.0
LATEST_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that the probes ask, as callables and values of the root.

    `server_clock` returns the venue's time; `private_call` is None without keys; `model_probe` is
    None where no model is used.
    """

    clock: Clock
    database: Database
    reach_database: Callable[[], Awaitable[None]]
    head_revision: str
    max_waiting: int
    mode: str
    latest_signal: Callable[[], Awaitable[vitals.SignalVital | None]]
    public_call: Callable[[], Awaitable[datetime | None]]
    private_call: Callable[[], Awaitable[object]] | None
    model_probe: Callable[[], Awaitable[None]] | None
    daily_budget_usd: Decimal
    gates: Gates
    heartbeats: Heartbeats
    board: JobStatus
    role: Callable[[], Role]
    reason: Callable[[], str | None]
    unwritten_since: Callable[[], datetime | None]
    signals_enabled: bool
    orders_enabled: bool
    signal_max_age: Callable[[datetime], timedelta]
    order_max_age: timedelta


def explain(mask: Callable[[str], str]) -> Explain:
    """Return how errors become causes: masked, and fatal when waiting cannot mend them."""
    return Explain(mask=mask, is_fatal=lambda error: isinstance(error, Permanent))


def build(sources: Sources, how: Explain) -> list[AnyCheck]:
    """Return the six checks, ready for the examiner."""
    orders = checks.OrderLimits(max_age_s=sources.order_max_age.total_seconds())
    database = _Base(sources)
    return [
        Probe(
            component="database",
            gather=database.gather,
            judge=checks.check_database,
            period_s=DATABASE_S,
            deadline_s=QUERY_S + CONNECT_S + 0.5,
        ),
        Probe(
            component="upbit",
            gather=_Venue(sources, how).gather,
            judge=checks.check_upbit,
            period_s=VENUE_S,
            deadline_s=VENUE_DEADLINE_S + 1,
        ),
        Probe(
            component="gemini",
            gather=_Model(sources, how).gather,
            judge=checks.check_gemini,
            period_s=MODEL_FACTS_S,
            deadline_s=MODEL_DEADLINE_S + 2,
        ),
        Live(
            component="scheduler",
            read=partial(_scheduler, sources, database),
            judge=checks.check_scheduler,
        ),
        Probe(
            component="latest_signal",
            gather=partial(_latest_signal, sources),
            judge=partial(_judge_signal, sources.signal_max_age),
            period_s=LATEST_S,
            deadline_s=LATEST_S,
        ),
        Probe(
            component="latest_order",
            gather=partial(_latest_order, sources),
            judge=partial(checks.check_latest_order, limits=orders),
            period_s=LATEST_S,
            deadline_s=LATEST_S,
        ),
    ]


class _Base:
    """Asks the database; `fault` is what kept it from work then, for others to read."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.fault: str | None = None

    async def gather(self) -> DatabaseFacts:
        """Return the facts of this moment, or raise why there are none."""
        try:
            facts = await within(partial(_database, self._sources), QUERY_S)
        except CannotWrite:
            self.fault = "the database cannot write"
            raise
        except (Transient, TimeoutError) as error:
            self.fault = "the database does not answer"
            raise await self._cause(error) from error
        except Exception:
            self.fault = None  # it answers: what it refused here need not stop a job
            raise
        self.fault = "the database is read-only" if facts.read_only else None
        return facts

    async def _cause(self, error: Transient | TimeoutError) -> Transient:
        """Return what keeps the pool from answering: the server, or its own users."""
        try:
            await within(self._sources.reach_database, CONNECT_S)
        except Transient as cause:
            return cause
        except TimeoutError:
            return Unavailable(f"no answer within {QUERY_S + CONNECT_S:g} s, not even to connect")
        pool = self._sources.database.pool_stats()
        if pool.busy >= pool.shared:  # those kept for orders are free all the same
            return Unavailable(
                f"all connections are in use, {pool.waiting} wait, limit {pool.shared}"
            )
        if isinstance(error, Transient):
            return error
        return Unavailable(f"no answer within {QUERY_S:g} s, though it takes connections")


async def _database(sources: Sources) -> DatabaseFacts:
    async with sources.database.begin() as tx:
        began = sources.clock()
        asked = "SELECT current_setting('transaction_read_only') = 'on', version_num"
        row = (await tx.execute(text(f"{asked} FROM alembic_version"))).first()
        latency_ms = (sources.clock() - began).total_seconds() * 1000
        if row is not None and not row[0]:
            await _write(tx)
    pool = sources.database.pool_stats()
    return DatabaseFacts(
        latency_ms=latency_ms,
        pool=PoolFacts(
            size=pool.size,
            available=pool.available,
            waiting=pool.waiting,
            max=pool.max,
            max_waiting=sources.max_waiting,
        ),
        read_only=bool(row and row[0]),
        revision=row[1] if row else None,
        head=sources.head_revision,
    )


class CannotWrite(Unavailable):
    """It answers, and takes nothing: its disk is full, or fails."""


async def _write(tx: AsyncConnection) -> None:
    """Write: a transaction of its own, and rows that spill to the server's disk.

    A full disk still answers every query, and its last WAL segment takes small rows for a while.
    Nothing stays. Raises CannotWrite with what the server says.
    """
    try:
        await tx.execute(text(WRITE))
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) in CANNOT_WRITE:
            why = str(exc.orig).strip().partition("\n")[0]
            raise CannotWrite(f"the database cannot write: {why}") from exc
        raise


class _Venue:
    """Asks the exchange what costs it least: one public call, and one that needs the keys."""

    def __init__(self, sources: Sources, how: Explain) -> None:
        self._sources = sources
        self._skew_s: float | None = None
        self._public = _observer(self._ask_public, VENUE_DEADLINE_S, how, sources)
        private = sources.private_call
        self._private = private and _observer(private, VENUE_DEADLINE_S, how, sources)

    async def gather(self) -> UpbitFacts:
        """Return the facts of this moment."""
        private = self._private or _nothing
        public_call, private_call = await asyncio.gather(self._public(), private())
        return UpbitFacts(
            live=self._sources.mode == "live",
            public=public_call,
            private=private_call,
            gates=_gates(self._sources.gates, "upbit"),
            clock_skew_s=self._skew_s,
        )

    async def _ask_public(self) -> None:
        theirs = await self._sources.public_call()
        if theirs is not None:
            self._skew_s = (self._sources.clock() - theirs).total_seconds()


class _Model:
    """Asks for the model's description now and then; its real calls stand in the database."""

    def __init__(self, sources: Sources, how: Explain) -> None:
        self._sources = sources
        probe = sources.model_probe
        self._probe = probe and _observer(probe, MODEL_DEADLINE_S, how, sources)
        self._last: CallFact | None = None

    async def gather(self) -> GeminiFacts:
        """Return the facts of this moment."""
        if self._probe is None:
            return GeminiFacts(used=False)
        now = self._sources.clock()
        due = self._last is None or not self._last.ok
        if due or (self._last and (now - self._last.at).total_seconds() >= MODEL_S):
            self._last = await self._probe()
        call, budget = await self._from_tables(now)
        return GeminiFacts(
            used=True,
            probe=self._last,
            last_call=call,
            budget=budget,
            gates=_gates(self._sources.gates, "gemini"),
        )

    async def _from_tables(self, now: datetime) -> tuple[ModelCall | None, Budget | None]:
        """Return the newest real call and the day's budget; nothing while the database is away."""
        try:
            today = day_of(now)
            facts = await within(
                partial(vitals.model_vitals, self._sources.database, today), DATABASE_S
            )
        except (Transient, TimeoutError):
            return None, None
        budget = Budget(
            spent_usd=facts.spent_usd,
            limit_usd=self._sources.daily_budget_usd,
            needed_usd=facts.dearest_usd,
        )
        if facts.at is None or facts.outcome is None:
            return None, budget
        call = ModelCall(
            at=facts.at, outcome=facts.outcome, error=facts.error, failures=facts.failures
        )
        return call, budget


async def _nothing() -> None:
    return None


def _scheduler(sources: Sources, database: _Base) -> SchedulerFacts:
    return SchedulerFacts(
        role=sources.role(),
        lanes=sources.heartbeats.lanes(),
        jobs=sources.board.facts(),
        database_fault=database.fault,
        reason=sources.reason(),
        unwritten_since=sources.unwritten_since(),
    )


async def _latest_signal(sources: Sources) -> LatestSignalFacts:
    latest = await sources.latest_signal()
    fact = None
    if latest is not None:
        fact = SignalFact(at=latest.at, market=latest.market, action=latest.action)
    return LatestSignalFacts(latest=fact, expected=sources.signals_enabled)


def _judge_signal(
    max_age: Callable[[datetime], timedelta], facts: LatestSignalFacts, now: datetime
) -> Verdict:
    """The limit follows schedule and candles, so it is another at night than at noon."""
    return checks.check_latest_signal(facts, now, max_age_s=max_age(now).total_seconds())


async def _latest_order(sources: Sources) -> LatestOrderFacts:
    facts = await vitals.order_vitals(sources.database, sources.mode)
    return LatestOrderFacts(
        latest=None if facts.latest is None else _order(facts.latest),
        open=[_order(each) for each in facts.open],
        demand=Demand(
            count=facts.demand,
            first_at=facts.demand_since,
            waiting_since=facts.waiting_since,
        ),
        expected=sources.orders_enabled,
        reconciled=_reconciled(facts.reconciliation),
        blocked=[
            BlockedExit(
                market=each.market,
                purpose=each.purpose,
                cause=each.cause,
                since=each.since,
                attempts=each.attempts,
            )
            for each in facts.blocked
        ],
        order_timeout_s=facts.settings.order_timeout_s,
        signal_max_age_s=facts.settings.signal_max_age_s,
        delisted=facts.delisted,
    )


def _reconciled(found: Reconciliation | None) -> ReconcileFact | None:
    if found is None:
        return None
    return ReconcileFact(
        at=found.checked_at,
        open_ours=found.open_ours,
        open_foreign=found.open_foreign,
        unknown=found.unknown,
        runs=found.runs,
        mismatches=found.mismatches,
    )


def _order(vital: vitals.OrderVital) -> OrderFact:
    return OrderFact(
        id=vital.id,
        market=vital.market,
        side=vital.side,
        state=vital.state,
        created_at=vital.created_at,
        since=vital.since,
    )


def _gates(gates: Gates, dependency: str) -> Sequence[GateFact]:
    return [
        GateFact(name=gate.name, until=gate.until, reason=gate.reason, banned=gate.source == "ban")
        for gate in gates.closed()
        if gate.name.partition(":")[0] == dependency
    ]


def _observer(
    call: Callable[[], Awaitable[object]], deadline_s: float, how: Explain, sources: Sources
) -> Observer:
    return Observer(call, deadline_s=deadline_s, explain=how, clock=sources.clock)
