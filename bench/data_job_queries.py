"""Statements that one run of each job sends, as the guard in the test suite counts them.

python -m bench.data_job_queries
"""

import subprocess
import sys

GUARD = "tests/integration/jobs/test_query_counts.py"


def main() -> int:
    """Run the guard and print what it counted."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", GUARD],
        check=False,
        capture_output=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        if line.startswith("queries: "):
            print(line.removeprefix("queries: "))
    print("within the limits of the guard" if done.returncode == 0 else "OVER THE LIMITS")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
