"""Commands, their options and how they end, as the command line itself has them."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from daemon.__main__ import make_app

LISTING = {"--json", "--limit", "--since"}
COMMANDS: Mapping[str, set[str]] = {
    "run": set(),
    "demo": {"--duration", "--port", "--data", "--keep"},
    "doctor": set(),
    "migrate up": set(),
    "migrate down": set(),
    "migrate status": set(),
    "health": {"--url"},
    "stats": {"--since", "--json"},
    "settings list": {"--json"},
    "settings get": set(),
    "settings set": set(),
    "halt": {"--reason", "--entries"},
    "resume": set(),
    "flatten": set(),
    "explain": set(),
    "orders": LISTING,
    "signals": LISTING,
    "positions": LISTING,
    "slots": LISTING,
    "alerts": LISTING,
    "sandbox": {"--port", "--data"},
}


def leaves(group: TyperGroup, prefix: str = "") -> dict[str, TyperCommand]:
    """Every command that does something, by what people type."""
    found: dict[str, TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= leaves(command, f"{prefix}{name} ")
            if command.invoke_without_command:
                found[f"{prefix}{name}"] = command  # type: ignore[assignment]  # takes options, too
        else:
            assert isinstance(command, TyperCommand)
            found[f"{prefix}{name}"] = command
    return found


def commands() -> dict[str, TyperCommand]:
    top = get_command(make_app())
    assert isinstance(top, TyperGroup)
    return leaves(top)


@pytest.mark.parametrize(("name", "options"), COMMANDS.items())
def test_a_command_takes_its_options(name: str, options: set[str]) -> None:
    taken = {each for parameter in commands()[name].params for each in parameter.opts}
    assert options | {"--config"} <= taken


@pytest.mark.parametrize("name", commands())
def test_the_help_of_every_command_has_an_example_of_it(name: str) -> None:
    text = commands()[name].help or ""
    assert "Example: " in text
    assert f"upbitd {name}" in text.partition("Example: ")[2]


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(make_app(), list(arguments), input=stdin)


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = {json.dumps(dsn)}\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("migrate", "status"), 0),
        (("migrate", "up"), 0),
        (("settings", "list"), 0),
        (("settings", "get", "stop_loss_pct"), 0),
        (("settings", "get", "stop_los_pct"), 2),
        (("settings", "set", "stop_loss_pct", "7"), 0),
        (("settings", "set", "stop_loss_pct", "much"), 2),
        (("halt", "--reason", "a test"), 0),
        (("resume",), 0),
        (("explain", "1"), 1),
        (("orders",), 0),
        (("signals",), 0),
        (("positions",), 0),
        (("slots",), 0),
        (("alerts",), 0),
        (("stats", "--since", "24h"), 0),
        (("stats", "-"), 0),
    ],
)
def test_a_command_ends_as_promised(config: str, arguments: tuple[str, ...], code: int) -> None:
    done = call(*arguments, "--config", config, stdin="")
    assert done.exit_code == code, done.output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {"sandbox", "health"}])
def test_a_bad_configuration_ends_every_command(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[databse]\n", encoding="utf-8")
    arguments = {
        "explain": ["1"],
        "migrate down": ["base"],
        "settings get": ["halted"],
        "settings set": ["halted", "true"],
    }
    done = call(*name.split(), *arguments.get(name, []), "--config", str(path))
    assert done.exit_code == (1 if name == "doctor" else 2), done.output
    assert "databse" in done.output


def test_a_schema_that_is_not_at_head_ends_with_3(config: str) -> None:
    assert call("migrate", "down", "base", "--yes", "--config", config).exit_code == 0
    behind = call("migrate", "status", "--config", config)
    assert behind.exit_code == 3
    assert "upbitd migrate up" in behind.output


def test_no_database_ends_with_3(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[database]\nurl = "postgresql://u@127.0.0.1:1/d"\n', encoding="utf-8")
    for arguments in (("migrate", "status"), ("orders",)):
        assert call(*arguments, "--config", str(path)).exit_code == 3


def test_no_answer_from_the_port_ends_with_2() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert call("health", "--url", address).exit_code == 2
