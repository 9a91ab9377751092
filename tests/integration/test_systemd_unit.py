"""The unit is understood by systemd, is confined, and agrees with the daemon."""

import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.config.sections import CREDENTIALS, DaemonConfig, Secrets

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "upbitd.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not installed here, only systemd can judge a unit"
)


def values(key: str) -> list[str]:
    """Every value of `key` in the unit."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def only(key: str) -> str:
    [value] = values(key)
    return value


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as on a machine where its program exists."""
    copy = tmp_path / UNIT.name
    command = only("ExecStart").split()[0]
    copy.write_text(UNIT.read_text().replace(command, sys.executable))
    return copy


@needs_systemd
def test_systemd_understands_every_line(installed: Path) -> None:
    result = analyze("verify", "--man=no", "--recursive-errors=no", str(installed))
    about_us = [line for line in result.stderr.splitlines() if "upbitd" in line]
    assert about_us == []
    assert result.returncode == 0


@needs_systemd
def test_a_line_that_is_wrong_would_be_noticed(installed: Path) -> None:
    installed.write_text(installed.read_text().replace("[Service]", "[Service]\nProtectSytem=yes"))
    result = analyze("verify", "--man=no", "--recursive-errors=no", str(installed))
    assert "ProtectSytem" in result.stderr


@needs_systemd
def test_exposure_is_at_most_1_5() -> None:
    result = analyze("security", "--offline=true", "--threshold=15", str(UNIT))
    assert result.returncode == 0, result.stdout[-200:]


def seconds(text: str) -> timedelta:
    return timedelta(seconds=int(text))


def test_stopping_has_more_time_than_the_daemon_takes() -> None:
    assert seconds(only("TimeoutStopSec")) >= DaemonConfig().shutdown_grace + timedelta(seconds=20)


def test_a_silent_lane_ends_the_daemon_within_30_seconds() -> None:
    noticed = timedelta(seconds=10)
    assert noticed + seconds(only("WatchdogSec")) <= timedelta(seconds=30)


def test_what_a_restart_cannot_mend_is_not_restarted() -> None:
    assert only("Restart") == "on-failure"
    assert only("RestartPreventExitStatus").split() == ["2", "4"]
    assert only("StartLimitIntervalSec") == "0"


def test_systemd_waits_for_ready_and_hears_the_main_process_only() -> None:
    assert (only("Type"), only("NotifyAccess"), only("KillMode")) == ("notify", "main", "mixed")


def test_every_secret_comes_as_a_credential_and_a_missing_one_is_skipped() -> None:
    # only the form without a path lets systemd skip a file that is not there
    assert values("LoadCredential") == [*Secrets.model_fields, *CREDENTIALS]


def test_no_secret_stands_in_the_unit() -> None:
    assert not [line for line in values("Environment") if "KEY" in line]


def test_the_state_directory_is_the_working_directory() -> None:
    assert only("WorkingDirectory") == f"/var/lib/{only('StateDirectory')}"


def test_the_journal_is_told_priorities() -> None:
    assert only("SyslogLevelPrefix") == "yes"
    assert only("SyslogIdentifier") == "upbitd"  # what `journalctl -t upbitd` in the docs means


def test_others_cannot_read_the_configuration() -> None:
    assert only("ConfigurationDirectoryMode") == "0750"


def test_memory_ends_the_daemon_before_the_machine() -> None:
    assert (only("MemoryHigh"), only("MemoryMax")) == ("1G", "2G")


@pytest.mark.parametrize("guide", ["README.md", "README.ko.md", "systemd/README.md"])
def test_the_guides_install_the_configuration_for_the_daemon_alone(guide: str) -> None:
    lines = (ROOT / guide).read_text("utf-8").splitlines()
    installs = [line for line in lines if "config.toml" in line and "install " in line]
    assert all("-m640 -g upbitd" in line for line in installs)
    assert installs or guide == "README.ko.md"
