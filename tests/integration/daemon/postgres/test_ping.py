"""Whether the server takes a connection, in its own words when it does not."""

import pytest
from psycopg.conninfo import make_conninfo

from daemon.postgres.ping import reach
from jobs.core.errors import Unavailable


async def test_a_server_that_takes_connections_is_reached(dsn: str) -> None:
    await reach(dsn)


async def test_a_server_that_does_not_says_why(dsn: str) -> None:
    with pytest.raises(Unavailable, match='role "nobody_knows" does not exist'):
        await reach(make_conninfo(dsn, user="nobody_knows"))


async def test_no_server_is_no_connection() -> None:
    with pytest.raises(Unavailable, match="takes no connection"):
        await reach("postgresql://someone@127.0.0.1:1/none")
