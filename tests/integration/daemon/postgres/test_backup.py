"""A back-up restored into an empty database is the same database."""

import os
import stat
from pathlib import Path

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import backup
from daemon.postgres import backup as dump
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import EmbeddedError
from jobs.core.errors import Unavailable


def run(tmp_path: Path, url: str, *arguments: str) -> Result:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = '{url}'\n")
    app = typer.Typer()
    backup.register(app)
    return CliRunner().invoke(app, [*arguments, "--config", str(path)], catch_exceptions=False)


def content(url: str) -> dict[str, list[object]]:
    """Every row of every table as text, and every index, trigger, constraint and function."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind = 'r' ORDER BY 1"
        ).fetchall()
        found: dict[str, list[object]] = {}
        for (name,) in names:
            rows = connection.execute(f"SELECT t::text FROM {name} AS t ORDER BY 1".encode())  # noqa: S608
            found[name] = [row for (row,) in rows]
        shape = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
            " UNION ALL SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
            " UNION ALL SELECT prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " ORDER BY 1"
        )
        return found | {"": [each for (each,) in shape]}


def test_what_somebody_put_in_its_place_is_left_alone(tmp_path: Path, filled_dsn: str) -> None:
    """A .partial file or link that others made was written into, and replaced the back-up."""
    victim, theirs = tmp_path / "victim", tmp_path / ".all.dump.partial"
    victim.write_text("untouched")
    theirs.symlink_to(victim)
    written = run(tmp_path, filled_dsn, "backup", str(tmp_path / "all.dump"))
    assert written.exit_code == 0, written.output
    assert victim.read_text() == "untouched"
    assert theirs.is_symlink()
    assert [each.name for each in tmp_path.glob(".*.partial")] == [theirs.name]


def test_what_was_backed_up_is_what_is_restored(
    tmp_path: Path, filled_dsn: str, empty_dsn: str
) -> None:
    file = tmp_path / "all.dump"
    written = run(tmp_path, filled_dsn, "backup", str(file))
    assert written.exit_code == 0, written.output
    assert f"{file.stat().st_size:,} bytes" in written.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    restored = run(tmp_path, empty_dsn, "restore", str(file))
    assert restored.exit_code == 0, restored.output
    want = content(filled_dsn)
    assert sum(map(len, want.values())) > 300
    assert content(empty_dsn) == want
    with psycopg.connect(empty_dsn) as connection:  # ids go on where they were
        newest = "SELECT max(id) < nextval(pg_get_serial_sequence('orders', 'id')) FROM orders"
        assert connection.execute(newest).fetchone() == (True,)


def test_a_database_with_tables_is_not_touched(tmp_path: Path, filled_dsn: str, dsn: str) -> None:
    file = tmp_path / "all.dump"
    run(tmp_path, filled_dsn, "backup", str(file))
    before = content(dsn)
    refused = run(tmp_path, dsn, "restore", str(file))
    assert refused.exit_code == 1
    assert "not empty" in refused.stderr
    assert content(dsn) == before


def test_a_file_that_is_cut_off_leaves_the_database_empty(
    tmp_path: Path, filled_dsn: str, empty_dsn: str
) -> None:
    file = tmp_path / "all.dump"
    run(tmp_path, filled_dsn, "backup", str(file))
    whole = file.read_bytes()
    for part, said in (
        (b"", "is no back-up"),
        (b"nonsense", "is no back-up"),
        (b"\x1f\x8b" + whole, "is no back-up"),
        (whole[: len(whole) * 2 // 3], "pg_restore failed"),
        (b"PGDMP", "pg_restore failed"),
    ):
        file.write_bytes(part)
        failed = run(tmp_path, empty_dsn, "restore", str(file))
        assert failed.exit_code == 1
        assert said in failed.stderr.replace("\n", " ")
        assert dump.tables(empty_dsn) == 0
    file.write_bytes(whole)
    assert run(tmp_path, empty_dsn, "restore", str(file)).exit_code == 0


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path, dsn: str) -> None:
    file = tmp_path / "all.dump"
    file.write_text("older")
    assert run(tmp_path, dsn, "backup", str(file)).exit_code == 1
    assert file.read_text() == "older"
    assert run(tmp_path, dsn, "backup", str(file), "--force").exit_code == 0
    assert file.read_bytes().startswith(b"PGDMP")


def test_a_back_up_that_fails_leaves_nothing_behind(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(dump.BackupError, match="pg_dump failed"):
        dump.back_up(dsn.replace("/test", "/no_such_test"), tmp_path / "x.dump", lambda _: None)
    with pytest.raises(dump.BackupError, match="cannot be written"):
        dump.back_up(dsn, tmp_path / "no" / "x.dump", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said(tmp_path: Path, empty_dsn: str) -> None:
    missing = run(tmp_path, empty_dsn, "restore", str(tmp_path / "none"))
    assert (missing.exit_code, "there is no file" in missing.stderr) == (1, True)
    away = run(tmp_path, "postgresql://127.0.0.1:1/x", "backup", str(tmp_path / "x"))
    assert away.exit_code == 3
    with pytest.raises(Unavailable):
        dump.tables("postgresql://127.0.0.1:1/x")


def test_our_own_database_is_restored_into_a_new_directory(
    tmp_path: Path, open_directory: Path, filled_dsn: str
) -> None:
    file = tmp_path / "all.dump"
    run(tmp_path, filled_dsn, "backup", str(file))
    path = open_directory / "config.toml"
    path.write_text("[daemon]\nstate_dir = 'state'\n")
    app = typer.Typer()
    backup.register(app)
    restored = CliRunner().invoke(app, ["restore", str(file), "--config", str(path)])
    assert restored.exit_code == 0, restored.output
    with EmbeddedPostgres(open_directory / "state" / "postgres") as server:
        assert content(server.url) == content(filled_dsn)


def test_no_password_is_shown_to_other_processes() -> None:
    address, environment = dump._address("postgresql://me:hunter2@h:1/d?sslmode=require")
    assert "hunter2" not in address
    assert "dbname=d" in address
    assert environment["PGPASSWORD"] == "hunter2"
    assert "PGPASSWORD" not in dump._address("postgresql://me@h/d")[1] or "PGPASSWORD" in os.environ


def test_a_program_on_the_path_serves_without_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_args: object) -> Path:
        raise EmbeddedError("not installed")

    monkeypatch.setattr(dump, "find_binaries", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(dump.BackupError, match="pg_dump is not installed"):
        dump._binary("pg_dump")
    program = tmp_path / "pg_dump"
    program.touch(mode=0o755)
    assert dump._binary("pg_dump") == program
