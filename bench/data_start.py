"""From start to ready: a new database of our own, the same again, and one that is up already.

The daemon runs as a process against the local exchange; each start is timed from its spawn to its
`daemon.ready` line, and the caches are asked how warm they were.

    python -m bench.data_start [--repeats 3]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench._daemon import CONFIG, ready_daemon, sandbox
from bench._scratch import fresh_database, scratch_server

GOAL_S = 1.2


def start(path: Path) -> tuple[float, dict[str, int]]:
    """Seconds to ready, and the entries of each cache then; the daemon is stopped again."""
    began = time.perf_counter()
    with ready_daemon(path) as (_, url):
        took_s = time.perf_counter() - began
        with urllib.request.urlopen(f"{url}/cache-stats", timeout=5) as answer:  # noqa: S310
            caches = json.load(answer)["caches"]
    return took_s, {each["cache"]: each["entries"] for each in caches if each["entries"]}


def main() -> int:
    """Measure the three and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    rows: dict[str, list[float]] = {}
    warm: dict[str, int] = {}
    with sandbox() as exchange, tempfile.TemporaryDirectory(prefix="upbitd bench ") as directory:
        Path(directory).chmod(0o755)
        for n in range(repeats):
            path = Path(directory) / "config.toml"
            state = Path(directory) / f"state{n}"
            path.write_text(CONFIG.format(state=state, database="embedded", exchange=exchange))
            rows.setdefault("our own database, new", []).append(start(path)[0])
            rows.setdefault("our own database, again", []).append(start(path)[0])
        with scratch_server() as server, fresh_database(server) as url:
            path.write_text(CONFIG.format(state=state, database=url, exchange=exchange))
            start(path)
            for _ in range(repeats):
                took_s, warm = start(path)
                rows.setdefault("a database that is up", []).append(took_s)
    for name, took in rows.items():
        print(f"{name:<26}{statistics.median(took):>7.2f} s to ready")
    print(f"warm at ready: {', '.join(f'{name} {count}' for name, count in warm.items())}")
    ready_s = statistics.median(rows["a database that is up"])
    print(f"goal {GOAL_S} s with a database that is up: {'met' if ready_s <= GOAL_S else 'MISSED'}")
    return int(ready_s > GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
