"""The examiner: nothing unknown, old or broken is ever shown as healthy."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from health.report import (
    COMPONENTS,
    Examiner,
    Explain,
    Live,
    Probe,
    Report,
    Status,
    Verdict,
    attempt,
    hms,
    worst,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
FINE = Verdict(status=Status.HEALTHY)
EXPLAIN = Explain(mask=lambda text: text.replace("s3cret", "***"))


class Time:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s


async def answers() -> str:
    return "facts"


def fine(facts: object, now: datetime) -> Verdict:
    return FINE


def probe(
    component: str = "upbit",
    gather: Callable[[], Awaitable[Any]] = answers,
    judge: Callable[[Any, datetime], Verdict] = fine,
    deadline_s: float = 5.0,
) -> Probe[Any]:
    return Probe(
        component=component, gather=gather, judge=judge, period_s=10.0, deadline_s=deadline_s
    )


def examiner(
    time: Time,
    *special: Probe[Any] | Live[Any],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Examiner:
    """An examiner whose other components are live and well."""
    names = {each.component for each in special}
    others = [
        Live(component=name, read=lambda: None, judge=fine)
        for name in COMPONENTS
        if name not in names
    ]
    return Examiner(
        [*special, *others], explain=EXPLAIN, clock=time.now, monotonic=time.monotonic, sleep=sleep
    )


async def upbit_after(time: Time, check: Probe[Any]) -> tuple[Examiner, Report]:
    made = examiner(time, check)
    await made.probe("upbit")
    return made, made.snapshot()


def test_a_probe_that_never_ran_is_not_healthy() -> None:
    upbit = examiner(Time(), probe()).snapshot().components["upbit"]
    assert (upbit.status, upbit.cause) == (Status.UNHEALTHY, "not checked yet")
    assert upbit.checked_at is None


async def test_an_answered_probe_is_what_its_check_says() -> None:
    time = Time()
    _, report = await upbit_after(time, probe())
    upbit = report.components["upbit"]
    assert (upbit.status, upbit.cause, upbit.checked_at) == (Status.HEALTHY, None, NOW)
    assert upbit.latency_ms is not None
    assert report.status is Status.HEALTHY


async def test_the_check_sees_the_moment_of_asking() -> None:
    def aged(facts: object, now: datetime) -> Verdict:
        return Verdict(status=Status.DEGRADED, cause=f"{hms((now - NOW).total_seconds())} old")

    time = Time()
    made, _ = await upbit_after(time, probe(judge=aged))
    time.passed_s = 12
    assert made.snapshot().components["upbit"].cause == "0:00:12 old"


async def test_a_result_older_than_its_limit_is_itself_a_fault() -> None:
    time = Time()
    made, _ = await upbit_after(time, probe())
    time.passed_s = 25  # two periods and a deadline
    assert made.snapshot().components["upbit"].status is Status.HEALTHY
    time.passed_s = 26
    upbit = made.snapshot().components["upbit"]
    assert upbit.status is Status.UNHEALTHY
    assert upbit.cause == "last checked 0:00:26 ago, limit 0:00:25"
    assert upbit.checked_at == NOW


async def test_an_old_result_keeps_the_cause_it_had() -> None:
    ill = Verdict(status=Status.DEGRADED, cause="slow")
    time = Time()
    made, _ = await upbit_after(time, probe(judge=lambda _facts, _now: ill))
    time.passed_s = 60
    cause = made.snapshot().components["upbit"].cause
    assert cause == "last checked 0:01:00 ago, limit 0:00:25; slow"


async def test_a_raising_probe_is_unhealthy_with_type_and_masked_message() -> None:
    async def fails() -> None:
        raise ConnectionError("key s3cret\n refused")

    _, report = await upbit_after(Time(), probe(gather=fails))
    upbit = report.components["upbit"]
    assert (upbit.status, upbit.cause) == (Status.UNHEALTHY, "ConnectionError: key *** refused")
    assert report.status is Status.UNHEALTHY


async def test_a_hanging_probe_ends_at_its_deadline() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    _, report = await upbit_after(Time(), probe(gather=hangs, deadline_s=0.01))
    assert report.components["upbit"].cause == "no answer within 0.01 s"


async def test_a_timeout_of_the_probes_own_is_told_as_such() -> None:
    async def times_out() -> None:
        raise TimeoutError

    _, report = await upbit_after(Time(), probe(gather=times_out))
    assert report.components["upbit"].cause == "TimeoutError"


async def test_a_later_answer_replaces_the_failure() -> None:
    outcomes = iter([ConnectionError("gone"), None])

    async def second_time() -> None:
        if (error := next(outcomes)) is not None:
            raise error

    made, before = await upbit_after(Time(), probe(gather=second_time))
    assert before.status is Status.UNHEALTHY
    await made.probe("upbit")
    assert made.snapshot().status is Status.HEALTHY


async def test_a_check_that_raises_is_not_green() -> None:
    def broken(facts: object, now: datetime) -> Verdict:
        raise KeyError("s3cret")

    _, report = await upbit_after(Time(), probe(judge=broken))
    assert report.components["upbit"].cause == "the check itself failed: KeyError: '***'"
    assert report.status is Status.UNHEALTHY


def test_live_facts_are_read_at_the_moment_of_asking() -> None:
    reads = iter([Verdict(status=Status.HEALTHY), Verdict(status=Status.DEGRADED, cause="late")])
    live = Live(component="scheduler", read=lambda: next(reads), judge=lambda facts, _now: facts)
    made = examiner(Time(), live)
    assert made.snapshot().status is Status.HEALTHY
    assert made.snapshot().components["scheduler"].cause == "late"


def test_live_facts_that_cannot_be_read_are_not_green() -> None:
    def broken() -> None:
        raise RuntimeError("no board")

    live = Live(component="scheduler", read=broken, judge=fine)
    report = examiner(Time(), live).snapshot()
    assert report.components["scheduler"].cause == "the check itself failed: RuntimeError: no board"


async def test_a_verdict_without_a_cause_gets_one_unless_it_is_healthy() -> None:
    silent = Verdict(status=Status.DEGRADED)
    _, report = await upbit_after(Time(), probe(judge=lambda _facts, _now: silent))
    assert report.components["upbit"].cause == "no cause was given"


async def test_a_verdict_may_name_its_own_latency() -> None:
    verdict = Verdict(status=Status.HEALTHY, latency_ms=12.34)
    _, report = await upbit_after(Time(), probe(judge=lambda _facts, _now: verdict))
    assert report.components["upbit"].as_dict()["latency_ms"] == 12.3


@pytest.mark.parametrize("names", [COMPONENTS[:5], (*COMPONENTS, "redis"), (*COMPONENTS, "upbit")])
def test_exactly_the_six_components_have_to_be_given(names: tuple[str, ...]) -> None:
    checks = [Live(component=name, read=lambda: None, judge=fine) for name in names]
    with pytest.raises(ValueError, match="needs one check"):
        Examiner(checks, explain=EXPLAIN, clock=Time().now)


@dataclass
class Rounds:
    """A sleep that lets `left` rounds pass and then waits for ever."""

    left: int
    slept_s: list[float]
    done: asyncio.Event

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if len(self.slept_s) == self.left:
            self.done.set()
            await asyncio.Event().wait()


async def test_run_probes_again_and_again_and_ends_by_cancellation() -> None:
    asked: list[None] = []

    async def count() -> None:
        asked.append(None)

    rounds = Rounds(3, [], asyncio.Event())
    running = asyncio.create_task(examiner(Time(), probe(gather=count), sleep=rounds).run())
    await rounds.done.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(asked) == 3
    assert rounds.slept_s == [10.0, 10.0, 10.0]


async def test_a_hanging_probe_does_not_delay_another() -> None:
    asked = asyncio.Event()

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def answers_now() -> None:
        asked.set()

    made = examiner(Time(), probe(gather=hangs), probe("gemini", gather=answers_now))
    running = asyncio.create_task(made.run())
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_snapshot_from_another_thread_needs_no_loop() -> None:
    made, _ = await upbit_after(Time(), probe())
    seen: list[Status] = []
    # the loop is held by join while the thread asks
    asking = threading.Thread(target=lambda: seen.append(made.snapshot().status))
    asking.start()
    asking.join()
    assert seen == [Status.HEALTHY]


async def test_probing_a_live_component_is_nothing() -> None:
    made = examiner(Time())
    await made.probe("upbit")
    assert made.snapshot().status is Status.HEALTHY


async def test_cancelling_an_attempt_cancels_it() -> None:
    started = asyncio.Event()

    async def hangs() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(attempt(hangs, 60, EXPLAIN))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_long_message_is_cut() -> None:
    text = EXPLAIN.text(ValueError("x" * 1000))
    assert len(text) == 300
    assert text.endswith("…")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], Status.UNHEALTHY),
        ([Status.HEALTHY, Status.HEALTHY], Status.HEALTHY),
        ([Status.HEALTHY, Status.DEGRADED], Status.DEGRADED),
        ([Status.UNHEALTHY, Status.DEGRADED], Status.UNHEALTHY),
    ],
)
def test_the_worst_counts(statuses: list[Status], expected: Status) -> None:
    assert worst(statuses) is expected


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (4323, "1:12:03"), (93600.9, "26:00:00"), (-5, "0:00:00")],
)
def test_spans_are_hours_minutes_seconds(seconds: float, shown: str) -> None:
    assert hms(seconds) == shown


async def test_a_probe_that_ignores_its_end_does_not_hold_its_answer_back() -> None:
    stubborn = asyncio.Event()

    async def clings() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await stubborn.wait()
            raise RuntimeError("late") from None

    result = await attempt(clings, 0.01, Explain(mask=str))
    assert result.error == "no answer within 0.01 s"
    stubborn.set()
    await asyncio.sleep(0)


async def test_the_end_of_the_examiner_ends_the_call_under_way() -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(attempt(waits, 60, Explain(mask=str)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended.is_set()
