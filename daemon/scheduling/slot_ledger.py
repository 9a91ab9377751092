"""The slot ledger: every due slot ends as exactly one row of `job_runs` and one metric line.

The line goes out at once. The row waits in memory while the database is away, and is written
when it is back.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime

from loguru import logger

from daemon.telemetry.metrics import JobMetric
from jobs.core.errors import Transient
from jobs.core.job import Clock, Slot, current_lane
from jobs.store import runs
from jobs.store.db import Database
from jobs.store.fence import Fence, StaleEpoch

BATCH = 1000
FLUSH_EVERY_S = 0.5
FLUSH_WITHIN_S = 5.0
PASSING = (Transient, StaleEpoch, TimeoutError)
"""What says nothing about a row: it is written later, or by who leads next."""
UNTOLD = "(the database refused the text)"
NOT_IN_ROW = ("success", "lateness_s")
IN_ROW = tuple(each.name for each in fields(JobMetric) if each.name not in NOT_IN_ROW)


def new_slot(job: str, scheduled_at: datetime, occasion: str | None = None) -> Slot:
    """Return the slot with a run id of its own."""
    return Slot(job=job, scheduled_at=scheduled_at, run_id=uuid.uuid4().hex, occasion=occasion)


def skipped(slot: Slot, reason: str, at: datetime) -> JobMetric:
    """Return the metric of a slot that did not run."""
    return JobMetric(
        job=slot.job,
        run_id=slot.run_id,
        scheduled_at=slot.scheduled_at,
        started_at=None,
        finished_at=at,
        lateness_s=(at - slot.scheduled_at).total_seconds(),
        duration_s=0.0,
        success=False,
        outcome="skipped",
        reason=reason,
    )


class SlotLedger:
    """Writes what became of each slot.

    `emit` sends one metric line; `on_flush` is called after every pass, whether or not the
    database took the rows (the writer lane's proof of life).
    """

    def __init__(
        self,
        db: Database,
        emit: Callable[[JobMetric], None],
        clock: Clock,
        on_flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._claims = db
        self._emit = emit
        self._clock = clock
        self._on_flush = on_flush
        self._unwritten: deque[JobMetric] = deque()
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()

    @property
    def unwritten(self) -> int:
        """How many rows wait for the database."""
        return len(self._unwritten)

    @property
    def waiting_since(self) -> datetime | None:
        """Since when the oldest row waits for the database; from any thread."""
        try:
            return self._unwritten[0].finished_at
        except IndexError:
            return None

    def lead(self, fence: Fence | None) -> None:
        """Claim slots under this leadership from here on."""
        self._claims = replace(self._db, fence=fence)

    async def claim(self, slot: Slot) -> bool:
        """Return whether the slot is ours to run.

        Raises Transient while the database is away: then nobody can say that no other process
        runs it. Raises StaleEpoch when another leads.
        """
        return await runs.claim(self._claims, slot, self._clock())

    def close(self, metric: JobMetric) -> None:
        """Send the line now and the row as soon as it can be written."""
        self._emit(metric)
        self._unwritten.append(metric)
        self._wake.set()

    def skip(self, job: str, instants: Iterable[datetime], reason: str) -> None:
        """Close slots that will not run."""
        now = self._clock()
        for each in instants:
            self.close(skipped(new_slot(job, each), reason, now))

    async def flush(self) -> None:
        """Write the waiting rows; those that cannot be written go on waiting.

        One flush at a time: two that read the same rows would each take them away afterwards, the
        second one rows that nobody wrote.
        """
        async with self._flushing:
            while self._unwritten:
                batch = [self._unwritten[i] for i in range(min(BATCH, len(self._unwritten)))]
                await self._write([_row(metric) for metric in batch])
                for _ in batch:
                    self._unwritten.popleft()

    async def _write(self, rows: list[dict[str, object]]) -> None:
        """Write the rows, each by itself when the database refuses them together."""
        try:
            await runs.record(self._db, rows)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - one odd row must hold neither others nor the writer
            logger.bind(event="slots.refused", rows=len(rows), error=str(error)).error(
                "The database refuses slot rows; they are written one by one"
            )
            for row in rows:
                await self._write_alone(row)

    async def _write_alone(self, row: dict[str, object]) -> None:
        """Write one row, without its texts when they are what is refused."""
        for attempt in (row, _without_texts(row)):
            try:
                await runs.record(self._db, [attempt])
            except PASSING:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                why = str(error)
            else:
                return
        logger.bind(event="slots.lost", job=row["job"], run_id=row["run_id"], error=why).critical(
            "A slot's row cannot be written and is dropped; its metric line is all there is"
        )

    async def flush_forever(self) -> None:
        """Write rows as they come until cancelled; outlive the database's absences."""
        current_lane.set("orders")  # what became of a run must not wait for what hangs
        while True:
            try:
                async with asyncio.timeout(FLUSH_WITHIN_S):
                    await self.flush()
            except PASSING as error:
                why = str(error) or f"no answer within {FLUSH_WITHIN_S:g} s"
                logger.bind(event="slots.waiting", rows=self.unwritten, error=why).warning(
                    "Slot rows wait for the database"
                )
            except Exception:  # noqa: BLE001 - the writer outlives every bug but its own loop's
                logger.bind(event="job.bug", rows=self.unwritten).exception(
                    "Writing slot rows has a bug; they wait"
                )
            self._on_flush()
            self._wake.clear()
            try:
                async with asyncio.timeout(FLUSH_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def close_abandoned(self) -> int:
        """Close runs that an earlier leader left without an outcome; return how many.

        Runs of our own, from before a short absence of the database, are written first.
        """
        await self.flush()
        left = await runs.abandoned(self._db)
        now = self._clock()
        reason = "the process ended during the run"
        await runs.close_abandoned(self._db, [each.slot.run_id for each in left], reason, now)
        for each in left:
            self._emit(_cancelled(each, reason, now))
        return len(left)

    async def skip_missed(self, job: str, instants: Sequence[datetime], reason: str) -> int:
        """Write slots that came due while nobody looked; return how many had no row yet."""
        written = 0
        now = self._clock()
        for start in range(0, len(instants), BATCH):
            batch = [
                skipped(new_slot(job, each), reason, now)
                for each in instants[start : start + BATCH]
            ]
            new = await runs.record_skipped(self._db, [_row(metric) for metric in batch])
            for metric in batch:
                if metric.scheduled_at in new:
                    self._emit(metric)
            written += len(new)
        return written


def _row(metric: JobMetric) -> dict[str, object]:
    return {name: getattr(metric, name) for name in IN_ROW}


def _without_texts(row: dict[str, object]) -> dict[str, object]:
    """The row with what others may have written in it replaced."""
    return {
        name: UNTOLD if name in ("reason", "error") and value is not None else value
        for name, value in row.items()
    }


def _cancelled(each: runs.Abandoned, reason: str, at: datetime) -> JobMetric:
    return JobMetric(
        job=each.slot.job,
        run_id=each.slot.run_id,
        scheduled_at=each.slot.scheduled_at,
        started_at=each.started_at,
        finished_at=at,
        lateness_s=(each.started_at - each.slot.scheduled_at).total_seconds(),
        duration_s=(at - each.started_at).total_seconds(),
        success=False,
        outcome="cancelled",
        reason=reason,
        attempts=1,
    )
