"""What one account makes for another can be passed and read, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fixtures.postgres import QUICK

from daemon.postgres.server import EmbeddedPostgres
from daemon.process.file_modes import make_folders, open_tree
from daemon.telemetry.log_sinks import RotatingFile


@pytest.fixture(autouse=True)
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_missing_folders_are_open_and_others_stay_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    make_folders(tmp_path / "a" / "b")
    make_folders(tmp_path / "a" / "b")
    assert [mode(each) for each in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [
        0o700,
        0o755,
        0o755,
    ]


def test_a_tree_is_opened_as_far_as_its_owner_may(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program, text, link = folder / "postgres", folder / "readme", folder / "link"
    program.touch(0o700)
    text.touch(0o600)
    link.symlink_to("/nowhere")
    open_tree(tmp_path)
    assert [mode(each) for each in (tmp_path, folder, program, text)] == [
        0o755,
        0o755,
        0o755,
        0o644,
    ]


def test_our_own_postgres_starts_under_a_closed_umask(open_directory: Path) -> None:
    root = open_directory / "state" / "postgres"
    with EmbeddedPostgres(root, settings=QUICK) as server, psycopg.connect(server.url) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert mode(root) == 0o700


def test_a_log_file_in_the_state_folder_does_not_close_it(open_directory: Path) -> None:
    """Whoever makes the folder first decides whether the account of our Postgres may pass."""
    state = open_directory / "state"
    file = RotatingFile(state / "upbitd.log", 1000, keep_s=1)
    file.write("first\n")
    file.close()
    assert mode(state) == 0o755
    with EmbeddedPostgres(state / "postgres", settings=QUICK) as server:
        psycopg.connect(server.daemon_url).close()
