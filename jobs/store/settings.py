"""The runtime settings in the database: reading and writing them.

A key without a row has its default. The database tells of every change itself (a trigger writes
the audit row and notifies), so that a change by psql counts like one by the command line.
"""

import json
from decimal import Decimal
from typing import Any

from loguru import logger
from sqlalchemy import Row, Text, and_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import BadData
from jobs.domain.halt import NOT_HALTED, Halt, HaltLevel
from jobs.domain.settings import HALTED, LONGEST_NUMBER, SPECS, Settings, Value, spec_of
from jobs.store.db import Database
from jobs.store.tables import settings as table

_ROWS = select(
    table.c.key,
    cast(table.c.value, Text).label("raw"),
    table.c.updated_at,
    table.c.updated_by,
    table.c.reason,
)


async def read(connection: AsyncConnection, *, fallback: Settings | None = None) -> Settings:
    """Return the settings as the database has them now.

    A row that is not what its key may be raises BadData; with `fallback` that key takes its
    value from there instead and the fault is logged. A bad `halted` always counts as `all`.
    """
    values: dict[str, Any] = {}
    for row in await connection.execute(_ROWS):
        key: str = row.key
        if (spec := SPECS.get(key)) is None:  # of a newer or older program
            continue
        if key == HALTED:
            values["halt"] = _halt_of(row)
            continue
        try:
            values[key] = spec.check(json.loads(row.raw, parse_float=Decimal))
        except (ValueError, RecursionError) as exc:  # of a thousand brackets
            if fallback is None:
                raise BadData("a setting in the database is bad", key=key, cause=str(exc)) from exc
            logger.bind(event="settings.bad", key=key, error=str(exc)).error(
                "a setting in the database is bad, keeping the last good one"
            )
            values[key] = getattr(fallback, key)
    return Settings(**values)


def _halt_of(row: Row[Any]) -> Halt:
    """The halt that the setting makes; what nobody can read halts all, and says so."""
    try:
        found = HaltLevel(str(SPECS[HALTED].check(json.loads(row.raw, parse_float=Decimal))))
    except (ValueError, RecursionError) as exc:
        logger.bind(event="settings.bad", key=HALTED, error=str(exc)).error(
            "The setting halted is damaged: trading is halted"
        )
        found, reason = HaltLevel.ALL, f"the setting is damaged ({row.raw[:LONGEST_NUMBER]})"
    else:
        reason = row.reason
    if found is HaltLevel.NONE:
        return NOT_HALTED
    return Halt(level=found, by=row.updated_by, since=row.updated_at, reason=reason)


async def write(
    db: Database, key: str, value: object, by: str, *, reason: str | None = None
) -> bool:
    """Store a setting and return whether that changed anything; a new reason does.

    Raises ValueError for an unknown key or a value that is not allowed.
    """
    checked = spec_of(key).check(value)
    new = insert(table).values(
        key=key,
        value=cast(literal(_as_json(checked), Text), JSONB),
        updated_at=func.clock_timestamp(),
        updated_by=by,
        reason=reason,
    )
    upsert = new.on_conflict_do_update(
        index_elements=[table.c.key],
        set_={
            "value": new.excluded.value,
            "updated_at": new.excluded.updated_at,
            "updated_by": new.excluded.updated_by,
            "reason": new.excluded.reason,
        },
        where=or_(
            table.c.value != new.excluded.value,
            and_(
                new.excluded.reason.is_not(None),
                table.c.reason.is_distinct_from(new.excluded.reason),
            ),
        ),
    ).returning(table.c.key)
    async with db.begin() as connection:
        return (await connection.execute(upsert)).first() is not None


def _as_json(value: Value) -> str:
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)
