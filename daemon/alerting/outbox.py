"""The alert outbox: stored before sent, told at least once, folded while an incident lasts.

With the database away incidents wait in memory, and critical ones go out from there at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from daemon.alerting.advice import advice_for
from daemon.alerting.channels import Hook, Undelivered
from jobs.core.errors import JobError
from jobs.core.job import Clock, Incident, current_slot
from jobs.core.untrusted import clean, cut
from jobs.store import alerts as store
from jobs.store.db import Database

POLL_S = 5.0
STORE_TIMEOUT_S = 5.0
LEASE_SPARE_S = 5.0
"""What a hook may take beyond its time limit to end, before another may tell it the same."""
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 900.0
MOST_WAITING = 1000
LONGEST_TEXT = 4000

PASSING = (JobError, TimeoutError, OSError)
DATABASE_FAULTS = (*PASSING, SQLAlchemyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who sends the alerts: this machine and this daemon."""

    host: str
    instance: str


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """An incident, or the end of one, that the database has not taken yet."""

    incident: Incident | None
    key: str
    at: datetime
    times: int = 1
    told: set[str] = field(default_factory=set)
    logged: bool = False
    attempts: int = 0
    next_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Listeners:
    """Told of every incident and of every attempt to deliver one (hook, whether it was taken)."""

    raised: Callable[[Incident], None] = lambda _: None
    sent: Callable[[str, bool], None] = lambda _hook, _taken: None
    passed: Callable[[], None] = lambda: None
    """After every delivery pass: the lane's proof of life."""


class Outbox:
    """Takes incidents from jobs and tells the hooks. Nothing that its callers call ever raises.

    `mask` takes secrets out of texts; `deliver_forever` is the task that sends.
    """

    def __init__(
        self,
        db: Database,
        hooks: Sequence[Hook],
        origin: Origin,
        *,
        dedupe: timedelta,
        clock: Clock,
        mask: Callable[[str], str] = str,
        listeners: Listeners | None = None,
    ) -> None:
        self._db = db
        self._hooks = hooks
        self._origin = origin
        self._dedupe = dedupe
        self._clock = clock
        self._mask = mask
        self._listeners = listeners or Listeners()
        # no maxlen: putting an entry back would push out the newest one without a word
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many incidents and ends of incidents the database has not taken yet."""
        return len(self._waiting)

    async def notify(self, incident: Incident, *, told: Collection[str] = ()) -> None:
        """Store the incident, or count it on the open alert with the same key. Never raises.

        `told` are hooks that have heard of it already.
        """
        masked = self._masked(incident)
        self._listeners.raised(masked)
        at = self._clock()
        await self._take(_Waiting(incident=masked, key=masked.incident, at=at, told=set(told)))

    async def tell_at_once(self, incident: Incident) -> set[str]:
        """Tell every hook now without storing anything; return those that heard it.

        Needs nothing of this process but the hooks, and may run on any loop.
        """
        masked = self._masked(incident)
        entry = _Waiting(incident=masked, key=masked.incident, at=self._clock())
        body = self._unstored_body(entry, masked)
        severe = [hook for hook in self._hooks if store.reaches(masked.severity, hook.min_severity)]
        errors = await asyncio.gather(*(self._send(hook, body, 1) for hook in severe))
        return {hook.name for hook, error in zip(severe, errors, strict=True) if error is None}

    async def resolve(self, incident: str) -> None:
        """Close the open alert with this key, if there is one, and send `recovered`."""
        await self._take(_Waiting(incident=None, key=incident, at=self._clock()))

    async def deliver_forever(self) -> None:
        """Send what is due until cancelled; outlive the database's absences."""
        while True:
            await self.deliver_due()
            self._listeners.passed()
            self._wake.clear()
            try:
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def deliver_due(self) -> None:
        """Store what waits in memory and tell every hook what it is due to be told, once."""
        try:
            async with self._lock:
                await self._store_waiting()
            told = await asyncio.gather(
                *(self._tell(hook) for hook in self._hooks), return_exceptions=True
            )
            for failure in told:
                if failure is not None:
                    raise failure
        except DATABASE_FAULTS as exc:
            self._log_away(exc)
            await self._tell_from_memory()

    async def _take(self, entry: _Waiting) -> None:
        """Store the entry now, or leave it to the delivery task while the database is away."""
        behind = bool(self._waiting) or self._lock.locked()
        self._queue(entry)
        if not behind:
            try:
                async with self._lock:
                    await self._store_waiting()
            except DATABASE_FAULTS as exc:
                self._log_away(exc)
        self._wake.set()

    def _queue(self, entry: _Waiting) -> None:
        """Put the entry behind what waits; a repeat is counted on the one that waits."""
        same = next((each for each in reversed(self._waiting) if each.key == entry.key), None)
        if same is not None and entry.incident is not None and same.incident is not None:
            same.times += 1
            same.incident = entry.incident
        elif len(self._waiting) >= MOST_WAITING:
            logger.bind(event="alert.lost", incident=entry.key).error("Too many alerts wait")
        else:
            self._waiting.append(entry)

    async def _store_waiting(self) -> None:
        """Store entries in order; what cannot be stored stays. Raises DATABASE_FAULTS."""
        while self._waiting:
            entry = self._waiting.popleft()  # repeats that come meanwhile are counted anew
            try:
                async with asyncio.timeout(STORE_TIMEOUT_S):
                    await self._store(entry)
            except (*PASSING, asyncio.CancelledError):
                self._waiting.appendleft(entry)
                if entry.incident is not None and not entry.logged:
                    entry.logged = True
                    _log_raised(entry.incident, occurrences=None)
                raise
            except Exception as exc:  # noqa: BLE001 - it will never be taken, and must hold no other
                logger.bind(
                    event="alert.lost", incident=entry.key, error=self._mask(str(exc))
                ).error("An alert cannot be stored")

    async def _store(self, entry: _Waiting) -> None:
        if entry.incident is None:
            await store.resolve(self._db, entry.key, entry.at)
            return
        telling = store.Telling(
            hooks={hook.name: hook.min_severity for hook in self._hooks},
            dedupe=self._dedupe,
            told=entry.told,
        )
        raised = await store.raise_alert(
            self._db, entry.incident, telling, entry.at, times=entry.times
        )
        if not entry.logged:
            _log_raised(entry.incident, occurrences=raised.occurrences)

    def _log_away(self, exc: BaseException) -> None:
        logger.bind(
            event="alert.waiting", waiting=self.waiting, error=self._mask(str(exc))
        ).warning("Alerts wait for the database")

    async def _tell(self, hook: Hook) -> None:
        """Tell one hook everything due, until it fails or nothing is left."""
        lease = timedelta(seconds=hook.timeout_s + LEASE_SPARE_S)
        while (due := await self._claim(hook, lease)) is not None:
            error = await self._send(hook, self._body(due), due.attempts)
            async with asyncio.timeout(STORE_TIMEOUT_S):
                if error is None:
                    await store.delivered(self._db, due.id, hook.name, self._clock())
                    continue
                next_at = self._clock() + timedelta(seconds=wait_s(due.attempts))
                await store.failed(self._db, due.id, hook.name, next_at, error)
            return

    async def _claim(self, hook: Hook, lease: timedelta) -> store.Due | None:
        """Take what the hook is due to be told; a database that hangs is one that is away."""
        async with asyncio.timeout(STORE_TIMEOUT_S):
            return await store.claim(self._db, hook.name, self._clock(), lease)

    async def _send(self, hook: Hook, body: Mapping[str, Any], attempt: int) -> str | None:
        """Send one alert; None when the hook took it, else why not."""
        error: str | None = None
        try:
            await hook.send(body)
        except Undelivered as exc:
            error = self._mask(str(exc))
        except Exception as exc:  # noqa: BLE001 - a plug-in of apprise may raise anything
            error = self._mask(f"{type(exc).__name__}: {exc}")
        self._listeners.sent(hook.name, error is None)
        log = logger.bind(
            event="alert.failed" if error else "alert.delivered",
            alert_id=body["id"],
            kind=body["kind"],
            hook=hook.name,
            attempt=attempt,
        )
        if error is None:
            log.info("Alert delivered")
        else:
            log.bind(error=error).warning("Alert not delivered")
        return error

    async def _tell_from_memory(self) -> None:
        """Tell the hooks, once each, of critical incidents that cannot be stored."""
        now = self._clock()
        for entry in list(self._waiting):
            incident = entry.incident
            if incident is None or incident.severity != "critical":
                continue
            if entry.next_at is not None and entry.next_at > now:
                continue
            entry.attempts += 1
            entry.next_at = now + timedelta(seconds=wait_s(entry.attempts))
            body = self._unstored_body(entry, incident)
            for hook in [each for each in self._hooks if each.name not in entry.told]:
                if await self._send(hook, body, entry.attempts) is None:
                    entry.told.add(hook.name)

    def _body(self, due: store.Due) -> dict[str, Any]:
        return {
            "id": due.id,
            "ts": _instant(due.last_at),
            **due.body,
            "occurrences": due.occurrences,
            "first_at": _instant(due.first_at),
            "host": self._origin.host,
            "instance": self._origin.instance,
        }

    def _unstored_body(self, entry: _Waiting, incident: Incident) -> dict[str, Any]:
        return {
            "id": None,
            "ts": _instant(entry.at),
            **store.body_of(incident),
            "occurrences": entry.times,
            "first_at": _instant(entry.at),
            "host": self._origin.host,
            "instance": self._origin.instance,
        }

    def _masked(self, incident: Incident) -> Incident:
        """The incident as it is told: with what it does not say itself of run and advice."""
        run, advice = current_slot.get(), advice_for(incident)
        return replace(
            incident,
            job=incident.job or (run.job if run else None),
            run_id=incident.run_id or (run.run_id if run else None),
            title=self._clean(incident.title),
            message=self._clean(incident.message),
            error=None if incident.error is None else self._clean(incident.error),
            advice=None if advice is None else self._clean(advice),
        )

    def _clean(self, text: str) -> str:
        """The text masked, short, and without what a table or JSON cannot hold."""
        return self._mask(clean(cut(text, LONGEST_TEXT)))  # cut first: masking a long text is slow


def wait_s(attempts: int) -> float:
    """Seconds until the next attempt after so many failed ones."""
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempts - 1, 20)))


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _log_raised(incident: Incident, *, occurrences: int | None) -> None:
    """One line an incident; only its first occurrence is louder than INFO."""
    level = {"info": "INFO", "warning": "WARNING", "critical": "ERROR"}[incident.severity]
    logger.bind(
        event="alert.raised",
        kind=incident.kind,
        severity=incident.severity,
        incident=incident.incident,
        title=incident.title,
        detail=incident.message,
        error_type=incident.error_type,
        occurrences=occurrences,
    ).log(level if occurrences in {None, 1} else "INFO", "Alert raised")
