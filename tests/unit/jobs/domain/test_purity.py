"""The rules of trading need neither database nor network: importing them loads no such library."""

import subprocess
import sys

PROBE = """
import pkgutil, sys
import jobs.candles, jobs.domain, jobs.matching
for package in (jobs.domain, jobs.matching, jobs.candles):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        __import__(module.name)
print(*sorted({"sqlalchemy", "psycopg", "redis", "httpx", "google.genai"} & set(sys.modules)))
"""


def test_rules_candles_and_matching_load_no_database_and_no_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == ""
