"""A key that expires soon is told of in time; a new one ends the alert."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from daemon.alerting.key_expiry import AGAIN_S, EVERY_S, KeyExpiryMonitor
from jobs.core.errors import Unavailable
from jobs.core.job import Incident
from jobs.upbit.wire import ApiKey

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)


class Told:
    """A notifier that keeps what it was told."""

    def __init__(self) -> None:
        self.incidents: list[Incident] = []
        self.resolved: list[str] = []

    async def notify(self, incident: Incident) -> None:
        self.incidents.append(incident)

    async def resolve(self, incident: str) -> None:
        self.resolved.append(incident)


def watch(told: Told, *keys: ApiKey, away: int = 0, right: bool | None = False) -> KeyExpiryMonitor:
    answers = iter(range(away))

    async def list_keys() -> Sequence[ApiKey]:
        if next(answers, None) is not None:
            raise Unavailable("away")
        return keys

    async def may_withdraw() -> bool | None:
        return right

    return KeyExpiryMonitor(
        access_key="OURS",
        list_keys=list_keys,
        may_withdraw=may_withdraw,
        notifier=told,
        clock=lambda: NOW,
    )


def key(left: timedelta, access_key: str = "OURS") -> ApiKey:
    return ApiKey(access_key=access_key, expire_at=NOW + left)


@pytest.mark.parametrize(
    ("left", "severity", "says"),
    [
        (timedelta(days=13), "warning", "in 13 days, on 2026-12-03 03:00 UTC"),
        (timedelta(days=1, hours=1), "critical", "in 1 days"),
        (timedelta(hours=-1), "critical", "It expires already"),
    ],
)
async def test_a_key_that_expires_soon_is_told_of(
    left: timedelta, severity: str, says: str
) -> None:
    told = Told()
    await watch(told, key(timedelta(days=300), "ANOTHER"), key(left)).look()
    (incident,) = told.incidents
    assert (incident.kind, incident.severity) == ("key_expiring", severity)
    assert says in incident.message
    assert "OURS" not in incident.message + incident.title


@pytest.mark.parametrize(
    ("right", "told_of", "resolved"),
    [
        (True, ["withdraw_permission"], []),
        (False, [], ["withdraw_permission"]),
        (None, [], []),
    ],
)
async def test_a_key_that_could_withdraw_is_told_of(
    right: bool | None, told_of: list[str], resolved: list[str]
) -> None:
    told = Told()
    await watch(told, right=right).look_at_rights()
    assert [(each.kind, each.severity) for each in told.incidents] == [
        (kind, "critical") for kind in told_of
    ]
    assert told.resolved == resolved


async def test_a_key_with_time_left_ends_the_alert() -> None:
    told = Told()
    await watch(told, key(timedelta(days=15))).look()
    assert (told.incidents, told.resolved) == ([], ["key_expiring"])


async def test_a_list_without_our_key_says_nothing() -> None:
    told = Told()
    await watch(told, key(timedelta(days=1), "ANOTHER")).look()
    assert (told.incidents, told.resolved) == ([], [])


async def test_an_exchange_that_is_away_is_asked_again_soon() -> None:
    told, waits = Told(), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watch(told, key(timedelta(days=1)), away=1).keep(sleep=sleep)
    assert waits == [AGAIN_S, EVERY_S, EVERY_S]
    assert len(told.incidents) == 2


async def test_a_bug_in_looking_is_a_line_and_looked_at_again() -> None:
    waits: list[float] = []

    async def list_keys() -> Sequence[ApiKey]:
        if not waits:
            raise RecursionError
        return [key(timedelta(days=300))]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise asyncio.CancelledError

    async def may_withdraw() -> bool:
        return False

    watching = KeyExpiryMonitor(
        access_key="OURS",
        list_keys=list_keys,
        may_withdraw=may_withdraw,
        notifier=Told(),
        clock=lambda: NOW,
    )
    with pytest.raises(asyncio.CancelledError):
        await watching.keep(sleep=sleep)
    assert waits == [AGAIN_S, EVERY_S]
