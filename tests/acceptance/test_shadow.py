"""A live daemon with `signals.shadow`: a paper twin runs beside it, in the same slots."""

import json
import subprocess
import sys
from pathlib import Path

import psycopg
from fixtures.process import Start

TWIN = {"UPBITD_SIGNALS__SHADOW": "true", "UPBITD_SIGNALS__SOURCE": "rules"}


def test_the_twin_has_its_own_account_and_worth(
    start_daemon: Start, dsn: str, tmp_path: Path
) -> None:
    daemon = start_daemon(database=dsn, environ=TWIN)
    daemon.ready()
    for _ in range(2):  # the second one begins after the first one's twin has ended
        daemon.until("job.metric", job="orders", success=True)
    assert daemon.stop() == 0
    assert daemon.of("shadow.trouble") == []
    with psycopg.connect(dsn) as connection:
        modes = connection.execute("SELECT DISTINCT mode FROM equity ORDER BY mode").fetchall()
        krw = connection.execute("SELECT balance FROM paper_balances WHERE currency = 'KRW'")
        assert krw.fetchone() is not None
    assert modes == [("live",), ("paper",)]
    command = [sys.executable, "-m", "daemon", "signals", "--json"]
    command += ["--config", str(tmp_path / "config.toml")]
    listed = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE)
    for row in json.loads(listed.stdout):
        assert {"shadow_status", "shadow_reason"} <= row.keys()
