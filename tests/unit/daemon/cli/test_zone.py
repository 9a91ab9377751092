"""Times on the command line are those of daemon.timezone, and say so."""

from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from daemon.cli import zone
from daemon.cli.arguments import instant
from daemon.cli.options import read_config
from daemon.cli.tables import show

AT = datetime(2026, 11, 20, 15, 30, 1, 250_000, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    job: str
    due: datetime | None


@pytest.fixture(autouse=True)
def own_zone() -> None:
    """What a test sets ends with it: pytest runs each in the same context."""
    zone.use("Asia/Seoul")


@pytest.mark.parametrize(
    ("name", "label", "stamp"),
    [
        ("Asia/Seoul", "KST", "2026-11-21 00:30:01"),
        ("UTC", "UTC", "2026-11-20 15:30:01"),
        ("Australia/Lord_Howe", "Australia/Lord_Howe", "2026-11-21 02:30:01"),
        ("America/New_York", "America/New_York", "2026-11-20 10:30:01"),
    ],
)
def test_tables_show_the_zone_of_the_configuration_and_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, label: str, stamp: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[daemon]\ntimezone = "{name}"\n')
    read_config(path, keys=False)
    rows = [Row("market", None), Row("orders", AT)]
    show(rows, {"job": "JOB", "due": "DUE"}, as_json=False, empty="")
    shown = capsys.readouterr().out
    assert f"DUE ({label})" in shown
    assert "JOB (" not in shown
    assert stamp in shown
    assert zone.named_stamp(AT) == f"{stamp} {label}"
    assert zone.clock(AT) == f"{stamp[-8:]}.250"


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("Asia/Seoul", "2026-11-20", "2026-11-19T15:00"),
        ("Asia/Seoul", "2026-11-20T09:00", "2026-11-20T00:00"),
        ("UTC", "2026-11-20T09:00", "2026-11-20T09:00"),
        ("Europe/Berlin", "2026-07-01T09:00", "2026-07-01T07:00"),
        ("Europe/Berlin", "2026-11-20T09:00", "2026-11-20T08:00"),
        ("Europe/Berlin", "2026-11-20T09:00+09:00", "2026-11-20T00:00"),
        ("America/Santiago", "2026-11-20T09:00Z", "2026-11-20T09:00"),
    ],
)
def test_what_people_type_is_read_in_that_zone_unless_it_names_one(
    name: str, text: str, meant: str
) -> None:
    zone.use(name)
    assert instant(text) == datetime.fromisoformat(f"{meant}+00:00")


def test_what_cannot_be_read_is_answered_with_the_zone() -> None:
    zone.use("UTC")
    with pytest.raises(typer.BadParameter, match=r"2026-11-20T09:00 \(UTC\)"):
        instant("yesterday")


def test_json_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    zone.use("America/New_York")
    show([Row("orders", AT)], {"due": "DUE"}, as_json=True, empty="")
    assert "2026-11-20T15:30:01.250000+00:00" in capsys.readouterr().out


def test_each_command_has_its_own_zone() -> None:
    copy_context().run(zone.use, "UTC")
    assert zone.label() == "KST"
