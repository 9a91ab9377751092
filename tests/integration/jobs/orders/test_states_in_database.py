"""The database and jobs/domain/order_states.py allow the same changes of state, pair by pair."""

import itertools

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from jobs.domain.order_states import State, may
from jobs.store.db import Database
from jobs.store.tables import orders


@pytest.fixture
async def order_ids(database: Database) -> dict[tuple[State, State], int]:
    """An order in the first state of each of the 49 pairs."""
    ids = {}
    async with database.begin() as conn:
        for source, target in itertools.product(State, repeat=2):
            row = insert(orders).values(
                mode="paper",
                identifier=f"{source}-{target}",
                purpose="entry",
                market="KRW-BTC",
                side="bid",
                ord_type="limit",
                state=source,
            )
            ids[source, target] = (await conn.execute(row.returning(orders.c.id))).scalar_one()
    return ids


async def test_python_and_database_agree_on_all_49_pairs(
    database: Database, order_ids: dict[tuple[State, State], int]
) -> None:
    assert len(order_ids) == 49
    for (source, target), order_id in order_ids.items():
        change = update(orders).where(orders.c.id == order_id).values(state=target)
        try:
            async with database.begin() as conn:
                await conn.execute(change)
            allowed = True
        except IntegrityError:
            allowed = False
        assert allowed is may(source, target), f"{source} to {target}"
