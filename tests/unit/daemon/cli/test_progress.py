"""Progress of long work: few lines where nobody looks, a bar where somebody does."""

import io
import sys

import pytest
from rich.console import Console

from daemon.cli import migrate
from daemon.cli import progress as module
from daemon.cli.progress import progress
from daemon.postgres.schema import Step


def test_elsewhere_it_is_at_most_ten_lines_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1000, unit="minutes") as advance:
        for done in range(1001):
            advance("KRW-BTC", done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= module.LINES + 1
    assert lines[-1] == "KRW-BTC: 1000 of 1000 minutes"


def test_a_total_that_is_known_later_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, unit="minutes") as advance:
        advance("a", 0, 0)
        advance("a", 5, 10)
        advance("a", 10, 10)
    assert capsys.readouterr().err.splitlines() == ["a: 5 of 10 minutes", "a: 10 of 10 minutes"]


def test_slow_work_says_something_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    with progress(1000, unit="tables") as advance:
        advance("orders", 1)
    assert capsys.readouterr().err == "orders: 1 of 1000 tables\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(
        module, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100)
    )
    with progress(10, unit="minutes") as advance:
        advance("KRW-BTC", 5)
        advance("KRW-ETH", 20, 20)
    assert "KRW-ETH" in screen.getvalue()
    assert "20/20" in screen.getvalue()


STEPS = (
    "SELECT pg_try_advisory_lock(1)",
    "CREATE TABLE a (id int)",
    "INSERT INTO alembic_version (version_num) VALUES ('0001')",
    "CREATE INDEX CONCURRENTLY b ON a (id)",
    "UPDATE alembic_version SET version_num='0002'",
)


def test_a_migration_names_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with migrate._telling(["0001", "0002"]) as watch:
        for number, statement in enumerate(STEPS, 1):
            watch(Step(number=number, statement=statement))
    assert capsys.readouterr().err.splitlines() == [
        "  CREATE TABLE a (id int)",
        "revision 0001: 1 of 2 revisions",
        "  CREATE INDEX CONCURRENTLY b ON a (id)",
        "revision 0002: 2 of 2 revisions",
    ]


def test_a_migration_on_a_terminal_shows_the_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(
        module, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100)
    )
    with migrate._telling(["0001"]) as watch:
        watch(Step(number=1, statement="CREATE TABLE a (id int)"))
        watch(Step(number=2, statement="INSERT INTO alembic_version VALUES ('0001')"))
    assert "1/1" in screen.getvalue()
