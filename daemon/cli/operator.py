"""Who gives a command, as the tables remember it."""

import os
import pwd
from collections.abc import Mapping
from functools import cache
from pathlib import Path

NOBODY_LOGGED_IN = 2**32 - 1
LOGIN = Path("/proc/self/loginuid")


@cache
def operator() -> str:
    """The person at this command line, for the audit: the account, and who became it.

    Remembered, because a command of root's goes on as the daemon's account.
    """
    return describe(os.getuid(), os.environ, _login_uid())


def describe(uid: int, environ: Mapping[str, str], login_uid: int | None) -> str:
    """Return `cli:ACCOUNT`, with the person behind it when that is another one."""
    name = _name(uid)
    behind = environ.get("SUDO_USER") or environ.get("DOAS_USER")
    if behind and behind != name:
        return f"cli:{name} (sudo: {_harmless(behind)})"
    if login_uid is not None and (person := _name(login_uid)) != name:
        return f"cli:{name} (login: {person})"
    return f"cli:{name}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _login_uid() -> int | None:
    """Who logged in, which no `su` changes; None where the kernel does not say."""
    try:
        uid = int(LOGIN.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == NOBODY_LOGGED_IN else uid


def _harmless(name: str) -> str:
    return "".join(each for each in name if each.isprintable())[:64]
