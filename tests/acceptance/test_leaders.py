"""What outlives a daemon, and who follows it: real processes, killed and frozen."""

import signal

from fixtures.process import Start
from fixtures.venue import Venue

BLOCKED = {"error": {"name": 418, "message": "Blocked for 600 seconds due to too many requests."}}


def test_a_ban_outlives_a_killed_daemon(start_daemon: Start, venue: Venue, dsn: str) -> None:
    venue.fault(path="/v1/ticker", action="answer", status=418, body=BLOCKED)
    first = start_daemon(database=dsn)
    first.until("job.metric", outcome="deferred")
    first.kill()
    second = start_daemon(database=dsn)
    line = second.until("gate.restored")
    assert line["gate"].startswith("upbit")
    second.kill()


def test_a_frozen_leader_is_replaced_and_steps_down_when_it_thaws(
    start_daemon: Start, dsn: str
) -> None:
    leader = start_daemon(database=dsn)
    leader.ready()
    standby = start_daemon(database=dsn)
    standby.until("leader.standby")
    leader.signal(signal.SIGSTOP)
    standby.until("leader.silent", epoch=1)
    standby.until("daemon.ready", epoch=2)
    leader.signal(signal.SIGCONT)
    leader.until("leader.standby")
    assert leader.get("/health").json()["role"] == "standby"
    assert leader.stop() == 0
    assert standby.stop() == 0
