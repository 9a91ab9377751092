"""Who may do what in our own Postgres: peers alone come in, and the daemon is no superuser there.

A superuser's session is a shell of the account: `COPY ... FROM PROGRAM` runs whatever a slip in a
statement or a foreign dump says, beside the keys.
"""

import os
import pwd
from pathlib import Path

import psycopg

from daemon.postgres.server_paths import Account, open_own

SUPERUSER = "postgres"
ROLE = "upbitd"
MAP = "upbitd"

# The superuser's own statements, at every start and before every command; they change something
# in a new cluster, in one from before there was the role, and where a person made a table.
HAND_OVER = f"""
SET LOCAL lock_timeout = '5s';
DO $$
DECLARE
    each record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
        CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
    IF NOT pg_has_role('{ROLE}', 'pg_monitor', 'USAGE') THEN
        GRANT pg_monitor TO {ROLE};
    END IF;
    IF (SELECT datdba FROM pg_database WHERE datname = current_database()) <> '{ROLE}'::regrole THEN
        EXECUTE format('ALTER DATABASE %I OWNER TO {ROLE}', current_database());
    END IF;
    FOR each IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
            AND relowner <> '{ROLE}'::regrole
            AND NOT EXISTS (  -- of an extension, or a table's own sequence
                SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
                AND objid = pg_class.oid AND deptype IN ('e', 'a', 'i') AND relkind IN ('v', 'S')
            )
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {ROLE}', each.name);
    END LOOP;
    FOR each IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner <> '{ROLE}'::regrole
            AND NOT EXISTS (
                SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass
                AND objid = pg_proc.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO {ROLE}', each.name);
    END LOOP;
END $$
"""  # noqa: S608 - constants of ours


def hand_over(connection: psycopg.Connection) -> None:
    """Give everything of ours to the role without superuser, which is made if there is none."""
    with connection.transaction():
        connection.execute(HAND_OVER.encode())


def access_settings(root: Path, account: Account | None) -> dict[str, str]:
    """Write who may come in, below `root`; return the server's settings that name the files.

    The socket's folder is closed to everybody else already; `peer` holds when it is not.
    """
    hba, ident = root / "pg_hba.conf", root / "pg_ident.conf"
    names = [_name(account.uid if account else os.geteuid()), _name(0)]
    if None in names:  # a container's user without a name: peer would find nobody
        _write(hba, "local all all trust\n", account)
    else:
        _write(hba, f"local all all peer map={MAP}\n", account)
    lines = [f'{MAP} "{name}" all\n' for name in dict.fromkeys(names) if name is not None]
    _write(ident, "".join(lines), account)
    return {"hba_file": str(hba), "ident_file": str(ident)}


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _write(path: Path, text: str, account: Account | None) -> None:
    with os.fdopen(
        open_own(path, os.O_WRONLY | os.O_TRUNC, account), "w", encoding="utf-8"
    ) as file:
        file.write(text)
