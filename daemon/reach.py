"""Whether the database server takes a connection of ours, and if not, why not."""

import psycopg

from jobs.errors import Unavailable

WITHIN_S = 2


async def reach(url: str) -> None:
    """Connect once, apart from the pool. Raises Unavailable with the server's own words."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=WITHIN_S)
    except psycopg.OperationalError as error:
        cause = str(error).strip().rpartition("\n")[2].strip()
        raise Unavailable("the database takes no connection", cause=cause) from None
    await connection.close()
