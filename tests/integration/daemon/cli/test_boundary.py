"""Every command ends in one line: trouble that can be foreseen, and bugs."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from daemon.cli.boundary import end_in_one_line, explain
from daemon.config.load import ConfigError, from_mapping, service_links
from daemon.postgres.schema import CommandError
from daemon.redaction import Masker
from jobs.core.errors import Unavailable
from jobs.core.http_clients import BadEnvironment

PERMISSION = PermissionError(13, "Permission denied", "/etc/x")
FULL = OSError(28, "No space left on device", "/var/x")
LOST = OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed the connection"))


@pytest.mark.parametrize(
    ("exc", "code", "said"),
    [
        (BadEnvironment("ALL_PROXY = x: no"), 2, "ALL_PROXY = x: no"),
        (ConfigError("config.toml: x"), 2, "config.toml: x"),
        (Unavailable("no database"), 3, "no database"),
        (CommandError("Can't locate revision identified by '9999'"), 3, "Can't locate revision"),
        (LOST, 3, "the database does not answer"),
        (psycopg.errors.InsufficientPrivilege("permission denied for schema public"), 3, "GRANT"),
        (psycopg.errors.DuplicateTable('relation "orders" already exists'), 3, "a database of its"),
        (PERMISSION, 1, "/etc/x: Permission denied; use the account that may"),
        (FULL, 1, "/var/x: No space left on device; make room on the disk"),
    ],
)
def test_foreseeable_trouble_is_one_line(exc: Exception, code: int, said: str) -> None:
    line, found = explain(exc, Masker())
    assert found == code
    assert said in line
    assert "\n" not in line


def test_a_bug_is_one_line_and_a_file_for_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError) as bug:
        raise ZeroDivisionError("first line\nsecond line")
    assert end_in_one_line(bug.value) == 1
    said = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert said == (f"upbitd: first line; this is a bug: ZeroDivisionError, traceback in {file}\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "test_boundary.py" in file.read_text()


# --- whole commands


def run(
    *arguments: str, environ: dict[str, str] | None = None, **options: object
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "daemon", *arguments],
        check=False,
        text=True,
        timeout=100,
        env={**os.environ, **(environ or {})},
        **({"capture_output": True} | options),
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("")
    return path


def test_migrating_among_foreign_tables_is_one_line(empty_dsn: str, config: Path) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int)")
    done = run(
        "migrate", "up", "--config", str(config), environ={"UPBITD_DATABASE__URL": empty_dsn}
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith('upbitd: relation "orders" already exists: ')
    assert "Traceback" not in done.stderr


def test_migrating_without_rights_is_one_line(empty_dsn: str, config: Path) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader_only")
        connection.execute("CREATE ROLE reader_only LOGIN")
    url = empty_dsn.replace("postgresql://postgres@", "postgresql://reader_only@")
    done = run("migrate", "up", "--config", str(config), environ={"UPBITD_DATABASE__URL": url})
    assert done.returncode == 3
    assert (
        "permission denied for schema public: the role of database.url may not"
        in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://10.0.0.1:1080"), ("SSL_CERT_FILE", "/gone.pem")],
)
def test_a_variable_that_makes_calls_impossible_is_exit_two(
    config: Path, dsn: str, variable: str, value: str
) -> None:
    environ = {variable: value, "UPBITD_DATABASE__URL": dsn, "UPBITD_SIGNALS__SOURCE": "rules"}
    done = run("run", "--config", str(config), environ=environ)
    assert done.returncode == 2
    assert f"{variable} = " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    asked = run("doctor", "--json", "--config", str(config), environ=environ)
    assert f"{variable} = " in asked.stdout


@pytest.mark.parametrize("command", [["run"], ["migrate", "status"], ["orders"]])
def test_a_database_elsewhere_in_clear_is_exit_two(config: Path, command: list[str]) -> None:
    url = "postgresql://me:s3cretpw@db.example/x?connect_timeout=1"
    environ = {"UPBITD_DATABASE__URL": url, "UPBITD_SIGNALS__SOURCE": "rules"}
    done = run(*command, "--config", str(config), environ=environ)
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "database.url: db.example would be spoken to in clear" in said
    assert "s3cretpw" not in said


def test_an_output_that_nobody_reads_ends_without_a_word(config: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = run("--help", stdout=pipe, stderr=subprocess.PIPE, capture_output=False)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_commands_run_without_their_standard_streams(config: Path, closed: str) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "$0" -m daemon health --config "$1" {redirections}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "UPBITD_HEALTH__PORT": "1"},
    )
    assert done.returncode == 2  # nobody listens there
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "euc_kr", "cp949"])
def test_a_terminal_that_lacks_a_character_gets_a_question_mark(
    config: Path, encoding: str
) -> None:
    environ = {
        "PYTHONIOENCODING": encoding,
        "PYTHONUTF8": "0",
        "UPBITD_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "doctor", "--config", str(config)],
        check=False,
        capture_output=True,
        timeout=100,
        env={**os.environ, **environ},
    )
    shown = done.stdout.decode(encoding)
    assert "database" in shown
    assert b"Traceback" not in done.stderr


LINKS = {
    "UPBITD_SERVICE_HOST": "10.0.0.1",
    "UPBITD_SERVICE_PORT": "8787",
    "UPBITD_SERVICE_PORT_HEALTH": "8787",
    "UPBITD_PORT": "tcp://10.0.0.1:8787",
    "UPBITD_PORT_8787_TCP": "tcp://10.0.0.1:8787",
    "UPBITD_PORT_8787_TCP_PROTO": "tcp",
    "UPBITD_PORT_8787_TCP_PORT": "8787",
    "UPBITD_PORT_8787_TCP_ADDR": "fd00::1",
    "UPBITD_HEALTH_PORT": "tcp://10.0.0.2:80",
    "UPBITD_HEALTH_SERVICE_HOST": "10.0.0.2",
    "UPBITD_NAME": "/web/upbitd",
}


def test_service_links_of_kubernetes_and_docker_are_ignored() -> None:
    assert service_links({**LINKS, "UPBITD_HEALTH__PORT": "9999"}) == sorted(LINKS)
    config = from_mapping({}, {**LINKS, "UPBITD_HEALTH__PORT": "9999"}, keys=False)
    assert config.health.port == 9999


@pytest.mark.parametrize(
    ("variable", "value"),
    [("UPBITD_PORT", "8787"), ("UPBITD_HEALTH_PORT", "8787"), ("UPBITD_TRADING__MOD", "tcp://x")],
)
def test_what_is_no_service_link_is_still_a_fault(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        from_mapping({}, {variable: value}, keys=False)
