"""Queries of `alerts` and `alert_deliveries`: the outbox that every alert passes through.

One row of `alerts` is one incident from its first occurrence to its end; one row of
`alert_deliveries` is what one hook still has to be told, or was told. Instants come from the
caller's clock.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, String, and_, case, delete, func, literal, select, update
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.job import Incident
from jobs.store.db import Database
from jobs.store.tables import alert_deliveries as deliveries
from jobs.store.tables import alerts

SEVERITIES = ("info", "warning", "critical")
RECOVERED = "recovered"
OVER = "nothing to do: it is over"
OLDEST = timedelta(days=7)
"""What no hook could be told in that time is news no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The open alert of an incident; `occurrences` is 1 for a new one."""

    id: int
    occurrences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An alert that a hook has to be told, as its row stands now; `attempts` counts this one."""

    id: int
    attempts: int
    body: Mapping[str, Any]
    occurrences: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Who is told what: hooks by name with their least severity, and when a repeat counts as news.

    `told` are hooks that have heard this occurrence already, in another way.
    """

    hooks: Mapping[str, str]
    dedupe: timedelta
    told: Collection[str] = ()


async def raise_alert(
    db: Database, incident: Incident, telling: Telling, at: datetime, *, times: int = 1
) -> Raised:
    """Store an incident, or fold it into its open alert, and make it due at its hooks."""
    async with db.begin() as tx:
        raised = None
        if incident.is_event:
            raised = await _again(tx, incident, at, telling.dedupe, times)
        if raised is None:
            raised = await _fold(tx, incident, at, times)
        severity = (
            await tx.execute(select(alerts.c.severity).where(alerts.c.id == raised.id))
        ).one()
        wanted = [name for name, least in telling.hooks.items() if reaches(severity[0], least)]
        await _make_due(tx, raised.id, wanted, telling, at)
        if telling.told:
            await _note_delivered(tx, raised.id, at)
    return raised


async def _again(
    tx: AsyncConnection, incident: Incident, at: datetime, dedupe: timedelta, times: int
) -> Raised | None:
    """Count an event on the same one a short time ago: a crash loop must not flood its hooks."""
    recent = (
        update(alerts)
        .where(alerts.c.incident == incident.incident, alerts.c.created_at > at - dedupe)
        .values(
            occurrences=alerts.c.occurrences + times,
            last_at=at,
            body=body_of(incident),
        )
        .returning(alerts.c.id, alerts.c.occurrences)
    )
    row = (await tx.execute(recent)).first()
    return None if row is None else Raised(id=row.id, occurrences=row.occurrences)


async def _fold(tx: AsyncConnection, incident: Incident, at: datetime, times: int) -> Raised:
    new = insert(alerts).values(
        incident=incident.incident,
        kind=incident.kind,
        severity=incident.severity,
        body=body_of(incident),
        occurrences=times,
        created_at=at,
        last_at=at,
        resolved_at=at if incident.is_event else None,
    )
    row = new.on_conflict_do_update(
        index_elements=[alerts.c.incident],
        index_where=alerts.c.resolved_at.is_(None),
        set_={
            "occurrences": alerts.c.occurrences + times,
            "last_at": at,
            "body": new.excluded.body,
            "severity": case(
                (_rank(alerts.c.severity) > _rank(new.excluded.severity), alerts.c.severity),
                else_=new.excluded.severity,
            ),
        },
    ).returning(alerts.c.id, alerts.c.occurrences)
    stored = (await tx.execute(row)).one()
    return Raised(id=stored.id, occurrences=stored.occurrences)


async def _make_due(
    tx: AsyncConnection, alert_id: int, hooks: Sequence[str], telling: Telling, at: datetime
) -> None:
    """Give each hook a row; a hook told longer ago than `dedupe` is told again."""
    if not hooks:
        return
    rows = [
        {
            "alert_id": alert_id,
            "hook": hook,
            "next_at": at,
            "delivered_at": at if hook in telling.told else None,
        }
        for hook in hooks
    ]
    new = insert(deliveries).values(rows)
    await tx.execute(
        new.on_conflict_do_update(
            index_elements=[deliveries.c.alert_id, deliveries.c.hook],
            set_={"delivered_at": None, "attempts": 0, "next_at": at, "last_error": None},
            where=and_(
                deliveries.c.delivered_at <= at - telling.dedupe,
                new.excluded.delivered_at.is_(None),
            ),
        )
    )


async def resolve(db: Database, incident: str, at: datetime) -> Raised | None:
    """Close the open alert of an incident and make `recovered` due at every hook that hears of it.

    Returns the alert that was closed, None when none was open.
    """
    closing = (
        update(alerts)
        .where(alerts.c.incident == incident, alerts.c.resolved_at.is_(None))
        .values(resolved_at=at)
        .returning(alerts.c.id, alerts.c.occurrences, alerts.c.body, alerts.c.created_at)
    )
    async with db.begin() as tx:
        if (closed := (await tx.execute(closing)).first()) is None:
            return None
        recovered = insert(alerts).values(
            incident=f"{RECOVERED}:{closed.id}",
            kind=RECOVERED,
            severity="info",
            body=_recovered_body(closed.body, closed.occurrences, at - closed.created_at),
            occurrences=closed.occurrences,
            created_at=at,
            last_at=at,
            resolved_at=at,
        )
        new_id = (await tx.execute(recovered.returning(alerts.c.id))).scalar_one()
        hooks = select(literal(new_id), deliveries.c.hook, literal(at)).where(
            deliveries.c.alert_id == closed.id
        )
        await tx.execute(insert(deliveries).from_select(["alert_id", "hook", "next_at"], hooks))
    return Raised(id=closed.id, occurrences=closed.occurrences)


async def claim(db: Database, hook: str, at: datetime, lease: timedelta) -> Due | None:
    """Take the oldest alert that `hook` is due to be told, so that nobody else does for `lease`.

    `recovered` waits until the hook has heard of the trouble itself.
    """
    async with db.begin() as tx:
        key = (await tx.execute(_next_due(hook, at))).scalar_one_or_none()
        if key is None:
            return None
        taken = (
            update(deliveries)
            .where(deliveries.c.alert_id == key, deliveries.c.hook == hook)
            .values(next_at=at + lease, attempts=deliveries.c.attempts + 1)
            .returning(deliveries.c.attempts)
        )
        attempts = (await tx.execute(taken)).scalar_one()
        alert = (await tx.execute(select(alerts).where(alerts.c.id == key))).one()
    body = {**alert.body, "kind": alert.kind, "severity": alert.severity}
    return Due(
        id=alert.id,
        attempts=attempts,
        body=body,
        occurrences=alert.occurrences,
        first_at=alert.created_at,
        last_at=alert.last_at,
    )


def _next_due(hook: str, at: datetime) -> Select[tuple[int]]:
    earlier = deliveries.alias("earlier")
    unheard = (
        select(literal(1))
        .where(
            earlier.c.hook == hook,
            earlier.c.delivered_at.is_(None),
            alerts.c.incident == literal(f"{RECOVERED}:") + as_type(earlier.c.alert_id, String),
        )
        .exists()
    )
    return (
        select(deliveries.c.alert_id)
        .join(alerts, alerts.c.id == deliveries.c.alert_id)
        .where(
            deliveries.c.hook == hook,
            deliveries.c.delivered_at.is_(None),
            deliveries.c.next_at <= at,
            alerts.c.last_at > at - OLDEST,
            ~unheard,
        )
        .order_by(deliveries.c.alert_id)
        .limit(1)
        .with_for_update(of=deliveries, skip_locked=True)
    )


async def delivered(db: Database, alert_id: int, hook: str, at: datetime) -> None:
    """Note that a hook took the alert; the alert is delivered when every hook has."""
    async with db.begin() as tx:
        # The alert's row first, as `raise_alert` locks them: of two hooks that end at the same
        # moment under READ COMMITTED each would still see the other's delivery waiting, and
        # nobody would note the alert as delivered.
        await tx.execute(select(alerts.c.id).where(alerts.c.id == alert_id).with_for_update())
        await tx.execute(
            update(deliveries)
            .where(deliveries.c.alert_id == alert_id, deliveries.c.hook == hook)
            .values(delivered_at=at, last_error=None)
        )
        await _note_delivered(tx, alert_id, at)


async def _note_delivered(tx: AsyncConnection, alert_id: int, at: datetime) -> None:
    """Mark an alert, whose row this transaction holds, if somebody heard it and nobody waits."""
    of_alert = select(literal(1)).where(deliveries.c.alert_id == alert_id)
    waiting = of_alert.where(deliveries.c.delivered_at.is_(None)).exists()
    heard = of_alert.where(deliveries.c.delivered_at.is_not(None)).exists()
    await tx.execute(
        update(alerts).where(alerts.c.id == alert_id, heard, ~waiting).values(delivered_at=at)
    )


async def failed(db: Database, alert_id: int, hook: str, next_at: datetime, error: str) -> None:
    """Note that a hook did not take the alert, and when to try again."""
    async with db.begin() as tx:
        await tx.execute(
            update(deliveries)
            .where(deliveries.c.alert_id == alert_id, deliveries.c.hook == hook)
            .values(next_at=next_at, last_error=error)
        )


async def close_silently(db: Database, incident: str, at: datetime) -> dict[str, str]:
    """Close the open alert of an incident without telling anybody; return each hook's last error.

    What its hooks have not taken yet they will not be told any more.
    """
    closing = (
        update(alerts)
        .where(alerts.c.incident == incident, alerts.c.resolved_at.is_(None))
        .values(resolved_at=at)
        .returning(alerts.c.id)
    )
    async with db.begin() as tx:
        closed = (await tx.execute(closing)).scalar_one_or_none()
        waiting = (
            delete(deliveries)
            .where(deliveries.c.alert_id == closed, deliveries.c.delivered_at.is_(None))
            .returning(deliveries.c.hook, deliveries.c.last_error)
        )
        untold = {row.hook: row.last_error or "" for row in await tx.execute(waiting)}
        if closed is not None and untold:
            await _note_delivered(tx, closed, at)
        return untold


async def open_incidents(db: Database, kind: str) -> set[str]:
    """The keys of the open alerts of one kind."""
    is_open = (alerts.c.kind == kind) & alerts.c.resolved_at.is_(None)
    async with db.begin() as tx:
        return set((await tx.execute(select(alerts.c.incident).where(is_open))).scalars())


async def known_incidents(db: Database, kinds: Collection[str], since: datetime) -> set[str]:
    """The keys of the alerts of some kinds since an instant, open or not."""
    query = select(alerts.c.incident).where(alerts.c.kind.in_(kinds), alerts.c.last_at > since)
    async with db.begin() as tx:
        return set((await tx.execute(query)).scalars())


async def undelivered(db: Database) -> int:
    """How many deliveries wait."""
    waiting = select(func.count()).where(deliveries.c.delivered_at.is_(None))
    async with db.begin() as tx:
        return int((await tx.execute(waiting)).scalar_one())


def body_of(incident: Incident) -> dict[str, Any]:
    """What the table keeps of an incident."""
    return {
        "kind": incident.kind,
        "severity": incident.severity,
        "title": incident.title,
        "message": incident.message,
        "job": incident.job,
        "run_id": incident.run_id,
        "attempts": incident.attempts,
        "error_type": incident.error_type,
        "error": incident.error,
        "market": incident.market,
        "order_id": incident.order_id,
        "identifier": incident.identifier,
        "advice": incident.advice,
    }


def _recovered_body(body: Mapping[str, Any], occurrences: int, took: timedelta) -> dict[str, Any]:
    seconds = timedelta(seconds=round(took.total_seconds()))
    times = "once" if occurrences == 1 else f"{occurrences} times"
    return {
        **body,
        "kind": RECOVERED,
        "severity": "info",
        "title": f"Recovered: {body['title']}",
        "message": f"It is over after {seconds}; it happened {times}.",
        "attempts": None,
        "advice": OVER,
    }


def reaches(severity: str, least: str) -> bool:
    """Whether a severity is at least another one."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


def _rank(column: Any) -> Any:
    ranks = {name: rank for rank, name in enumerate(SEVERITIES)}
    return case(ranks, value=column, else_=0)
