"""Every psycopg connection begins here: the same session whatever role, server or environment say.

A role's DateStyle, a variable of libpq (PGHOSTADDR) or the encoding of the database must not
change what is read, or from which server.
"""

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from jobs.core.errors import Permanent
from jobs.store.text_adapters import adapt

CONNECT_TIMEOUT_S = 5
ENCODING = "UTF8"
SESSION = (
    f"SET client_encoding = '{ENCODING}'; SET DateStyle = 'ISO, MDY';"
    " SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'"
)
PING = "SELECT current_setting('transaction_read_only')"

SPENT_CLASSES = frozenset({"08"})  # connection exceptions
SPENT_CODES = frozenset({"25006", "57P01", "57P02", "57P03", "57P04", "57P05"})
READ_ONLY = "25006"


class ReadOnlyServer(psycopg.OperationalError):
    """The server takes no writes: a primary that was replaced, or a replica."""


def is_spent(exc: psycopg.Error) -> bool:
    """Whether a session that answered so must not be used again.

    One that answers read-only (25006) goes on doing so after a failover; a pooler between us and
    the server passes on the end of a server (57P0x, class 08) without closing our connection.
    """
    sqlstate = exc.sqlstate or ""
    return sqlstate in SPENT_CODES or sqlstate[:2] in SPENT_CLASSES


def arguments(url: str, **others: Any) -> Mapping[str, Any]:
    """What psycopg is to be called with beside `url`, so that the address means what it says.

    Of the environment, libpq takes PGHOSTADDR even beside a host, and connects there.
    """
    fixed: dict[str, Any] = {"client_encoding": ENCODING, **others}
    parts = conninfo_to_dict(url)
    if parts.get("host") and "hostaddr" not in parts:
        fixed["hostaddr"] = ""
    return fixed


async def connect(url: str, **others: Any) -> psycopg.AsyncConnection:
    """Return a connection in autocommit. Raises psycopg.OperationalError, Permanent."""
    known = {"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_S, **others}
    connection = await psycopg.AsyncConnection.connect(url, **arguments(url, **known))
    try:
        await prepare(connection, url)
    except BaseException:
        await connection.close()
        raise
    return connection


def connect_blocking(url: str, *, autocommit: bool = False, **others: Any) -> psycopg.Connection:
    """Return a connection for code that blocks. Raises psycopg.OperationalError, Permanent."""
    known = {"connect_timeout": CONNECT_TIMEOUT_S, **others}
    connection = psycopg.connect(url, autocommit=True, **arguments(url, **known))
    try:
        check(connection, url)
        adapt(connection)
        connection.execute(SESSION.encode())
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


async def prepare(connection: psycopg.AsyncConnection[Any], url: str) -> None:
    """Make a new session, in autocommit, what all of ours are. Raises Permanent."""
    check(connection, url)
    adapt(connection)
    await connection.execute(SESSION.encode())


def check(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any], url: str) -> None:
    """Raise Permanent unless the server is the one that was named, with an encoding for all."""
    named = conninfo_to_dict(url)
    if str(named.get("host") or "").startswith("/") and peer_pid(connection.fileno()) is None:
        raise Permanent(
            f"connected over the network instead of {named['host']}: look for PG* in the "
            "environment (`env | grep ^PG`) and unset them"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        raise Permanent(
            f"the database {connection.info.dbname} has the encoding {encoding}, which does not "
            f"hold every text: make one with `CREATE DATABASE name ENCODING '{ENCODING}' "
            "TEMPLATE template0`"
        )


def peer_pid(number: int) -> int | None:
    """The process that listens at the other end of a local socket; None over the network."""
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as there:
        if there.family == socket.AF_UNIX:
            size = struct.calcsize("3i")
            told = there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return int(struct.unpack("3i", told)[0])
    return None


async def ping(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise psycopg.Error unless the server answers and takes writes."""
    row = await (await connection.execute(PING.encode())).fetchone()
    if connection.info.transaction_status is TransactionStatus.UNKNOWN or row is None:
        raise psycopg.OperationalError("the connection is lost")
    if row[0] == "on":
        raise ReadOnlyServer("the server takes no writes")
