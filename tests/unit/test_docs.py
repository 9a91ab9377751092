"""What the documents name exists: files, folders, links and targets of make."""

import re
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from daemon.__main__ import make_app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(chain(ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md")))
NAMED = re.compile(
    r"`((?:bench|daemon|docs|health|jobs|migrations|sandbox|systemd|tests)/[^`\s]*)`"
)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"`make ([a-z][a-z-]*)`|^make ([a-z][a-z-]*)\b", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    named = {f"{ROOT}/{path.partition('::')[0]}" for path in NAMED.findall(text)}
    linked = {f"{document.parent}/{path}" for path in LINK.findall(text)}
    assert sorted(path for path in named | linked if not exists(path)) == []


def exists(path: str) -> bool:
    """Whether there is such a file, or one that the pattern means."""
    if "*" in path:
        return any(ROOT.glob(str(Path(path).relative_to(ROOT))))
    return Path(path).exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_targets_of_make_that_a_document_names_are_there(document: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text("utf-8")))
    named = {first or second for first, second in MAKE.findall(document.read_text("utf-8"))}
    assert named <= targets


def test_the_readme_names_every_command() -> None:
    command = get_command(make_app())
    assert isinstance(command, TyperGroup)
    text = (ROOT / "README.md").read_text("utf-8").partition("## Commands")[2]
    table = text.partition("## ")[0]
    assert [
        name for name in command.commands if f"`{name}`" not in table.replace("upbitd ", "")
    ] == []


def test_the_map_of_the_architecture_has_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"[a-z_*]+\.py", text))
    tops = (ROOT / "daemon", ROOT / "jobs")
    folders = [*tops, *(folder for top in tops for folder in top.glob("[a-z]*/"))]
    files = [path for folder in folders if folder.name != "store" for path in folder.glob("*.py")]
    missing = [
        path.name
        for path in files
        if not any(fnmatchcase(path.name, each) for each in named) and path.name != "__init__.py"
    ]
    assert missing == []
