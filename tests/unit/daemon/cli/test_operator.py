"""Who gives a command, as the audit remembers it."""

import os
import pwd

import pytest

from daemon.cli.operator import describe

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("uid", "environ", "login", "said"),
    [
        (os.getuid(), {}, None, f"cli:{ME}"),
        (os.getuid(), {"SUDO_USER": "alice"}, None, f"cli:{ME} (sudo: alice)"),
        (os.getuid(), {"DOAS_USER": "alice"}, None, f"cli:{ME} (sudo: alice)"),
        (os.getuid(), {"SUDO_USER": ME}, os.getuid(), f"cli:{ME}"),
        (os.getuid(), {"SUDO_USER": "a\x1b[2J\n"}, None, f"cli:{ME} (sudo: a[2J)"),
        (os.getuid(), {}, 4_000_000_001, f"cli:{ME} (login: 4000000001)"),
        (4_000_000_002, {}, None, "cli:4000000002"),
    ],
)
def test_the_person_behind_the_account_is_named(
    uid: int, environ: dict[str, str], login: int | None, said: str
) -> None:
    """Every documented command was audited as `cli:upbitd` (security review, 11 d)."""
    assert describe(uid, environ, login) == said
