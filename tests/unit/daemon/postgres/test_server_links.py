"""As root nothing that the service's account planted in its directory is followed.

A command of root's truncated any file through `owner.lock` and appended lines of the account's
choosing to any file through `postgres.log` (security review, 4).
"""

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import halt as halting
from daemon.postgres.server import EmbeddedPostgres
from daemon.postgres.server_paths import (
    Account,
    EmbeddedError,
    acting_as,
    make_root,
    open_own,
    refuse_nobody,
    remove_tree,
)
from jobs.domain.halt import HaltLevel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what to lose")
NOBODY = pwd.getpwnam("nobody")
ACCOUNT = Account(name="nobody", uid=NOBODY.pw_uid, gid=NOBODY.pw_gid)
SECRET = "root:x:important"


@pytest.fixture
def secret(open_directory: Path) -> Path:
    """A file that only root may read or write, on the file system of the server's directory."""
    folder = open_directory / "root-only"
    folder.mkdir(mode=0o700)
    file = folder / "shadow"
    file.write_text(SECRET)
    return file


@pytest.fixture
def root(open_directory: Path) -> Path:
    """The directory of a server that runs as `nobody`, with its cluster."""
    root = open_directory / "state" / "postgres"
    with EmbeddedPostgres(root, account="nobody"):
        pass
    return root


@pytest.mark.parametrize("name", ["owner.lock", "postgres.log", "commands.lock"])
@pytest.mark.parametrize("how", ["link", "hard link", "pipe", "folder"])
def test_what_stands_in_the_place_of_lock_or_log_is_refused(
    root: Path, secret: Path, name: str, how: str
) -> None:
    place = root / name
    place.unlink(missing_ok=True)
    if how == "link":
        place.symlink_to(secret)
    elif how == "hard link":
        try:
            place.hardlink_to(secret)
        except OSError as exc:
            pytest.skip(f"no hard link here: {exc.strerror}")
    elif how == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    if how == "hard link":  # root's own file is taken for one of an earlier release: made anew
        os.close(open_own(place, os.O_RDWR, ACCOUNT))
    else:
        with pytest.raises(EmbeddedError, match=f"{name}.*remove it"):
            open_own(place, os.O_RDWR | os.O_APPEND, ACCOUNT)
    assert secret.read_text() == SECRET
    assert secret.stat().st_uid == 0


def test_no_command_follows_a_planted_link(root: Path, secret: Path, tmp_path: Path) -> None:
    for name in ("postgres.log", "owner.lock"):
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(secret)
    config = tmp_path / "config.toml"
    config.write_text(f"[daemon]\nstate_dir = '{root.parent}'\n")
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "orders", "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 3
    assert "owner.lock" in done.stderr
    assert done.stderr.count("\n") == 1
    assert secret.read_text() == SECRET


def test_a_directory_that_became_a_link_is_not_entered(
    open_directory: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "etc"
    theirs.mkdir(mode=0o755)
    (theirs / "partial-data").mkdir()
    root = open_directory / "postgres"
    root.symlink_to(theirs)
    with pytest.raises(EmbeddedError):
        make_root(root, ACCOUNT)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        remove_tree(root, "partial-data")
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755
    assert (theirs / "partial-data").is_dir()


def test_rights_are_given_up_and_come_back() -> None:
    groups = os.getgroups()
    with acting_as(ACCOUNT):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (ACCOUNT.uid, ACCOUNT.gid, [])
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, os.getgid(), groups)
    with pytest.raises(ZeroDivisionError), acting_as(ACCOUNT):
        _ = 1 / 0
    assert os.geteuid() == 0


def test_the_halt_file_is_made_with_the_rights_of_the_directory_s_owner(
    open_directory: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = open_directory / "state"
    state.mkdir()
    os.chown(state, ACCOUNT.uid, ACCOUNT.gid)
    (state / "HALT").symlink_to(secret)  # a link counts as a halt, and is left alone
    halting._halt_by_file(state / "HALT", HaltLevel.ALL, "full", "the database is away")
    assert secret.read_text() == SECRET
    (state / "HALT").unlink()
    halting._halt_by_file(state / "HALT", HaltLevel.ALL, "full", "the database is away")
    assert (state / "HALT").stat().st_uid == ACCOUNT.uid
    assert "halted: no new orders" in capsys.readouterr().out


def test_live_trading_wants_an_account_of_its_own(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As root without the account `upbitd` everything of `nobody` was superuser (finding 15)."""
    monkeypatch.setattr("daemon.postgres.server_paths.ACCOUNTS", ("no-such-account", "nobody"))
    with pytest.raises(EmbeddedError, match="useradd --system upbitd"):
        refuse_nobody(open_directory / "postgres" / "data")
    data = open_directory / "there" / "data"
    data.mkdir(parents=True)
    os.chown(data, ACCOUNT.uid, ACCOUNT.gid)  # made in paper mode, or by an earlier release
    with pytest.raises(EmbeddedError, match="chown -R upbitd"):
        refuse_nobody(data)
    os.chown(data, 1, 1)
    refuse_nobody(data)


def test_a_daemon_that_trades_for_real_refuses_nobody(tmp_path: Path, open_directory: Path) -> None:
    if any(each.pw_name == "upbitd" for each in pwd.getpwall()):
        pytest.skip("there is an account upbitd")
    path = tmp_path / "config.toml"
    path.write_text(
        f"[daemon]\nstate_dir = '{open_directory / 'state'}'\n[trading]\nmode = 'live'\n"
        "[signals]\nsource = 'rules'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "run", "--config", str(path)],
        env={
            **os.environ,
            "UPBIT_ACCESS_KEY": "x" * 40,
            "UPBIT_SECRET_KEY": "y" * 40,
            "UPBITD_LIVE_CONFIRMED": "1",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "useradd --system upbitd" in done.stdout
    assert not (open_directory / "state" / "postgres").exists()
