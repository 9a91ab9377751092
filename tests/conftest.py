"""The fixtures of the whole suite; `tests` is on the path, so each is `fixtures.NAME`."""

pytest_plugins = [
    "fixtures.virtual_time",
]
