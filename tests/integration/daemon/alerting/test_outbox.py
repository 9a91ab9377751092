"""The outbox on a real Postgres: stored, folded, told, told again, recovered."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.alerting.advice import ADVICE
from daemon.alerting.channels import Undelivered
from daemon.alerting.outbox import Listeners, Origin, Outbox, _Waiting
from jobs.core.errors import Unavailable
from jobs.core.job import Incident, Slot, current_slot
from jobs.store import alerts as store
from jobs.store.db import Database

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
ORDER = Incident(
    kind="order_unknown",
    severity="critical",
    incident="order_unknown:KRW-BTC",
    title="An order's fate is unknown",
    message="Nobody has said what became of it",
    job="orders",
    run_id="r1",
    attempts=1,
    error_type="Ambiguous",
    error="timeout",
)


class Recorder:
    """A hook that keeps what it was told, or refuses as long as `refusals` last."""

    def __init__(self, name: str = "hook", min_severity: str = "info", refusals: int = 0) -> None:
        self.name = name
        self.min_severity = min_severity
        self.timeout_s = 1.0
        self.refusals = refusals
        self.told: list[dict[str, Any]] = []

    async def send(self, body: Mapping[str, Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Undelivered("not today")
        self.told.append(json.loads(json.dumps(body)))


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def outbox(db: Database, clock: Clock, *hooks: Recorder, **options: Any) -> Outbox:
    return Outbox(
        db,
        hooks,
        Origin(host="box", instance="default"),
        dedupe=timedelta(minutes=15),
        clock=clock,
        **options,
    )


async def rows(db: Database, query: str) -> list[Any]:
    async with db.begin() as tx:
        return list((await tx.execute(text(query))).all())


class Away(Database):
    """The same database as long as nobody can reach it."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        raise Unavailable("the database does not answer")
        yield await self.engine.connect()  # type: ignore[unreachable]


def away(db: Database) -> Database:
    return Away(engine=db.engine, checkout=db.checkout, pool_stats=db.pool_stats)


async def test_a_hook_gets_the_body_of_the_contract(database: Database, clock: Clock) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    (alert_id,) = (await rows(database, "SELECT id FROM alerts"))[0]
    assert hook.told == [
        {
            "id": alert_id,
            "ts": "2026-11-20T03:00:00.000000Z",
            "kind": "order_unknown",
            "severity": "critical",
            "title": "An order's fate is unknown",
            "message": "Nobody has said what became of it",
            "job": "orders",
            "run_id": "r1",
            "attempts": 1,
            "error_type": "Ambiguous",
            "error": "timeout",
            "market": None,
            "order_id": None,
            "identifier": None,
            "advice": ADVICE["order_unknown"],
            "occurrences": 1,
            "first_at": "2026-11-20T03:00:00.000000Z",
            "host": "box",
            "instance": "default",
        }
    ]


async def test_an_alert_is_stored_before_any_hook_hears_of_it(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    await outbox(database, clock, hook).notify(ORDER)
    assert hook.told == []
    assert await rows(database, "SELECT kind, delivered_at FROM alerts") == [
        ("order_unknown", None)
    ]


async def test_a_new_process_delivers_what_the_old_one_stored(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    await outbox(database, clock, hook).notify(ORDER)
    await outbox(database, clock, hook).deliver_due()
    assert len(hook.told) == 1
    assert await rows(database, "SELECT delivered_at FROM alerts") == [(START,)]


async def test_repeats_fold_into_one_alert_and_are_not_sent_again(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    for _ in range(3):
        await box.notify(ORDER)
        await box.deliver_due()
        clock.forward(seconds=10)
    assert await rows(database, "SELECT occurrences FROM alerts") == [(3,)]
    assert [body["occurrences"] for body in hook.told] == [1]


async def test_a_repeat_after_the_dedupe_time_is_sent_again_with_its_count(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    clock.forward(minutes=16)
    await box.notify(replace(ORDER, error="reset"))
    await box.deliver_due()
    assert [(body["occurrences"], body["error"]) for body in hook.told] == [
        (1, "timeout"),
        (2, "reset"),
    ]
    assert hook.told[1]["first_at"] == "2026-11-20T03:00:00.000000Z"
    assert hook.told[1]["ts"] == "2026-11-20T03:16:00.000000Z"


async def test_recovered_follows_and_a_later_incident_is_a_new_alert(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.notify(ORDER)
    await box.deliver_due()
    clock.forward(minutes=2)
    await box.resolve(ORDER.incident)
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    await box.notify(ORDER)
    await box.deliver_due()
    assert [body["kind"] for body in hook.told] == ["order_unknown", "recovered", "order_unknown"]
    assert hook.told[1]["title"] == "Recovered: An order's fate is unknown"
    assert hook.told[1]["message"] == "It is over after 0:02:00; it happened 2 times."
    assert hook.told[0]["id"] != hook.told[2]["id"]


async def test_resolving_what_never_happened_says_nothing(database: Database, clock: Clock) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.resolve("order_unknown:KRW-ETH")
    await box.deliver_due()
    assert hook.told == []


async def test_a_refused_alert_is_tried_again_after_a_growing_wait(
    database: Database, clock: Clock
) -> None:
    hook = Recorder(refusals=2)
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    await box.deliver_due()
    assert await rows(database, "SELECT attempts, last_error FROM alert_deliveries") == [
        (1, "not today")
    ]
    clock.forward(seconds=5)
    await box.deliver_due()
    clock.forward(seconds=9)
    await box.deliver_due()
    assert hook.told == []
    clock.forward(seconds=1)
    await box.deliver_due()
    assert len(hook.told) == 1


async def test_recovered_waits_until_the_hook_has_heard_of_the_trouble(
    database: Database, clock: Clock
) -> None:
    hook = Recorder(refusals=1)
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    assert hook.told == []
    clock.forward(seconds=5)
    await box.deliver_due()
    assert [body["kind"] for body in hook.told] == ["order_unknown", "recovered"]


async def test_a_failing_hook_does_not_hold_back_the_others(
    database: Database, clock: Clock
) -> None:
    broken, good = Recorder("broken", refusals=99), Recorder("good")
    box = outbox(database, clock, broken, good)
    await box.notify(ORDER)
    await box.deliver_due()
    assert len(good.told) == 1
    assert await rows(database, "SELECT delivered_at FROM alerts") == [(None,)]


async def test_a_hook_hears_only_what_is_severe_enough_and_of_its_end(
    database: Database, clock: Clock
) -> None:
    loud, pager = Recorder("loud"), Recorder("pager", min_severity="critical")
    box = outbox(database, clock, loud, pager)
    await box.notify(replace(ORDER, severity="warning"))
    await box.deliver_due()
    assert (len(loud.told), len(pager.told)) == (1, 0)
    await box.notify(ORDER)
    await box.deliver_due()
    assert [body["severity"] for body in pager.told] == ["critical"]
    await box.notify(replace(ORDER, severity="info"))
    assert await rows(database, "SELECT severity FROM alerts") == [("critical",)]
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    assert pager.told[-1]["kind"] == "recovered"


async def test_two_processes_deliver_an_alert_once(database: Database, clock: Clock) -> None:
    hook = Recorder()
    boxes = [outbox(database, clock, hook) for _ in range(4)]
    await boxes[0].notify(ORDER)
    await asyncio.gather(*(box.deliver_due() for box in boxes))
    assert len(hook.told) == 1


async def test_an_attempt_that_never_reported_back_is_made_again_after_its_lease(
    database: Database, clock: Clock
) -> None:
    class Killed(Recorder):
        async def send(self, body: Mapping[str, Any]) -> None:
            raise asyncio.CancelledError

    box = outbox(database, clock, Killed())
    await box.notify(ORDER)
    with pytest.raises(asyncio.CancelledError):
        await box.deliver_due()
    hook = Recorder()
    second = outbox(database, clock, hook)
    await second.deliver_due()
    assert hook.told == []
    clock.forward(seconds=62)
    await second.deliver_due()
    assert len(hook.told) == 1


async def test_without_the_database_a_critical_alert_goes_out_once_and_is_stored_later(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(away(database), clock, hook)
    await box.notify(ORDER)
    await box.notify(ORDER)
    await box.notify(replace(ORDER, severity="warning", incident="other"))
    await box.deliver_due()
    await box.deliver_due()
    clock.forward(hours=1)
    await box.deliver_due()
    assert [(body["id"], body["occurrences"]) for body in hook.told] == [(None, 2)]
    assert box.waiting == 2
    box._db = database
    await box.deliver_due()
    assert box.waiting == 0
    assert await rows(database, "SELECT incident, occurrences FROM alerts ORDER BY id") == [
        ("order_unknown:KRW-BTC", 2),
        ("other", 1),
    ]
    assert [body["severity"] for body in hook.told] == ["critical", "warning"]


async def test_an_incident_that_came_and_went_without_the_database_still_recovers(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(away(database), clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    await box.resolve(ORDER.incident)
    await box.notify(ORDER)
    box._db = database
    await box.deliver_due()
    assert [body["kind"] for body in hook.told] == ["order_unknown", "recovered", "order_unknown"]


async def test_a_hook_that_fails_without_the_database_is_tried_again(
    database: Database, clock: Clock
) -> None:
    hook = Recorder(refusals=1)
    box = outbox(away(database), clock, hook)
    await box.notify(ORDER)
    await box.deliver_due()
    await box.deliver_due()
    assert hook.told == []
    clock.forward(seconds=5)
    await box.deliver_due()
    assert len(hook.told) == 1


async def test_memory_is_bounded_while_the_database_is_away(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.alerting.outbox.MOST_WAITING", 3)
    box = outbox(away(database), clock)
    for number in range(5):
        await box.notify(replace(ORDER, incident=f"i{number}"))
    assert box.waiting == 3


async def test_an_alert_put_back_pushes_no_newer_one_out(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is on its way to the database others come, and then it is put back."""
    monkeypatch.setattr("daemon.alerting.outbox.MOST_WAITING", 3)
    box: Outbox

    class Refusing(Away):
        @asynccontextmanager
        async def begin(self) -> AsyncIterator[AsyncConnection]:
            if box.waiting == 2:
                box._queue(_Waiting(incident=replace(ORDER, incident="new"), key="new", at=START))
            raise Unavailable("the database does not answer")
            yield await self.engine.connect()  # type: ignore[unreachable]

    gone = Refusing(
        engine=database.engine, checkout=database.checkout, pool_stats=database.pool_stats
    )
    box = outbox(gone, clock)
    for number in range(3):
        box._queue(_Waiting(incident=ORDER, key=f"i{number}", at=START))
    await box.deliver_due()
    assert [each.key for each in box._waiting] == ["i0", "i1", "i2", "new"]


async def test_two_hooks_that_take_an_alert_at_once_leave_it_delivered(database: Database) -> None:
    telling = store.Telling(hooks={"a": "info", "b": "info"}, dedupe=timedelta(minutes=15))
    for number in range(25):
        incident = replace(ORDER, incident=f"i{number}")
        raised = await store.raise_alert(database, incident, telling, START)
        await asyncio.gather(
            *(store.delivered(database, raised.id, hook, START) for hook in ("a", "b"))
        )
    assert await rows(database, "SELECT count(*) FROM alerts WHERE delivered_at IS NULL") == [(0,)]


async def test_an_alert_is_delivered_when_its_last_untold_hook_is_dropped(
    database: Database,
) -> None:
    telling = store.Telling(hooks={"a": "info", "b": "info"}, dedupe=timedelta(minutes=15))
    raised = await store.raise_alert(database, ORDER, telling, START)
    await store.delivered(database, raised.id, "a", START)
    assert await store.close_silently(database, ORDER.incident, START) == {"b": ""}
    assert await rows(database, "SELECT delivered_at IS NULL FROM alerts") == [(False,)]


async def test_an_alert_that_nobody_heard_is_not_delivered(database: Database) -> None:
    telling = store.Telling(hooks={"a": "info"}, dedupe=timedelta(minutes=15))
    await store.raise_alert(database, ORDER, telling, START)
    await store.close_silently(database, ORDER.incident, START)
    assert await rows(database, "SELECT delivered_at IS NULL FROM alerts") == [(True,)]


async def test_an_alert_that_everybody_heard_at_once_is_delivered(
    database: Database, clock: Clock
) -> None:
    box = outbox(database, clock, Recorder())
    await box.notify(ORDER, told=await box.tell_at_once(ORDER))
    assert await rows(database, "SELECT delivered_at IS NULL FROM alerts") == [(False,)]


async def test_secrets_are_masked_before_they_are_stored_or_sent(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook, mask=lambda text: text.replace("hunter2hunter2", "***"))
    await box.notify(replace(ORDER, error="key hunter2hunter2\0", message="hunter2hunter2"))
    await box.deliver_due()
    stored = await rows(database, "SELECT body::text FROM alerts")
    assert "hunter2" not in f"{stored}{hook.told}"


async def test_an_unheard_of_fault_of_a_hook_is_a_failed_delivery(
    database: Database, clock: Clock
) -> None:
    class Broken(Recorder):
        async def send(self, body: Mapping[str, Any]) -> None:
            raise ZeroDivisionError("oops")

    sent: list[tuple[str, bool]] = []
    heard: list[str] = []
    listeners = Listeners(
        raised=lambda incident: heard.append(incident.kind),
        sent=lambda hook, taken: sent.append((hook, taken)),
    )
    box = outbox(database, clock, Broken(), listeners=listeners)
    await box.notify(ORDER)
    await box.deliver_due()
    assert await rows(database, "SELECT last_error FROM alert_deliveries") == [
        ("ZeroDivisionError: oops",)
    ]
    assert (heard, sent) == (["order_unknown"], [("hook", False)])


async def test_an_alert_that_the_database_refuses_is_dropped_and_blocks_nothing(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.notify(replace(ORDER, severity="loud", incident="bad"))  # type: ignore[arg-type]
    await box.notify(ORDER)
    await box.deliver_due()
    assert [body["kind"] for body in hook.told] == ["order_unknown"]
    assert box.waiting == 0


async def test_the_delivery_task_wakes_up_for_a_new_alert(database: Database, clock: Clock) -> None:
    hook = Recorder()
    passed = asyncio.Event()
    box = outbox(database, clock, hook, listeners=Listeners(passed=passed.set))
    task = asyncio.create_task(box.deliver_forever())
    async with asyncio.timeout(30):
        await passed.wait()
        await box.notify(ORDER)
        while not hook.told:
            passed.clear()
            await passed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Hanging(Database):
    """The same database as long as it answers nobody, as a frozen server does."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        await asyncio.Event().wait()
        async with super().begin() as connection:
            yield connection


async def test_a_database_that_hangs_holds_no_critical_alert_back(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.alerting.outbox.STORE_TIMEOUT_S", 0.01)
    hanging = Hanging(
        engine=database.engine, checkout=database.checkout, pool_stats=database.pool_stats
    )
    hook = Recorder()
    box = outbox(hanging, clock, hook)
    await box.deliver_due()  # the pass that was asleep in the database when nothing waited
    await box.notify(ORDER)
    await box.deliver_due()
    await box.deliver_due()
    assert [body["kind"] for body in hook.told] == ["order_unknown"]


async def test_a_storm_of_errors_is_at_most_three_messages_and_the_recovery(
    database: Database, clock: Clock
) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    for _ in range(10):  # ten thousand errors within half an hour
        await asyncio.gather(*(box.notify(ORDER) for _ in range(1000)))
        await box.deliver_due()
        clock.forward(minutes=3)
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    kinds = [body["kind"] for body in hook.told]
    assert kinds[-1] == "recovered"
    assert len(kinds) - 1 <= 3
    assert hook.told[-1]["occurrences"] == 10_000


async def test_what_was_told_at_once_is_stored_later_without_being_told_again(
    database: Database, clock: Clock
) -> None:
    hook, picky = Recorder("loud"), Recorder("picky", refusals=1)
    box = outbox(database, clock, hook, picky)
    told = await box.tell_at_once(ORDER)
    assert told == {"loud"}
    await box.notify(ORDER, told=told)
    await box.deliver_due()
    assert [len(each.told) for each in (hook, picky)] == [1, 1]
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    assert [each.told[-1]["kind"] for each in (hook, picky)] == ["recovered"] * 2


async def test_an_alert_names_the_run_that_it_comes_from(database: Database, clock: Clock) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    of_nobody = replace(ORDER, job=None, run_id=None)

    async def in_a_run() -> None:
        current_slot.set(Slot(job="orders", scheduled_at=START, run_id="r7"))
        await box.notify(of_nobody)

    await asyncio.create_task(in_a_run())
    await box.notify(replace(of_nobody, incident="other"))
    await box.deliver_due()
    assert [(each["job"], each["run_id"]) for each in hook.told] == [("orders", "r7"), (None, None)]


async def test_what_is_over_asks_for_nothing(database: Database, clock: Clock) -> None:
    hook = Recorder()
    box = outbox(database, clock, hook)
    await box.notify(ORDER)
    await box.resolve(ORDER.incident)
    await box.deliver_due()
    assert hook.told[1]["advice"] == ADVICE["recovered"]
