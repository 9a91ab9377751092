"""`upbitd stats`: how the jobs ran and what the model cost, from the database or from log lines."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daemon.cli.arguments import SinceOption, instant
from daemon.cli.options import ConfigOption, JsonOption, fail, load_for_command, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import console, number, to_json
from daemon.config.load import ConfigError
from daemon.telemetry.log_reading import Numbered, numbered
from daemon.telemetry.stats import Stats, collect, from_lines
from jobs.core.untrusted import clean
from jobs.store.shadow import Difference
from jobs.store.statistics import JobStats, ModelDay

DAY = timedelta(hours=24)
STDIN = "-"
EXAMPLE = "for example journalctl -t upbitd -o cat | upbitd stats -"


def stats(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files of JSON log lines, or - for standard input.", metavar="FILE…|-"),
    ] = None,
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show runs, success, retries and durations of each job, tokens and cost of each day.

    Without files the database is asked, for the last 24 hours unless --since says otherwise. Lines
    may come as they are, or as journalctl, Docker or syslog show them; exit code 1 when none of
    them is the daemon's.

    Example: journalctl -t upbitd -o cat | upbitd stats -
    """
    if files:
        _use_zone(config)
        result = _from_files(files, instant(since))
    else:
        settings = read_config(config, keys=False)
        begin = instant(since) or datetime.now(UTC) - DAY
        result = with_database(settings, lambda db: collect(db, begin))
    if as_json:
        typer.echo(to_json(result.as_dict()))
    else:
        _show(result)
    if result.lines and result.foreign == result.lines:
        fail(f"none of the {result.lines} lines is upbitd's: pass its log, {EXAMPLE}")


def _use_zone(config: Path | None) -> None:
    """Files need no configuration; where there is one, it says in which zone --since is read."""
    with suppress(ConfigError):
        load_for_command(config)


def _from_files(files: list[str], since: datetime | None) -> Stats:
    with ExitStack() as stack:
        progress = None
        if sys.stderr.isatty():
            progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        try:
            return from_lines((each for name in files for each in _lines(name, progress)), since)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")


def _lines(name: str, progress: Progress | None) -> Iterator[Numbered]:
    if name == STDIN:
        yield from numbered("standard input", sys.stdin.buffer)
        return
    path = Path(name)
    with path.open("rb") as file:
        task = progress.add_task(path.name, total=path.stat().st_size) if progress else None
        for place, line in numbered(name, file):
            yield place, line
            if progress is not None and task is not None:
                progress.update(task, advance=len(line))


def _show(result: Stats) -> None:
    out = console()
    out.print(_jobs(result.jobs) if result.jobs else "No slots.")
    out.print()
    out.print(_days(result.days) if result.days else "No model calls.")
    if result.shadow is not None:
        out.print()
        out.print(_shadow(result.shadow))
    if result.malformed:
        foreign = f", {result.foreign} are not upbitd's" if result.foreign else ""
        said = f"{result.malformed} of {result.lines} lines could not be counted{foreign}:"
        typer.echo(said, err=True)
        for fault in result.faults:
            typer.echo(clean(f"  {fault.place}: {fault.why}"), err=True)


def _jobs(rows: list[JobStats]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("JOB")
    for heading in ("SLOTS", "RUNS", "OK", "SUCCESS", "SKIPPED", "RETRIES", "RECOVERED"):
        table.add_column(heading, justify="right")
    for heading in ("P50", "P95", "P99"):
        table.add_column(heading, justify="right")
    for row in rows:
        success = "-" if row.success_rate is None else f"{row.success_rate:.1%}"
        recovered = f"{row.recovered}/{row.retried}" if row.retried else "-"
        counts = (row.slots, row.runs, row.ok, success, row.skipped, row.retries, recovered)
        durations = (_seconds(each) for each in (row.p50_s, row.p95_s, row.p99_s))
        table.add_row(row.job, *map(str, counts), *durations)
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _days(rows: list[ModelDay]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("DAY (KST)")
    table.add_column("MODEL")
    for heading in ("CALLS", "OK", "TOKENS IN", "OUT", "THOUGHT", "USD"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (row.calls, row.ok, row.tokens_in, row.tokens_out, row.tokens_thought)
        cost = f"{'at most ' if row.is_estimate else ''}{number(row.cost_usd)}"
        table.add_row(row.day.isoformat(), row.model, *(f"{each:,}" for each in counts), cost)
    return table


def _shadow(row: Difference) -> Table:
    """The live account beside its paper twin."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    heads = ("SHADOW", "SIGNALS", "SAME END", "EXECUTED", "BOTH FILLED", "LIVE PAID MORE", "PROFIT")
    for heading in heads:
        table.add_column(heading, justify="left" if heading == "SHADOW" else "right")
    same = f"{row.same / row.signals:.1%}"
    worse = "-" if row.worse_bps is None else f"{row.worse_bps:+.2f} bps"
    for name, executed, profit in (
        ("live", row.live_executed, row.live_pnl_krw),
        ("paper twin", row.twin_executed, row.twin_pnl_krw),
    ):
        earned = "-" if profit is None else f"{profit:+,.0f} KRW"
        is_live = name == "live"
        table.add_row(
            name,
            f"{row.signals:,}" if is_live else "",
            same if is_live else "",
            f"{executed:,}",
            f"{row.pairs:,}" if is_live else "",
            worse if is_live else "",
            earned,
        )
    return table


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(stats)
