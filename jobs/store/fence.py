"""Fencing: no transaction of a leader commits after a later leader was elected.

Every transaction of the order path begins by holding on to its account's row of `leadership`,
and ends at once when the row names a later epoch. A new leader raises the epoch with an UPDATE,
which waits for the transactions that hold on, so nothing is written on both sides of it.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.core.errors import Permanent
from jobs.store.tables import leadership


class StaleEpoch(Permanent):
    """A later leader of this account exists: the write is refused, nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The leadership under which something is written."""

    account: str
    epoch: int

    async def stand(self, conn: AsyncConnection) -> None:
        """Hold the epoch until the transaction of `conn` ends. Raises StaleEpoch."""
        row = select(leadership.c.epoch).where(leadership.c.account == self.account)
        newest = (await conn.execute(row.with_for_update(read=True))).scalar()
        if newest != self.epoch:
            raise StaleEpoch("another instance leads", epoch=self.epoch, newest=newest)
