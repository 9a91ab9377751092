"""The command line is whole, and loads no more of itself than the command at hand needs."""

import subprocess
import sys

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from daemon.__main__ import FAMILIES, make_app, wanted


def commands(families: list[str]) -> list[str]:
    """The names of the commands, in the order of `--help`."""
    group = get_command(make_app(families))
    assert isinstance(group, TyperGroup)
    return sorted(group.commands)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_the_commands_that_the_table_says(family: str) -> None:
    assert commands([family]) == sorted(FAMILIES[family])
    for name in FAMILIES[family]:
        assert wanted([name, "--help"]) == [family]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["no-such-command"], ["--version", "run"]])
def test_arguments_without_a_command_load_all_families(arguments: list[str]) -> None:
    assert wanted(arguments) == list(FAMILIES)


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        ("jobs", ["talib", "jwt", "alembic", "httpx"]),
        ("halt", ["talib", "jwt", "alembic"]),
        ("health", ["talib", "jwt", "alembic", "sqlalchemy"]),
    ],
)
def test_what_a_person_may_need_at_once_starts_without_the_weight_of_others(
    command: str, spared: list[str]
) -> None:
    program = (
        "import sys\n"
        "from daemon.__main__ import make_app, wanted\n"
        "make_app(wanted([sys.argv[1]]))\n"
        "print(*(name for name in sys.argv[2:] if name in sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program, command, *spared],
        check=True,
        capture_output=True,
        text=True,
    )
    assert loaded.stdout.split() == []
