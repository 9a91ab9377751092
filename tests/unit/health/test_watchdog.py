"""Silence of a critical lane is noticed, told once, and the watchdog is not fed."""

import asyncio
import threading

import pytest

from health.watchdog import Heartbeats, Watchdog, pulse


class Time:
    """A monotonic clock that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def beats(time: Time) -> Heartbeats:
    """Two critical lanes and one that is not."""
    made = Heartbeats(time)
    made.expect("loop", 10)
    made.expect("job:market", 60)
    made.expect("alerts", 5, critical=False)
    return made


def test_nobody_expected_is_not_alive() -> None:
    assert Heartbeats().alive() == (False, "no lane has reported progress")


def test_lanes_are_alive_up_to_their_limits(beats: Heartbeats, time: Time) -> None:
    time.now_s += 10
    assert beats.alive() == (True, None)
    time.now_s += 0.5
    assert beats.alive() == (False, "no progress of loop for 0:00:10, limit 0:00:10")


def test_a_heartbeat_starts_the_limit_anew(beats: Heartbeats, time: Time) -> None:
    time.now_s += 9
    beats.beat("loop")
    time.now_s += 9
    assert beats.alive() == (True, None)


def test_every_silent_lane_is_named(beats: Heartbeats, time: Time) -> None:
    time.now_s += 61
    alive, cause = beats.alive()
    assert not alive
    assert cause == (
        "no progress of loop for 0:01:01, limit 0:00:10; "
        "no progress of job:market for 0:01:01, limit 0:01:00"
    )


def test_a_lane_that_is_not_critical_only_shows_in_the_list(beats: Heartbeats, time: Time) -> None:
    time.now_s += 9
    assert beats.alive() == (True, None)
    [alerts] = [lane for lane in beats.lanes() if lane.name == "alerts"]
    assert (alerts.age_s, alerts.limit_s, alerts.critical) == (9, 5, False)


def test_a_longer_pause_can_be_announced_for_once(beats: Heartbeats, time: Time) -> None:
    beats.forget("loop")
    beats.beat("job:market", next_within_s=3600)
    time.now_s += 3600
    assert beats.alive() == (True, None)
    beats.beat("job:market")
    time.now_s += 61
    assert not beats.alive()[0]


def test_a_forgotten_lane_is_not_missed(beats: Heartbeats, time: Time) -> None:
    beats.forget("loop")
    beats.forget("loop")
    beats.beat("loop")
    time.now_s += 30
    assert beats.alive() == (True, None)


async def test_pulse_beats_for_the_loop_each_period(beats: Heartbeats, time: Time) -> None:
    rounds: list[float] = []

    async def sleep(seconds: float) -> None:
        rounds.append(seconds)
        time.now_s += 8
        if len(rounds) == 4:
            raise asyncio.CancelledError

    beats.forget("job:market")
    with pytest.raises(asyncio.CancelledError):
        await pulse(beats, period_s=0.5, sleep=sleep)
    assert rounds == [0.5] * 4
    assert beats.alive() == (True, None)


def test_the_watchdog_is_fed_only_while_all_is_alive(beats: Heartbeats, time: Time) -> None:
    fed: list[float] = []
    told: list[str] = []
    dog = Watchdog(beats, ping=lambda: fed.append(time.now_s), period_s=60, on_silence=told.append)
    assert dog.look()
    time.now_s += 11
    assert not dog.look()
    assert not dog.look()
    assert fed == [100.0]
    assert told == ["no progress of loop for 0:00:11, limit 0:00:10"]
    beats.beat("loop")
    assert dog.look()
    time.now_s += 11
    assert not dog.look()
    assert len(told) == 2


def test_the_thread_looks_until_it_is_stopped(beats: Heartbeats) -> None:
    twice = threading.Semaphore(0)
    dog = Watchdog(beats, ping=twice.release, period_s=0.001)
    dog.start()
    assert twice.acquire(timeout=5)
    assert twice.acquire(timeout=5)
    dog.stop()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


def test_a_watchdog_that_never_started_can_be_stopped(beats: Heartbeats) -> None:
    Watchdog(beats, ping=lambda: None, period_s=60).stop()
