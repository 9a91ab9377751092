"""The reduced proofs of health, liveness and alerts; the full ones are `make truth` and others."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from truth.alerts import prove
from truth.liveness import STUCK, Manager, is_alive, until
from truth.scenarios import QUIET
from truth.world import World

TESTS = Path(__file__).parents[1]
PATIENCE_S = 60.0


@pytest.mark.timeout(300)
def test_no_component_is_green_in_trouble_or_red_without_it(tmp_path: Path) -> None:
    result = tmp_path / "rows.json"
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "truth", "--brief", "--json", str(result)],
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    rows = json.loads(result.read_text(encoding="utf-8"))
    assert len(rows) >= 12
    assert {row["name"]: row["faults"] for row in rows if row.get("greens", 1)} == {}
    reds = sum(row["reds"][0] for row in rows)
    assert reds <= 0.01 * sum(row["reds"][1] for row in rows), [
        (row["name"], row["causes"]) for row in rows if row["reds"][0]
    ]


@pytest.mark.timeout(300)
def test_a_stuck_loop_is_said_and_ends_with_the_watchdog(open_directory: Path) -> None:
    manager = Manager(open_directory, watchdog_s=3.0)
    with World(open_directory, QUIET) as world:
        world.daemon.environ = manager.environ
        world.restart()
        with manager.watching(world.daemon.process):
            for name, value in STUCK["loop blocked in a call"].items():
                world.daemon.pull(name, value)
            assert until(lambda: not is_alive(world.daemon), PATIENCE_S)
            assert until(lambda: world.daemon.process.poll() is not None, PATIENCE_S)
        assert world.daemon.process.returncode == -signal.SIGABRT
        said = {line["event"]: line for line in world.daemon.lines}
        assert "no progress of loop" in said["daemon.no_progress"]["cause"]
    manager.close()


@pytest.mark.timeout(300)
def test_no_alert_is_lost_by_kills_and_failing_hooks(dsn: str, tmp_path: Path) -> None:
    done = prove(dsn, tmp_path, kills=1)
    assert done.taken > 0
    assert done.lost == 0


@pytest.mark.timeout(300)
def test_a_database_that_is_away_is_told_of_once_and_its_return_too(open_directory: Path) -> None:
    told = open_directory / "told"
    hook = open_directory / "hook.py"
    hook.write_text(
        f"import sys\nopen({str(told)!r}, 'a').write(sys.stdin.read())\n", encoding="utf-8"
    )

    def kinds() -> list[str]:
        lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
        return [json.loads(line)["kind"] for line in lines]

    with World(open_directory, QUIET) as world:
        hooks = json.dumps([{"exec": [sys.executable, str(hook)], "min_severity": "critical"}])
        world.daemon.environ = {"UPBITD_ALERTS__HOOKS": hooks}
        world.restart()
        world.server.stop()
        assert until(lambda: "database_down" in kinds(), PATIENCE_S)
        world.server.start()
        world.reconnect()
        assert until(lambda: "recovered" in kinds(), PATIENCE_S)
    assert kinds() == ["database_down", "recovered"]
