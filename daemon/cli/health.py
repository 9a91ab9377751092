"""`upbitd health`: what the running daemon says of itself."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli.options import ConfigOption, JsonOption, fail, load_for_command
from daemon.config.load import Config, ConfigError, from_mapping, locate
from jobs.core.errors import BadData
from jobs.core.untrusted import clean, decode_floats

TIMEOUT_S: Final = 5.0
EXITS: Final = {"healthy": 0, "degraded": 1, "unhealthy": 2}
UNREACHABLE: Final = 2
COLOURS: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The daemon's address. [default: health.host and health.port]",
        show_default=False,
    ),
]


def health(
    url: UrlOption = None, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show the six components of the running daemon and why one of them is not well.

    Exit: 0 healthy, 1 degraded, 2 unhealthy or no answer.

    Example: upbitd health --url http://127.0.0.1:8787
    """
    settings = _settings(config, optional=url is not None)
    body = _ask(url or _own_url(settings), settings.health.token.get_secret_value())
    if as_json:
        typer.echo(clean(json.dumps(body, ensure_ascii=False, indent=2)))
    else:
        _show(body)
    raise typer.Exit(EXITS.get(str(body["status"]), UNREACHABLE))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(health)


def _settings(path: Path | None, *, optional: bool) -> Config:
    """The configuration; with an address given, a file that is not there is no fault."""
    try:
        if optional and path is None and not locate(None, os.environ).exists():
            return from_mapping({}, os.environ, keys=False)
        return load_for_command(path)
    except ConfigError as error:
        fail(str(error), UNREACHABLE)


def _own_url(settings: Config) -> str:
    host = ANY_ADDRESS.get(settings.health.host, settings.health.host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.health.port}"


def _ask(url: str, token: str) -> Mapping[str, Any]:
    """The body of /health, or the end of the command with one line that says what is wrong."""
    base = url if "://" in url else f"http://{url}"
    address = base if urlsplit(base).path.strip("/") else f"{base.rstrip('/')}/health"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # the daemon is near: a proxy from the environment would only stand in between
        answer = httpx.get(address, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        body: Any = decode_floats(answer.content)
    except httpx.TimeoutException:
        fail(f"{address}: no answer within {TIMEOUT_S:g} s", UNREACHABLE)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(
            f"{address}: {str(error) or type(error).__name__}; is the daemon running?", UNREACHABLE
        )
    except BadData:
        fail(f"{address}: the answer is not JSON; is this the daemon's port?", UNREACHABLE)
    if not _is_report(body):
        said = body.get("error") if isinstance(body, dict) else None
        fail(f"{address}: {clean(str(said or 'this is not a health report'))}", UNREACHABLE)
    return dict(body)


def _is_report(body: object) -> bool:
    if not isinstance(body, dict) or body.get("status") not in EXITS:
        return False
    components = body.get("components")
    return isinstance(components, dict) and all(
        isinstance(each, dict) for each in components.values()
    )


def _halted(halted: object) -> Text | None:
    """The halt in a line, None when there is none; a daemon of before says nothing of it."""
    if not isinstance(halted, dict) or halted.get("level") in {None, "none"}:
        return None
    words = [f"trading is halted ({halted['level']})"]
    words += [f"{word} {halted[word]}" for word in ("by", "since") if halted.get(word)]
    why = f": {halted['reason']}" if halted.get("reason") else ""
    return Text(" ".join(words) + why, style="bold yellow")


def _show(body: Mapping[str, Any]) -> None:
    status = str(body["status"])
    parts = [f"{name} {body[name]}" for name in ("mode", "role", "version") if body.get(name)]
    parts = [clean(part) for part in parts]
    title = Text.assemble("upbitd is ", (status, COLOURS[status]), f"  ({', '.join(parts)})")
    table = Table("component", "status", "cause", "latency", box=None, pad_edge=False)
    for name, each in body["components"].items():
        latency = each.get("latency_ms")
        table.add_row(
            Text(clean(str(name))),
            Text(clean(str(each.get("status"))), style=COLOURS.get(str(each.get("status")), "")),
            # a cause may hold what others wrote: it is no markup and steers no terminal
            Text(clean(str(each.get("cause") or ""))),
            Text("" if latency is None else f"{latency} ms"),
        )
    console = Console()
    console.print(title)
    if (halted := _halted(body.get("halted"))) is not None:
        console.print(halted)
    console.print(table)
