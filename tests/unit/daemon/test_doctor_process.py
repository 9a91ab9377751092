"""What the doctor says of the log file and the environment."""

from pathlib import Path

import pytest

from daemon.config import Config, from_mapping
from daemon.doctor_process import log_file


def config(**sections: object) -> Config:
    return from_mapping(sections, {}, keys=False)


def test_without_a_log_file_there_is_nothing_to_look_at() -> None:
    assert log_file(config()).level == "note"


@pytest.mark.parametrize(("name", "level"), [("new/a.log", "ok"), ("a.log", "ok"), (".", "fault")])
def test_a_log_file_is_tried_without_writing(tmp_path: Path, name: str, level: str) -> None:
    (tmp_path / "a.log").write_text("x")
    found = log_file(config(log={"file": str(tmp_path / name)}))
    assert found.level == level
    assert (level == "fault") == bool(found.mend)
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]
    assert (tmp_path / "a.log").read_text() == "x"


def test_a_folder_that_is_missing_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = log_file(config(log={"file": str(tmp_path / "file" / "a.log")}))
    assert (found.level, "Not a directory" in found.said) == ("fault", True)
