"""The demo's own settings go over a file of the user's."""

import tomllib
from datetime import timedelta
from pathlib import Path

from daemon.config.load import from_mapping
from daemon.demo.run import Sandbox, environment, variables, write_config

SANDBOX = Sandbox(
    base_url="http://127.0.0.1:1234",
    websocket_url="ws://127.0.0.1:1234/websocket/v1",
    control_url="http://127.0.0.1:1234/sandbox",
    gemini_url="http://127.0.0.1:1234",
    access_key="ACCESS-KEY-OF-THE-SANDBOX",
    secret_key="SECRET-KEY-OF-THE-SANDBOX",
    gemini_key="GEMINI-KEY-OF-THE-SANDBOX",
)


def test_every_setting_of_the_demo_is_the_same_as_variables(tmp_path: Path) -> None:
    written = tomllib.loads(write_config(tmp_path, SANDBOX, 9999).read_text("utf-8"))
    environ = environment(SANDBOX)
    assert from_mapping({}, environ | variables(written)) == from_mapping(written, environ)


def test_what_the_demo_does_not_set_stays_the_users(tmp_path: Path) -> None:
    written = tomllib.loads(write_config(tmp_path, SANDBOX, 9999).read_text("utf-8"))
    users = {
        "health": {"port": 1, "signal_max_age": "2h"},
        "jobs": {"market": {"cron": "7 * * * *"}},
    }
    config = from_mapping(users, environment(SANDBOX) | variables(written))
    assert (config.health.port, config.health.signal_max_age) == (9999, timedelta(hours=2))
    assert config.jobs.market.every == timedelta(seconds=5)
