"""Secrets of recognisable form, errors that hold them, and a search in everything that came out."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest
from fixtures.postgres import copied
from fixtures.process import Daemon
from fixtures.sandbox import Sandbox, running_sandbox
from fixtures.told import listening_hook, running_daemon, toml
from psycopg.sql import SQL, Identifier

from daemon.config.load import ConfigError, load
from daemon.postgres.server import EmbeddedPostgres
from daemon.redaction import forms_of

ACCESS = "CANARYACCESSq7Zr2Vw9Lk4Tn8Xs1Bd6Hf3Gm5Jc"
SECRET = "CANARYSECRETp3Yt6Ru9Ei2Wo5Qa8Sd1Fg4Hj7Kl"
GEMINI = "SANDBOX-GEMINI-KEY-NOT-A-REAL-ONE"
DATABASE = "CANARYDBPASSm4N7b0V3"
REDIS = "CANARYREDIS@PASSk8J5h2"
TOKEN = "CANARYHEALTHTOKEN0a9S8d"
HOOK = "CANARYHOOKPATHu6Y3t0R7"
HOOK_KEY = "CANARYHOOKKEYi5O2p9L6"
PING = "CANARYPINGPATHe4F7g1Q8"
BALANCE = "31415926"
SECRETS = {
    "access key": ACCESS,
    "secret key": SECRET,
    "Gemini key": GEMINI,
    "database": DATABASE,
    "Redis": REDIS,
    "health token": TOKEN,
    "hook's path": HOOK,
    "hook's key": HOOK_KEY,
    "ping address": PING,
}

WRONG = {
    "UPBITD_ALERTS__HOOKS": f'[{{"url": "hooks.example/services/{HOOK}?key={HOOK_KEY}"}}]',
    "UPBITD_HEALTH__PING_URL": f"hc-ping.com/{PING}",
    "UPBITD_REDIS__URL": f"redis:/:{REDIS}@h:6379/0",
    "UPBITD_DATABASE__URL": f"mysql://upbitd:x@{DATABASE}@db.example/upbitd",
    "UPBITD_HEALTH__TOKEN": TOKEN[:15],
}

CONFIG = """
[trading]
mode = "live"
[database]
url = {database}
[redis]
url = "redis://:{redis}@127.0.0.1:1/0"
[upbit]
base_url = {base_url}
timeout = "1s"
[gemini]
base_url = {base_url}
timeout = "1s"
[jobs.market]
every = "2s"
offset = "0s"
history = "2h"
[jobs.signals]
every = "2s"
offset = "0s"
[jobs.orders]
every = "1s"
[retry]
delays = [0.05]
[health]
port = 0
token = "{token}"
ping_url = "http://127.0.0.1:1/{ping}"
ping_every = "1s"
[alerts]
hooks = [
    {{exec = ["/bin/sh", "-c", {program}]}},
    {{url = {hook}}},
    {{url = "http://127.0.0.1:1/{hook_path}?key={hook_key}"}},
]
[log]
level = "TRACE"
file = {log_file}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that came out, by where, and the lines as values."""

    sinks: Mapping[str, str]
    daemon: Daemon


@pytest.fixture(scope="module")
def told(
    postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    place = tmp_path_factory.mktemp("canary")
    path = f"/{HOOK}?key={HOOK_KEY}"
    with (
        copied(postgres, template) as url,
        running_sandbox() as sandbox,
        listening_hook(path) as (hook, posted),
    ):
        prepare(sandbox)
        config = place / "config.toml"
        config.write_text(
            CONFIG.format(
                database=toml(with_password(url)),
                base_url=toml(sandbox.base_url),
                redis=quote(REDIS, safe=""),
                ping=PING,
                token=TOKEN,
                program=toml(f"cat >> {place}/stdin; env >> {place}/environment"),
                hook=toml(hook),
                hook_path=HOOK,
                hook_key=HOOK_KEY,
                log_file=toml(str(place / "log")),
            ),
            encoding="utf-8",
        )
        keys = {"UPBIT_ACCESS_KEY": ACCESS, "UPBIT_SECRET_KEY": SECRET, "GEMINI_API_KEY": GEMINI}
        with running_daemon(config, keys) as daemon:
            answers = provoke(daemon, sandbox, url)
            sandbox.fault(path="/v1/ticker", action="answer", status=503, body=SECRET, count=0)
            commands = ask(config, keys)
            assert daemon.stop() == 0
        sinks = answers | commands | tables(url)
    files = ("log", "stderr", "stdin", "environment")
    sinks |= {name: (place / name).read_text("utf-8") for name in files}
    sinks |= {"stdout": "\n".join(map(json.dumps, daemon.lines)), "posted": "\n".join(posted)}
    return Told(sinks=sinks, daemon=daemon)


def with_password(url: str) -> str:
    """The same database with a password that nobody asks for."""
    user = urlsplit(url).username
    return url.replace(f"{user}@", f"{user}:{DATABASE}@", 1)


def prepare(sandbox: Sandbox) -> None:
    """Our own keys, a balance to look for, and answers that repeat what they were sent."""
    sandbox.options(quotas=False, fill_min_ms=0, fill_max_ms=0)
    sandbox.key(access_key=ACCESS, secret_key=SECRET, pocket="canary")
    sandbox.credit("KRW", BALANCE, "canary")
    echo = {
        "error": {"name": "jwt_verification", "message": f"{ACCESS} {SECRET} Bearer eyJhbGci.e30.x"}
    }
    wrong_key = {
        "error": {
            "code": 400,
            "status": "INVALID_ARGUMENT",
            "message": f"API key not valid: {GEMINI}, see https://x.test/?key={GEMINI}",
        }
    }
    short = {
        "error": {
            "name": "insufficient_funds_bid",
            "message": f"balance: {BALANCE}.5 KRW, locked={BALANCE}, key {ACCESS}",
        }
    }
    sandbox.fault(path="*generateContent*", action="answer", status=400, body=wrong_key)
    sandbox.fault(path="*generateContent*", action="hang")
    sandbox.fault(path="*generateContent*", action="answer", status=500, body=wrong_key)
    sandbox.fault(method="POST", path="/v1/orders", action="answer", status=400, body=short)
    sandbox.fault(path="/v1/ticker", action="answer", status=401, body=echo, nth=3, count=2)
    sandbox.fault(path="/v1/accounts", action="answer", status=401, body=echo, nth=3)


def provoke(daemon: Daemon, sandbox: Sandbox, url: str) -> dict[str, str]:
    """Let everything go wrong once; return what the port says."""
    base = daemon.ready()
    daemon.until("alert.failed")
    daemon.until("health.ping_failed")
    daemon.until("order.state", state="refused")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
    sandbox.fault(path="/v1/ticker", action="answer", status=503, body=SECRET, count=8)
    daemon.until("job.metric", reason="retries exhausted")
    daemon.until("job.metric", job="orders", outcome="ok")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    paths = ("/health", "/metrics", "/", "/page.json", "/stats", "/cache-stats", "/readyz")
    answers = {path: httpx.get(base + path, headers=headers).text for path in paths}
    by_query = httpx.get(f"{base}/health?token={TOKEN}")
    answers["by query"] = f"{by_query.headers} {by_query.text}"
    answers["wrong token"] = httpx.get(f"{base}/health?token={TOKEN[:-1]}").text
    return answers


def ask(config: Path, keys: Mapping[str, str]) -> dict[str, str]:
    """What commands print to a person who has the keys, while the exchange repeats one."""
    said = {}
    for command in ("migrate status", "doctor", "slots --json"):
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *command.split(), "--config", str(config)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **keys},
        )
        said[f"upbitd {command}"] = done.stdout + done.stderr
    return said | {variable: refuse(config, variable, text) for variable, text in WRONG.items()}


def refuse(config: Path, variable: str, text: str) -> str:
    """What a start says to a setting that holds a secret in the wrong form."""
    with pytest.raises(ConfigError) as refused:
        load(config, {variable: text})
    return str(refused.value)


def tables(url: str) -> dict[str, str]:
    """Every row of every table as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return {f"table {name}": rows(connection, name) for (name,) in names}


def rows(connection: psycopg.Connection, table: str) -> str:
    query = SQL("SELECT t::text FROM {} AS t").format(Identifier(table))
    return "\n".join(row[0] for row in connection.execute(query))


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_in_any_sink(told: Told, name: str) -> None:
    secret = SECRETS[name]
    found = {
        (sink, form)
        for sink, text in told.sinks.items()
        for form in {secret, secret[:20], secret.lower()} | forms_of(secret)
        if form in text
    }
    assert found == set()


def test_no_token_of_a_request_is_in_any_sink(told: Told) -> None:
    assert [sink for sink, text in told.sinks.items() if "eyJhbGci" in text] == []


@pytest.mark.parametrize(
    "sink", ["log", "stdout", "stderr", "stdin", "posted", "table llm_calls", "table alerts"]
)
def test_no_balance_is_in_a_log_an_alert_or_a_prompt(told: Told, sink: str) -> None:
    text = told.sinks[sink]
    assert [each for each in (BALANCE, "31,415,926") if each in text] == []


def test_the_errors_that_held_them_were_told(told: Told) -> None:
    """The search has something to search: every provoked error left its trace."""
    for sink in ("log", "stdin", "posted", "table llm_calls", "table alerts", "table job_runs"):
        assert "***" in told.sinks[sink] or sink == "table llm_calls", sink
    assert "API key not valid" in told.sinks["table llm_calls"]
    assert "Refused" in told.sinks["table job_runs"]
    assert told.daemon.of("alert.failed")
    assert told.sinks["stderr"] == ""
