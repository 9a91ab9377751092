"""A stuck loop is told of from a thread, and stored with its end once the loop moves again."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon.alerting.outbox import Origin, Outbox
from daemon.alerting.stall_alarm import StallAlarm
from health.watchdog import Heartbeats
from jobs.store.db import Database

if TYPE_CHECKING:
    from loguru import Record


class Ear:
    """A hook that keeps the kinds it was told, or breaks."""

    name = "ear"
    min_severity = "info"
    timeout_s = 1.0

    def __init__(self, *, breaks: bool = False) -> None:
        self.kinds: list[str] = []
        self.breaks = breaks

    async def send(self, body: Mapping[str, Any]) -> None:
        if self.breaks:
            raise SystemError("not even that")
        self.kinds.append(body["kind"])


def outbox(database: Database, ear: Ear) -> Outbox:
    return Outbox(
        database,
        [ear],
        Origin(host="box", instance="default"),
        dedupe=timedelta(minutes=15),
        clock=lambda: datetime.now(UTC),
    )


def silent(lane: str) -> Heartbeats:
    now_s = [0.0]
    beats = Heartbeats(lambda: now_s[0])
    beats.expect(lane, 8)
    now_s[0] = 9.0
    return beats


async def until_stored(box: Outbox, ear: Ear, kinds: list[str]) -> None:
    while ear.kinds != kinds:
        await asyncio.sleep(0)
        await box.deliver_due()


async def test_a_stuck_loop_is_told_at_once_and_its_end_later(database: Database) -> None:
    ear = Ear()
    box = outbox(database, ear)
    words = StallAlarm(box, silent("loop"))
    await asyncio.to_thread(words.silent, "no progress of loop for 0:00:09, limit 0:00:08")
    assert ear.kinds == ["scheduler_stalled"]
    await asyncio.to_thread(words.moves)
    await until_stored(box, ear, ["scheduler_stalled", "recovered"])
    await asyncio.to_thread(words.moves)
    await box.deliver_due()
    assert ear.kinds == ["scheduler_stalled", "recovered"]


async def test_of_other_lanes_the_vigil_tells(database: Database) -> None:
    ear = Ear()
    words = StallAlarm(outbox(database, ear), silent("writer"))
    await asyncio.to_thread(words.silent, "no progress of writer")
    await asyncio.to_thread(words.moves)
    assert ear.kinds == []


async def test_a_hook_that_breaks_leaves_the_watchdog_alone(
    database: Database, log_records: "list[Record]"
) -> None:
    ear = Ear(breaks=True)
    box = outbox(database, ear)
    await asyncio.to_thread(StallAlarm(box, silent("loop")).silent, "no progress of loop")
    events = [record["extra"].get("event") for record in log_records]
    assert "alert.failed" in events
    ear.breaks = False
    await until_stored(box, ear, ["scheduler_stalled"])
