"""Whether the database server takes a connection of ours, and if not, why not."""

import psycopg

from jobs.core.errors import Unavailable
from jobs.store.connecting import connect

WITHIN_S = 2


async def reach(url: str) -> None:
    """Connect once, apart from the pool. Raises Unavailable with the server's own words."""
    try:
        connection = await connect(url, connect_timeout=WITHIN_S)
    except psycopg.OperationalError as error:
        cause = str(error).strip().rpartition("\n")[2].strip()
        raise Unavailable("the database takes no connection", cause=cause) from None
    await connection.close()
