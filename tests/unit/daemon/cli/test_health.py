"""`upbitd health` against a real health port."""

import json
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import health as command
from health import routes
from health.report import COMPONENTS, Component, Report, Status
from health.response import Request, Response, Route, json_response
from health.server import HealthServer, Listen

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOKEN = "a-token-of-enough-length"
CAUSE = "last signal 1:12:03 ago, limit 1:00:00"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file of the machine takes part; tables are not folded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UPBITD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def report(status: Status) -> Report:
    def component(name: str) -> Component:
        ill = name == "latest_signal" and status is not Status.HEALTHY
        return Component(
            status=status if ill else Status.HEALTHY,
            cause=CAUSE if ill else None,
            checked_at=NOW,
            latency_ms=0.8 if name == "database" else None,
            detail={},
        )

    return Report(checked_at=NOW, components={name: component(name) for name in COMPONENTS})


def about() -> routes.About:
    return routes.About(version="1.2.3", mode="paper", role="leader", uptime_s=1.0)


def serving(answers: Mapping[str, Route], token: str | None = None) -> HealthServer:
    return HealthServer(Listen(port=0, token=token), answers)


def health_of(status: Status) -> dict[str, Route]:
    return {"/health": routes.health(lambda: report(status), about)}


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("status", "code"), [(Status.HEALTHY, 0), (Status.DEGRADED, 1), (Status.UNHEALTHY, 2)]
)
def test_the_exit_code_is_the_overall_status(status: Status, code: int) -> None:
    with serving(health_of(status)) as port:
        assert invoke("--url", port.url).exit_code == code


def test_the_table_names_every_component_and_the_cause() -> None:
    with serving(health_of(Status.DEGRADED)) as port:
        shown = invoke("--url", port.url).output
    assert "upbitd is degraded" in shown
    assert "mode paper, role leader, version 1.2.3" in shown
    assert all(name in shown for name in COMPONENTS)
    assert CAUSE in shown
    assert "0.8 ms" in shown


def test_json_is_the_ports_own_body() -> None:
    with serving(health_of(Status.DEGRADED)) as port:
        body = json.loads(invoke("--url", port.url, "--json").output)
    assert set(body["components"]) == set(COMPONENTS)
    assert body["components"]["latest_signal"]["cause"] == CAUSE


def test_the_configuration_says_where_the_daemon_is_and_its_token(tmp_path: Path) -> None:
    with serving(health_of(Status.HEALTHY), TOKEN) as port:
        config = tmp_path / "upbitd.toml"
        config.write_text(f'[health]\nport = {port.port}\ntoken = "{TOKEN}"\n')
        assert invoke("--config", str(config)).exit_code == 0


def test_a_port_on_every_address_is_asked_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(health_of(Status.HEALTHY), TOKEN) as port:
        config = tmp_path / "config.toml"
        config.write_text(f'[health]\nhost = "0.0.0.0"\nport = {port.port}\n')
        monkeypatch.setenv("UPBITD_HEALTH__TOKEN", TOKEN)
        assert invoke().exit_code == 0


def test_a_missing_token_is_told_as_the_port_tells_it() -> None:
    with serving(health_of(Status.HEALTHY), TOKEN) as port:
        result = invoke("--url", port.url)
    assert result.exit_code == 2
    assert "a token is required" in result.output


def test_a_daemon_that_is_not_there_is_exit_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = invoke("--url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 2
    assert "is the daemon running?" in result.output


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_daemon_that_does_not_answer_is_exit_2(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "TIMEOUT_S", 0.05)
    result = invoke("--url", silent)
    assert result.exit_code == 2
    assert "no answer within 0.05 s" in result.output


def page(request: Request) -> Response:
    return Response(body=b"<html>", content_type="text/html")


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (page, "is not JSON"),
        (lambda _: json_response({"status": "ok"}), "not a health report"),
        (lambda _: json_response({"status": "healthy", "components": [1]}), "not a health report"),
    ],
)
def test_something_else_on_the_port_is_exit_2(route: Route, said: str) -> None:
    with serving({"/health": route}) as port:
        result = invoke("--url", port.url)
    assert result.exit_code == 2
    assert said in result.output


def test_a_bad_configuration_is_exit_2_and_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[health]\nport = 70000\n")
    result = invoke()
    assert result.exit_code == 2
    assert "health.port" in result.output
    assert result.output.count("\n") == 1


def test_a_missing_configuration_is_a_fault_only_without_an_address() -> None:
    assert "there is no such file" in invoke().output


def test_markup_in_a_cause_is_shown_as_it_is() -> None:
    def route(request: Request) -> Response:
        ill = {"status": "unhealthy", "cause": "[bold]x[/bold] [/nope]", "latency_ms": None}
        return json_response({"status": "unhealthy", "components": {"upbit": ill}}, 503)

    with serving({"/health": route}) as port:
        assert "[bold]x[/bold] [/nope]" in invoke("--url", port.url).output
