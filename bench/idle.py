"""What a daemon costs that collects five markets and trades nothing: memory and CPU.

The daemon runs as a process against the local exchange with the default periods; what it has to
catch up with at its start is left out.

    python -m bench.idle [--seconds 180]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench._daemon import CONFIG, ready_daemon, sandbox
from bench._scratch import fresh_database, scratch_server

GOAL_MIB, GOAL_PCT = 160.0, 0.4
SETTLE_S = 60.0


def rss_mib(pid: int) -> float:
    """The memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(path: Path, seconds: float) -> tuple[float, float]:
    """MiB at the end, and per cent of one core over so many seconds."""
    with ready_daemon(path) as (pid, _):
        time.sleep(SETTLE_S)
        before_s, began_s = cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        used_s, took_s = cpu_s(pid) - before_s, time.monotonic() - began_s
        return rss_mib(pid), 100 * used_s / took_s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    seconds = parser.parse_args().seconds
    with (
        sandbox() as exchange,
        tempfile.TemporaryDirectory(prefix="upbitd bench ") as directory,
        scratch_server() as server,
        fresh_database(server) as url,
    ):
        path = Path(directory) / "config.toml"
        path.write_text(CONFIG.format(state=directory, database=url, exchange=exchange))
        mib, pct = measure(path, seconds)
    is_good = mib <= GOAL_MIB and pct <= GOAL_PCT
    print(f"memory {mib:>7.1f} MiB             goal {GOAL_MIB:g}")
    print(f"CPU    {pct:>7.2f} % of one core   goal {GOAL_PCT:g}")
    print("met" if is_good else "MISSED")
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
