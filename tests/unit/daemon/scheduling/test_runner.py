"""Every slot that a run takes ends as one metric that says truly what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from daemon.scheduling.retry import RetryBudget, RetryPolicy
from daemon.scheduling.runner import Means, Runner
from daemon.telemetry.metrics import JobMetric
from jobs.core.errors import Banned, ModelRejected, Permanent, RateLimited, Unavailable
from jobs.core.job import Incident, JobSpec, Slot, count_api_call, current_counters, note_progress
from jobs.store.fence import StaleEpoch

AT = datetime(2026, 1, 5, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


class Record:
    """Stands for ledger, observer, notifier and scheduler: remembers what it was told, in order."""

    def __init__(self, *, ours: bool = True) -> None:
        self.ours = ours
        self.is_leader = True
        self.claims: list[Exception] = []
        self.budget = RetryBudget()
        self.metrics: list[JobMetric] = []
        self.skipped: list[tuple[str, datetime, str]] = []
        self.incidents: list[Incident] = []
        self.resolved: list[str] = []
        self.deferred: list[tuple[str, datetime]] = []
        self.seen: list[tuple[str, str]] = []

    async def claim(self, slot: Slot) -> bool:
        if self.claims:
            raise self.claims.pop(0)
        return self.ours

    def close(self, metric: JobMetric) -> None:
        self.metrics.append(metric)

    def skip(self, job: str, instants: Sequence[datetime], reason: str) -> None:
        self.skipped += [(job, each, reason) for each in instants]

    def began(self, job: str, at: datetime) -> None:
        self.seen.append(("began", job))

    def ended(self, metric: JobMetric) -> None:
        self.seen.append(("ended", metric.job))

    async def notify(self, incident: Incident) -> None:
        self.incidents.append(incident)

    async def resolve(self, incident: str) -> None:
        self.resolved.append(incident)

    async def defer(self, job: str, at: datetime) -> None:
        self.deferred.append((job, at))

    def runner(
        self, run: Callable[[Slot], Awaitable[int]], *, deadline_s: float = 60, **spec: Any
    ) -> Runner:
        return Runner(
            {"market": JobSpec(name="market", run=run, deadline_s=deadline_s, **spec)},
            Means(
                ledger=self,
                policy=RetryPolicy(),
                notifier=self,
                clock=now,
                on_deferred=self.defer,
                observer=self,
                mask=lambda text: text.replace("s3cret", "***"),
                budget=self.budget,
                is_ours=lambda: self.is_leader,
            ),
        )


async def run_once(runner: Runner) -> None:
    runner.due("market", [AT])
    await runner.drain(1e6)


def failing(*errors: BaseException) -> Callable[[Slot], Awaitable[int]]:
    left = list(errors)

    async def run(_: Slot) -> int:
        if left:
            raise left.pop(0)
        return 7

    return run


def test_a_good_run_tells_times_rows_and_what_it_used(run_virtual: Any) -> None:
    async def run(slot: Slot) -> int:
        assert slot.scheduled_at == AT
        count_api_call()
        count_api_call()
        tally = current_counters.get()
        assert tally is not None
        tally.tokens_in, tally.cost_usd = 5, Decimal("0.25")
        await asyncio.sleep(1.5)
        return 3

    record = Record()
    run_virtual(run_once(record.runner(run)))
    (metric,) = record.metrics
    assert (metric.outcome, metric.success, metric.reason) == ("ok", True, None)
    assert (metric.rows, metric.api_calls, metric.tokens_in) == (3, 2, 5)
    assert metric.cost_usd == Decimal("0.25")
    assert (metric.lateness_s, metric.duration_s, metric.attempts) == (0.0, 1.5, 1)
    assert metric.finished_at == AT + timedelta(seconds=1.5)
    assert record.resolved == ["job:market"]
    assert record.seen == [("began", "market"), ("ended", "market")]


def test_transients_within_the_tries_end_well(run_virtual: Any) -> None:
    record = Record()
    run_virtual(run_once(record.runner(failing(*[Unavailable("down")] * 3))))
    (metric,) = record.metrics
    assert (metric.outcome, metric.attempts, metric.waited_s, metric.rows) == ("ok", 4, 7.0, 7)
    assert record.incidents == []


def test_exhaustion_alerts_and_the_next_success_recovers(run_virtual: Any) -> None:
    record = Record()
    runner = record.runner(failing(*[Unavailable("down, s3cret")] * 4))

    async def twice() -> None:
        await run_once(runner)
        await run_once(runner)

    run_virtual(twice())
    first, second = record.metrics
    assert (first.outcome, first.reason, first.attempts) == ("failed", "retries exhausted", 4)
    assert (first.error_type, first.error) == ("Unavailable", "down, ***")
    assert second.outcome == "ok"
    (incident,) = record.incidents
    assert (incident.kind, incident.incident) == ("retry_exhausted", "job:market")
    assert incident.error == "down, ***"
    assert record.resolved == ["job:market"]


@pytest.mark.parametrize(
    ("error", "reason"), [(Permanent("no such market"), "permanent"), (KeyError("x"), "bug")]
)
def test_what_is_not_transient_fails_at_once(
    run_virtual: Any, error: Exception, reason: str
) -> None:
    record = Record()
    run_virtual(run_once(record.runner(failing(error))))
    (metric,) = record.metrics
    assert (metric.outcome, metric.reason, metric.attempts) == ("failed", reason, 1)
    assert record.incidents[0].kind == "permanent_failure"


def test_what_its_source_has_told_of_is_not_told_twice(run_virtual: Any) -> None:
    record = Record()
    run_virtual(run_once(record.runner(failing(ModelRejected("prose")))))
    assert record.metrics[0].outcome == "failed"
    assert record.incidents == []


def test_a_long_ban_defers_the_run_to_its_end(run_virtual: Any) -> None:
    record = Record()
    banned = Banned("blocked", retry_after_s=900.0, wait_source="ban")
    run_virtual(run_once(record.runner(failing(banned))))
    (metric,) = record.metrics
    assert (metric.outcome, metric.success) == ("deferred", False)
    assert metric.reason == "ban: the server asked for 900 s"
    assert record.deferred == [("market", AT + timedelta(seconds=900))]
    assert record.incidents == []


@pytest.mark.parametrize(("wait_s", "outcome"), [(0.9, "ok"), (1.1, "deferred"), (30, "deferred")])
def test_a_job_may_refuse_to_sit_out_more_than_its_back_off(
    run_virtual: Any, wait_s: float, outcome: str
) -> None:
    record = Record()
    banned = Banned("blocked", retry_after_s=wait_s, wait_source="ban")
    run_virtual(run_once(record.runner(failing(banned), max_wait_s=0.0)))
    (metric,) = record.metrics
    assert metric.outcome == outcome
    assert metric.duration_s == (1.0 if outcome == "ok" else 0.0)


def test_no_job_sits_out_more_than_the_general_limit(run_virtual: Any) -> None:
    record = Record()
    banned = Banned("blocked", retry_after_s=400.0, wait_source="ban")
    run_virtual(run_once(record.runner(failing(banned), deadline_s=1e4, max_wait_s=900.0)))
    assert record.metrics[0].outcome == "deferred"


def test_a_run_over_its_deadline_is_ended(run_virtual: Any) -> None:
    async def hang(_: Slot) -> int:
        await asyncio.sleep(1e5)
        return 0

    record = Record()
    run_virtual(run_once(record.runner(hang, deadline_s=30)))
    (metric,) = record.metrics
    assert (metric.outcome, metric.duration_s) == ("timeout", 30.0)
    assert metric.reason == "over the deadline of 30 s"
    assert record.incidents[0].kind == "retry_exhausted"


def test_a_run_over_its_deadline_says_what_was_done_and_what_was_not(run_virtual: Any) -> None:
    async def hang(_: Slot) -> int:
        note_progress("newest candles of 3 of 5 markets; not: KRW-A, KRW-B")
        await asyncio.sleep(1e5)
        return 0

    record = Record()
    run_virtual(run_once(record.runner(hang, deadline_s=30)))
    done = "over the deadline of 30 s: newest candles of 3 of 5 markets; not: KRW-A, KRW-B"
    assert record.metrics[0].error == done
    assert record.incidents[0].message == f"market failed after 1 attempts: {done}"


@pytest.mark.parametrize("error", [TimeoutError(), ValueError(), Permanent(""), KeyError()])
def test_no_alert_is_without_a_reason(run_virtual: Any, error: Exception) -> None:
    async def hang(_: Slot) -> int:
        count_api_call()
        await asyncio.sleep(1e5)
        return 0

    record = Record()
    run_virtual(run_once(record.runner(failing(error))))
    assert record.metrics[0].error == f"{type(error).__name__} without a message"
    assert record.incidents[0].message.endswith(f": {type(error).__name__} without a message")
    run_virtual(run_once(record.runner(hang, deadline_s=30)))
    assert "1 requests were sent, 0 rows were stored" in record.incidents[-1].message


def test_a_timeout_of_the_jobs_own_is_a_bug_not_the_deadline(run_virtual: Any) -> None:
    record = Record()
    run_virtual(run_once(record.runner(failing(TimeoutError("mine")))))
    assert (record.metrics[0].outcome, record.metrics[0].reason) == ("failed", "bug")


def test_a_busy_job_skips_its_next_slot_and_missed_ones_are_told(run_virtual: Any) -> None:
    async def main() -> None:
        runner = record.runner(slow)
        ten = timedelta(seconds=10)
        runner.due("market", [AT - ten, AT])
        assert runner.running == {"market"}
        await asyncio.sleep(10)
        runner.due("market", [AT + ten])
        await runner.drain(60)
        assert runner.running == frozenset()
        runner.due("market", [AT + 3 * ten])
        await runner.drain(60)

    record = Record()
    run_virtual(main())
    assert [each[2] for each in record.skipped] == ["missed", "still running"]
    assert [each.outcome for each in record.metrics] == ["ok", "ok"]


async def slow(_: Slot) -> int:
    await asyncio.sleep(25)
    return 0


def test_a_queued_slot_runs_afterwards_and_only_the_newest(run_virtual: Any) -> None:
    async def main() -> None:
        runner = record.runner(slow, overlap="queue")
        for number in range(3):
            runner.due("market", [AT + number * timedelta(seconds=10)])
            await asyncio.sleep(10)
        await runner.drain(60)

    record = Record()
    run_virtual(main())
    assert record.skipped == [("market", AT + timedelta(seconds=10), "a newer slot took its place")]
    assert [each.scheduled_at for each in record.metrics] == [AT, AT + timedelta(seconds=20)]


def test_a_queued_slot_is_told_when_the_daemon_stops_first(run_virtual: Any) -> None:
    async def main() -> None:
        runner = record.runner(slow, overlap="queue")
        runner.due("market", [AT])
        runner.due("market", [AT + timedelta(seconds=10)])
        await runner.drain(60)

    record = Record()
    run_virtual(main())
    assert [each[2] for each in record.skipped] == ["stopped before it ran"]
    assert len(record.metrics) == 1


@pytest.mark.parametrize(("misfire", "runs"), [("newest", 1), ("skip", 0)])
def test_a_slot_handed_over_late_is_run_as_its_spec_says(
    run_virtual: Any, misfire: str, runs: int
) -> None:
    async def main() -> None:
        runner = record.runner(failing(), misfire=misfire, misfire_grace_s=30.0)
        await asyncio.sleep(3600)
        runner.missed("market", [AT])
        runner.due("market", [AT + timedelta(seconds=each) for each in (600, 1200)])
        await runner.drain(1)

    record = Record()
    run_virtual(main())
    assert len(record.metrics) == runs
    assert {each[2] for each in record.skipped} == {"missed"}
    assert len(record.skipped) + runs == 3


def test_a_paused_job_skips_and_still_runs_when_asked_to(run_virtual: Any) -> None:
    async def main() -> None:
        runner = record.runner(slow)
        runner.pause(["market"])
        runner.due("market", [AT])
        runner.missed("market", [AT + timedelta(seconds=1)])
        runner.run_now("market", AT + timedelta(seconds=2))
        runner.run_now("market", AT + timedelta(seconds=3))
        await asyncio.sleep(60)
        runner.pause([])
        runner.due("market", [AT + timedelta(seconds=60)])
        await runner.drain(60)

    record = Record()
    run_virtual(main())
    assert [each[2] for each in record.skipped] == ["paused", "paused"]
    ran = [(each.scheduled_at - AT).total_seconds() for each in record.metrics]
    assert ran == [2, 3, 60]


def test_the_claim_is_tried_again_with_the_run(run_virtual: Any) -> None:
    record = Record()
    record.claims = [Unavailable("away"), Unavailable("away")]
    run_virtual(run_once(record.runner(failing(Unavailable("down")))))
    (metric,) = record.metrics
    assert (metric.outcome, metric.attempts, metric.waited_s) == ("ok", 4, 7.0)


def test_a_slot_that_nobody_could_claim_does_not_run_and_is_told(run_virtual: Any) -> None:
    async def must_not_run(_: Slot) -> int:
        raise AssertionError("ran without a claim")

    record = Record()
    record.is_leader = False
    record.claims = [Unavailable("away") for _ in range(9)]
    run_virtual(run_once(record.runner(must_not_run)))
    (metric,) = record.metrics
    assert (metric.outcome, metric.reason) == ("failed", "retries exhausted")


def test_a_run_that_outlives_its_leadership_is_for_the_next_leader_to_tell(
    run_virtual: Any,
) -> None:
    async def main() -> None:
        runner = record.runner(slow)
        runner.due("market", [AT])
        await asyncio.sleep(1)
        record.is_leader = False
        await runner.drain(0)
        record.is_leader = True
        record.claims = [StaleEpoch("another leads")]
        runner.due("market", [AT])
        await runner.drain(60)

    record = Record()
    run_virtual(main())
    assert record.metrics == []
    assert record.incidents == []


def test_an_empty_budget_ends_the_run_at_its_first_failure(run_virtual: Any) -> None:
    record = Record()
    record.budget = RetryBudget(ratio=0.5, most=1.0, kept=0.0)
    runner = record.runner(failing(*[Unavailable("down")] * 9))
    run_virtual(run_once(runner))
    (metric,) = record.metrics
    assert (metric.outcome, metric.reason, metric.attempts) == ("failed", "retry budget spent", 2)
    assert record.incidents[0].kind == "retry_exhausted"


def test_draining_waits_for_the_grace_and_then_cancels(run_virtual: Any) -> None:
    async def main() -> None:
        runner = record.runner(slow)
        runner.due("market", [AT])
        assert not await runner.drain(20)

    record = Record()
    run_virtual(main())
    (metric,) = record.metrics
    assert (metric.outcome, metric.duration_s) == ("cancelled", 20.0)


def test_a_slot_with_a_row_is_not_run_again(run_virtual: Any) -> None:
    record = Record(ours=False)
    run_virtual(run_once(record.runner(failing())))
    assert record.metrics == []


def test_retry_after_is_sat_out_inside_the_run(run_virtual: Any) -> None:
    record = Record()
    wait = RateLimited("slow", retry_after_s=12.5, wait_source="retry-after")
    run_virtual(run_once(record.runner(failing(wait))))
    assert (record.metrics[0].outcome, record.metrics[0].waited_s) == ("ok", 12.5)
