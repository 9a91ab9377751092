"""What halts trading: the file in each of its corners, and which of two halts counts."""

import errno
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.domain.halt import NOT_HALTED, Halt, HaltLevel, halted_by_file, shown, strongest

SINCE = datetime(2026, 1, 5, 3, tzinfo=UTC)
ALL = Halt(level=HaltLevel.ALL, by="cli:me", since=SINCE, reason="why not")
ENTRIES = replace(ALL, level=HaltLevel.ENTRIES)


def test_no_file_is_no_halt(tmp_path: Path) -> None:
    assert halted_by_file(tmp_path / "HALT") == NOT_HALTED
    assert halted_by_file(tmp_path / "not made yet" / "HALT") == NOT_HALTED


@pytest.mark.parametrize("name", ["HALT", "halt", "Halt"])
def test_a_file_of_that_name_halts_all(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("exchange maintenance\nand more")
    found = halted_by_file(tmp_path / "HALT")
    assert found.level is HaltLevel.ALL
    assert found.reason == "exchange maintenance"
    assert found.since is not None
    assert str(tmp_path / name) in found.ended_by


def test_a_file_can_halt_entries_alone(tmp_path: Path) -> None:
    (tmp_path / "HALT-ENTRIES").touch()
    assert halted_by_file(tmp_path / "HALT").level is HaltLevel.ENTRIES
    (tmp_path / "HALT").touch()
    assert halted_by_file(tmp_path / "HALT").level is HaltLevel.ALL


def test_a_folder_a_pipe_and_a_link_to_nowhere_halt(tmp_path: Path) -> None:
    """`Path.exists` followed the link and said no (security review, 17)."""
    file = tmp_path / "HALT"
    file.symlink_to(tmp_path / "nowhere")
    assert halted_by_file(file).level is HaltLevel.ALL
    file.unlink()
    file.mkdir()
    assert halted_by_file(file).level is HaltLevel.ALL
    file.rmdir()
    os.mkfifo(file)
    assert halted_by_file(file) == replace(halted_by_file(file), reason=None)


def test_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "HALT").symlink_to(tmp_path / "secret")
    assert halted_by_file(tmp_path / "HALT").reason is None


@pytest.mark.parametrize("fault", [errno.EIO, errno.EACCES, errno.ELOOP, errno.ENOTDIR])
def test_only_no_such_file_means_not_halted(
    tmp_path: Path, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_more: object) -> os.stat_result:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "lstat", broken)
    found = halted_by_file(tmp_path / "HALT")
    assert found.level is HaltLevel.ALL
    assert os.strerror(fault) in str(found)


def test_a_state_directory_that_is_a_file_halts(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert halted_by_file(tmp_path / "state" / "HALT").level is HaltLevel.ALL


def test_what_the_command_wrote_names_who_and_why(tmp_path: Path) -> None:
    file = tmp_path / "HALT"
    file.write_text("upbitd halt\ncli:root (sudo: alice)\nthe disk is full\n")
    found = halted_by_file(file)
    assert (found.by, found.reason) == (f"cli:root (sudo: alice) ({file})", "the disk is full")
    assert found.ended_by == "`upbitd resume` ends it"
    file.write_bytes(b"upbitd halt")
    assert halted_by_file(file).own


def test_the_stronger_of_two_counts_and_equal_ones_name_the_file(tmp_path: Path) -> None:
    by_file = replace(ALL, by="the file", file=tmp_path / "HALT")
    assert strongest(ENTRIES, by_file) is by_file
    assert strongest(by_file, NOT_HALTED) is by_file
    assert strongest(NOT_HALTED, ENTRIES) is ENTRIES
    both = strongest(ALL, by_file)
    assert (both.by, both.file) == ("cli:me", tmp_path / "HALT")
    assert "`upbitd resume` and the removal of" in both.ended_by


@pytest.mark.parametrize(
    ("level", "bid", "ask"),
    [(HaltLevel.NONE, False, False), (HaltLevel.ENTRIES, True, False), (HaltLevel.ALL, True, True)],
)
def test_what_each_level_stops(level: HaltLevel, bid: bool, ask: bool) -> None:
    assert (level.stops("bid"), level.stops("ask")) == (bid, ask)


def test_a_halt_in_a_sentence() -> None:
    assert str(NOT_HALTED) == "not halted"
    assert str(ALL) == (
        "halted (all) by cli:me since 2026-01-05 03:00:00 UTC: why not; `upbitd resume` ends it"
    )


def test_foreign_text_is_one_harmless_line() -> None:
    assert shown("a\x1b[2J\nb\t c") == "a [2J b c"
    assert shown(" \n ") is None
    assert len(shown("x" * 999) or "") == 200
