"""The daemon is no superuser of its own Postgres, and nobody comes in under another's name."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fixtures.postgres import QUICK
from sqlalchemy import text

from daemon.postgres import schema
from daemon.postgres.pool import PoolOptions, open_database
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_access import access_settings, hand_over

SMALL = PoolOptions(pool_min=1, pool_max=2)


@pytest.fixture
def own(open_directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(open_directory / "state" / "postgres", settings=QUICK) as server:
        yield server


def test_the_daemons_role_may_do_its_work_and_no_more(own: EmbeddedPostgres) -> None:
    schema.upgrade(own.daemon_url)
    assert schema.status(own.daemon_url).at_head
    with psycopg.connect(own.daemon_url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, False, False, False)
        for forbidden in (
            "COPY gates FROM PROGRAM 'id'",
            "COPY gates TO '/tmp/x'",
            "ALTER SYSTEM SET work_mem = '1MB'",
            "CREATE ROLE other SUPERUSER",
            "SET ROLE postgres",
            "SELECT pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
    schema.downgrade(own.daemon_url, "base")


async def test_tables_of_the_superuser_are_handed_over(own: EmbeddedPostgres) -> None:
    """A cluster from before there was the role, and what a person made by hand."""
    schema.upgrade(own.url)
    with psycopg.connect(own.url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        connection.execute("CREATE VIEW by_hand AS SELECT 1 AS one")
        connection.execute("CREATE SEQUENCE numbers")
        hand_over(connection)
        hand_over(connection)
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relowner <> 'upbitd'::regrole AND relname NOT LIKE 'pg_stat_statements%'"
        ).fetchall()
    assert left == []
    async with open_database(own.daemon_url, SMALL) as database, database.begin() as connection:
        await connection.execute(text("UPDATE settings SET updated_by = 'test'"))
    schema.downgrade(own.daemon_url, "base")
    schema.upgrade(own.daemon_url)


def test_commands_work_on_what_a_superuser_made_while_the_server_runs(
    own: EmbeddedPostgres, open_directory: Path, tmp_path: Path
) -> None:
    schema.upgrade(own.url)
    config, backup = tmp_path / "config.toml", tmp_path / "b.dump"
    config.write_text(f'[daemon]\nstate_dir = "{open_directory / "state"}"\n')
    for arguments in (["backup", str(backup)], ["migrate", "status"], ["settings", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *arguments, "--config", str(config)],
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
    assert backup.stat().st_size > 0


def test_peers_come_in_and_the_files_say_who(own: EmbeddedPostgres, open_directory: Path) -> None:
    root = open_directory / "state" / "postgres"
    assert (root / "pg_hba.conf").read_text() == "local all all peer map=upbitd\n"
    lines = (root / "pg_ident.conf").read_text().splitlines()
    account = pwd.getpwuid((root / "data").stat().st_uid).pw_name
    assert set(lines) == {f'upbitd "{account}" all', 'upbitd "root" all'}
    with psycopg.connect(own.url) as connection:
        assert connection.execute("SHOW hba_file").fetchone() == (str(root / "pg_hba.conf"),)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_account_is_refused_even_where_the_folder_is_open(
    own: EmbeddedPostgres, open_directory: Path
) -> None:
    for folder in (open_directory, open_directory / "state", open_directory / "state" / "postgres"):
        folder.chmod(0o755)
    (open_directory / "state" / "postgres" / ".s.PGSQL.5432").chmod(0o777)
    psycopg.connect(own.url).close()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(1)
        os.setuid(1)
        try:
            psycopg.connect(own.url, connect_timeout=5).close()
        except psycopg.OperationalError as exc:
            os._exit(7 if "Peer authentication failed" in str(exc) else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_user_without_a_name_is_trusted_by_the_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_uid: int) -> object:
        raise KeyError

    monkeypatch.setattr("daemon.postgres.server_access.pwd.getpwuid", nobody)
    found = access_settings(tmp_path, None)
    assert Path(found["hba_file"]).read_text() == "local all all trust\n"
    assert Path(found["ident_file"]).read_text() == ""
