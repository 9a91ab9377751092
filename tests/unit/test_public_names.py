"""Users' strategies import from `upbitd` alone, and every name it promises is there."""

import re
from pathlib import Path

import upbitd

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"^\s*(?:from|import) (daemon|jobs|health|sandbox|upbitd)\b", re.MULTILINE)


def test_every_promised_name_is_there_and_described() -> None:
    for name in upbitd.__all__:
        assert getattr(upbitd, name) is not None
    described = [each for each in upbitd.__all__ if isinstance(getattr(upbitd, each), type)]
    assert [each for each in described if not getattr(upbitd, each).__doc__] == []


def test_examples_and_documents_import_from_it_alone() -> None:
    texts = [*(ROOT / "docs" / "examples").rglob("*.py"), ROOT / "docs" / "signals.md"]
    found = {name for path in texts for name in OURS.findall(path.read_text("utf-8"))}
    assert found == {"upbitd"}
