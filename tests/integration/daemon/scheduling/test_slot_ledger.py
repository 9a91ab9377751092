"""One row and one line for every slot, whatever became of it, on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.scheduling.catch_up import DOWN, CatchUp, Memory
from daemon.scheduling.missed_spans import MissedSpans
from daemon.scheduling.scheduler import Schedule
from daemon.scheduling.slot_clock import SlotClock
from daemon.scheduling.slot_ledger import UNTOLD, SlotLedger, new_slot, skipped
from daemon.telemetry.metrics import JobMetric
from jobs.core.errors import Unavailable
from jobs.store import runs
from jobs.store.db import Database
from jobs.store.tables import job_runs

AT = datetime(2026, 1, 5, tzinfo=UTC)
S = timedelta(seconds=1)
US = timedelta(microseconds=1)


class Lines:
    def __init__(self) -> None:
        self.metrics: list[JobMetric] = []

    def __call__(self, metric: JobMetric) -> None:
        self.metrics.append(metric)


def now() -> datetime:
    return AT + 100 * S


async def rows(db: Database) -> list[tuple[datetime, str | None, str | None]]:
    query = select(job_runs.c.scheduled_at, job_runs.c.outcome, job_runs.c.reason)
    async with db.begin() as tx:
        return [(r[0], r[1], r[2]) for r in await tx.execute(query.order_by("scheduled_at"))]


def finished(slot_metric: JobMetric, outcome: Literal["ok", "failed"] = "ok") -> JobMetric:
    return replace(slot_metric, outcome=outcome, success=outcome == "ok", reason=None, rows=3)


async def test_a_claimed_slot_is_run_once_and_closed(database: Database) -> None:
    lines = Lines()
    ledger = SlotLedger(database, lines, now)
    slot = new_slot("market", AT)
    assert await ledger.claim(slot)
    assert not await ledger.claim(new_slot("market", AT))
    assert await rows(database) == [(AT, None, None)]
    ledger.close(finished(skipped(slot, "", now())))
    assert len(lines.metrics) == 1
    assert ledger.unwritten == 1
    await ledger.flush()
    assert await rows(database) == [(AT, "ok", None)]
    assert ledger.unwritten == 0


async def test_flushes_at_the_same_time_write_each_row_once_and_lose_none(
    database: Database,
) -> None:
    """The writer's own flush beside the one of a leadership that begins."""

    class Slow(Database):
        @asynccontextmanager
        async def begin(self) -> AsyncIterator[AsyncConnection]:
            async with super().begin() as conn:
                yield conn
            while later:  # more comes while the first rows are on their way
                ledger.close(finished(skipped(new_slot("market", later.pop()), "", now())))

    later = [AT + 2 * S, AT + 3 * S]
    slow = Slow(engine=database.engine, checkout=database.checkout, pool_stats=database.pool_stats)
    ledger = SlotLedger(slow, Lines(), now)
    for each in (AT, AT + S):
        ledger.close(finished(skipped(new_slot("market", each), "", now())))
    await asyncio.gather(ledger.flush(), ledger.close_abandoned(), ledger.flush())
    assert len(await rows(database)) == 4
    assert ledger.unwritten == 0


async def test_a_claim_whose_answer_was_lost_is_ours_again(database: Database) -> None:
    slot = new_slot("market", AT)
    assert await runs.claim(database, slot, AT)
    assert await runs.claim(database, slot, AT + S)
    ledger = SlotLedger(database, Lines(), now)
    ledger.close(finished(skipped(slot, "", now())))
    await ledger.flush()
    assert not await runs.claim(database, slot, AT)


async def test_our_own_unwritten_outcomes_come_before_abandoned_runs(database: Database) -> None:
    ledger = SlotLedger(database, Lines(), now)
    slot = new_slot("market", AT)
    assert await ledger.claim(slot)
    ledger.close(finished(skipped(slot, "", now())))
    assert await ledger.close_abandoned() == 0
    assert await rows(database) == [(AT, "ok", None)]


async def test_the_ledger_tells_how_often_instants_were_repeated(database: Database) -> None:
    assert await runs.past(database, AT) == (None, 0)
    ledger = SlotLedger(database, Lines(), now)
    ledger.skip("market", [AT, AT + 2 * US, AT + S + timedelta(milliseconds=5)], "")
    ledger.skip("market", [AT - 9 * S + 7 * US], "")
    await ledger.flush()
    assert await runs.past(database, AT) == (AT + S + timedelta(milliseconds=5), 2)


async def test_the_first_outcome_of_a_slot_stays(database: Database) -> None:
    ledger = SlotLedger(database, Lines(), now)
    ledger.skip("market", [AT], "missed")
    await ledger.flush()
    ledger.close(finished(skipped(new_slot("market", AT), "", now()), "failed"))
    await ledger.flush()
    assert await rows(database) == [(AT, "skipped", "missed")]


class Away:
    """A database that is away until it is let back."""

    def __init__(self, real: Database) -> None:
        self.real = real
        self.away = True

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        if self.away:
            raise Unavailable("away")
        async with self.real.begin() as tx:
            yield tx


async def test_rows_wait_while_the_database_is_away(database: Database) -> None:
    away = Away(database)
    lines = Lines()
    flushed = asyncio.Event()
    ledger = SlotLedger(away, lines, now, on_flush=flushed.set)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):  # nobody can say that no other process runs it
        await ledger.claim(new_slot("market", AT))
    ledger.skip("market", [AT + n * S for n in range(2500)], "missed")
    task = asyncio.create_task(ledger.flush_forever())
    await asyncio.sleep(0)
    assert len(lines.metrics) == 2500
    assert ledger.unwritten == 2500
    away.away = False
    while ledger.unwritten:
        flushed.clear()
        await flushed.wait()
    task.cancel()
    assert len(await rows(database)) == 2500


async def test_runs_that_a_killed_process_left_are_closed_as_cancelled(database: Database) -> None:
    lines = Lines()
    ledger = SlotLedger(database, lines, now)
    slot = new_slot("orders", AT)
    await runs.claim(database, slot, AT + S)
    assert await ledger.close_abandoned() == 1
    assert await ledger.close_abandoned() == 0
    (metric,) = lines.metrics
    assert (metric.run_id, metric.outcome, metric.duration_s) == (slot.run_id, "cancelled", 99.0)
    assert await rows(database) == [(AT, "cancelled", "the process ended during the run")]


def absent(database: Database, ledger: SlotLedger, schedules: dict[str, Schedule]) -> CatchUp:
    """What accounts for an absence, as a leadership makes it."""
    memory = Memory()
    return CatchUp(
        database=database,
        ledger=ledger,
        schedules=schedules,
        spans=MissedSpans(database, schedules, now, memory.spans),
        memory=memory,
    )


async def test_slots_of_the_time_before_are_written_once(database: Database) -> None:
    lines = Lines()
    ledger = SlotLedger(database, lines, now)
    ledger.skip("orders", [AT], "seen")
    await ledger.flush()
    schedules = {"orders": Schedule.every(10 * S), "market": Schedule.every(60 * S)}
    absence = absent(database, ledger, schedules)
    clock = SlotClock(now, lambda: 0.0, lambda: 0.0)
    assert await absence.run(clock) == now()
    assert await absence.run(clock) == now()
    written = await rows(database)
    assert [(at - AT) / S for at, _, _ in written] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert {reason for _, _, reason in written[1:]} == {DOWN}
    assert len(lines.metrics) == 11  # the market job never had a slot: it is new


async def test_the_newest_slots_are_those_that_a_schedule_named(database: Database) -> None:
    ledger = SlotLedger(database, Lines(), now)
    ledger.skip("market", [AT, AT + S, AT + 2 * S + 500 * US], "")
    ledger.skip("market", [AT - S + 3 * US, AT - 9 * S + 2 * US], "")
    await ledger.flush()
    assert await runs.newest(database) == {"market": AT + S}
    assert await runs.newest_repeated(database, 0, AT - 60 * S, AT) == {}
    assert await runs.newest_repeated(database, 2, AT - 60 * S, AT) == {
        "market": AT - 9 * S + 2 * US
    }


HOSTILE = "bad \ud800 text \x00 \x1b[2J \u202e"


async def test_a_text_that_postgres_cannot_hold_is_stored_without_it(database: Database) -> None:
    ledger = SlotLedger(database, Lines(), now)
    metric = replace(skipped(new_slot("orders", AT), HOSTILE, now()), error=HOSTILE)
    ledger.close(metric)
    await ledger.flush()
    assert await rows(database) == [(AT, "skipped", "bad � text � �[2J �")]
    assert ledger.unwritten == 0


async def test_one_row_that_is_refused_costs_its_texts_and_no_other_row(
    database: Database,
) -> None:
    """A row beyond what the columns take: here a text that a constraint of the test refuses."""
    async with database.begin() as tx:
        await tx.execute(
            text("ALTER TABLE job_runs ADD CHECK (error IS NULL OR error NOT LIKE 'odd%')")
        )
        await tx.execute(text("ALTER TABLE job_runs ADD CHECK (job <> 'never')"))
    ledger = SlotLedger(database, Lines(), now)
    for number, error in enumerate((None, "odd one", None)):
        made = skipped(new_slot("orders", AT + number * S), f"reason {number}", now())
        ledger.close(replace(made, error=error))
    ledger.close(skipped(new_slot("never", AT), "", now()))
    await ledger.flush()
    assert [row[2] for row in await rows(database)] == ["reason 0", UNTOLD, "reason 2"]
    assert ledger.unwritten == 0


async def test_the_writer_outlives_a_bug_and_writes_what_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = asyncio.Event()
    ledger = SlotLedger(database, Lines(), now, on_flush=passed.set)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write", _broken)
        ledger.close(skipped(new_slot("orders", AT), "", now()))
        writer = asyncio.create_task(ledger.flush_forever())
        async with asyncio.timeout(10):
            await passed.wait()
    assert ledger.unwritten == 1
    async with asyncio.timeout(10):
        while ledger.unwritten:
            passed.clear()
            await passed.wait()
    assert not writer.done()
    writer.cancel()
    assert len(await rows(database)) == 1


async def _broken(_: object) -> None:
    raise RecursionError
