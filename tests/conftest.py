"""The fixtures of the whole suite; `tests` is on the path, so each is `fixtures.NAME`."""

pytest_plugins = [
    "fixtures.accounts",
    "fixtures.gemini",
    "fixtures.decisions",  # after what it imports
    "fixtures.local_venue",
    "fixtures.loglines",
    "fixtures.postgres",
    "fixtures.first_release",
    "fixtures.many_rows",  # after what it imports
    "fixtures.raw_http",
    "fixtures.redis_server",
    "fixtures.sandbox",
    "fixtures.trading",
    "fixtures.venue",
    "fixtures.process",  # after what it imports
    "fixtures.whole_run",
    "fixtures.virtual_time",
]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: a gzip header holds the time, and every worker needs one name."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None
