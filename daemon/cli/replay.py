"""`upbitd replay`: what a source would have earned on recorded candles."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from daemon.backtest import page, table
from daemon.backtest.play import Pace, Wanted, Watch, make_report
from daemon.cli.arguments import instant
from daemon.cli.options import BAD_CONFIGURATION, ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import console, to_json
from daemon.config.load import Config, ConfigError, from_mapping, locate
from jobs.backtest.report import Report
from jobs.core.errors import JobError
from jobs.domain.settings import Value, parse_value

DATABASE: Final = "database"
TENTHS: Final = 10


def replay(  # noqa: PLR0913 - one parameter an option
    config: ConfigOption = None,
    *,
    since: Annotated[
        str | None,
        typer.Option("--from", help='"7d" (ago) or 2025-09-01; all there is unless said.'),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="The end, not included; all there is unless said.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help='"rules", "gemini" (what it answered then), or one you installed.'),
    ] = None,
    markets: Annotated[
        str, typer.Option(help="Markets with commas between; the configured ones unless said.")
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            help='"database", or a folder of candles_1m_*.csv[.gz], or one such file.',
            metavar="DIR",
        ),
    ] = DATABASE,
    slippage_bps: Annotated[
        str, typer.Option(help="Between the price and what is paid: hundredths of a per cent.")
    ] = "5",
    start_krw: Annotated[
        str | None, typer.Option(help="What the account begins with; as in paper mode unless said.")
    ] = None,
    shuffles: Annotated[
        int, typer.Option(min=0, max=10_000, help="Replays with shuffled signals; 0 for none.")
    ] = 20,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A runtime setting for this replay.", metavar="KEY=VALUE"),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask-gemini", help="Ask the model anew. This costs money.")
    ] = False,
    budget_usd: Annotated[
        str | None, typer.Option(help="With --ask-gemini: at most this, and never over the day's.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Trade recorded candles with the live rules, limits and fees, and judge the result.

    Beside the result stand buying and holding, and the same rules with shuffled signals. The same
    recording gives the same result to the last digit.

    Example: upbitd replay --from 7d --source rules --set stop_loss_pct=3 --html replay.html
    """
    folder = None if data == DATABASE else Path(data)
    settings = _config(config, optional=folder is not None)
    wanted = Wanted(
        source=source or settings.signals.source,
        since=instant(since),
        until=instant(until),
        markets=tuple(each.strip().upper() for each in markets.split(",") if each.strip()),
        data=folder,
        slippage_bps=_number("--slippage-bps", slippage_bps),
        start_krw=None if start_krw is None else _number("--start-krw", start_krw),
        shuffles=shuffles,
        overrides=_overrides(setting or []),
        ask=ask,
        budget_usd=None if budget_usd is None else _number("--budget-usd", budget_usd),
    )
    pace = Pace()
    report = _report(settings, wanted, pace)
    if as_json:
        typer.echo(to_json(report.as_dict()))
    else:
        table.show(report, console())
    if html is not None:
        html.write_text(page.render(report), "utf-8")
        typer.echo(f"page: {html}", err=True)
    _tell_pace(report, pace)


def _report(settings: Config, wanted: Wanted, pace: Pace) -> Report:
    with _watching() as watch:
        try:
            if wanted.needs_database:
                return with_database(
                    settings, lambda db: make_report(settings, wanted, db, watch=watch, pace=pace)
                )
            return asyncio.run(make_report(settings, wanted, None, watch=watch, pace=pace))
        except (JobError, LookupError, OSError) as error:
            fail(str(error.args[0] if isinstance(error, LookupError) else error))


def _config(path: Path | None, *, optional: bool) -> Config:
    """The configuration; a replay of files needs none."""
    if optional and path is None and not locate(None, os.environ).exists():
        try:
            return from_mapping({}, os.environ, keys=False)
        except ConfigError as error:
            fail(str(error), BAD_CONFIGURATION)
    return read_config(path, keys=False)


def _overrides(texts: list[str]) -> Mapping[str, Value]:
    found: dict[str, Value] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            found[key.strip()] = parse_value(key.strip(), value.strip())
        except ValueError as error:
            fail(f"--set: {error}", BAD_CONFIGURATION)
    return found


def _number(option: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise typer.BadParameter(f"{option}: {text!r} is not a number of 0 or more")
    return number


def _tell_pace(report: Report, pace: Pace) -> None:
    """How fast it went, on standard error: the result itself is the same every time."""
    span: timedelta = report.until - report.since
    took_s = max(pace.took_s, 1e-9)
    typer.echo(
        f"replayed {report.candles:,} candles, {span / timedelta(days=1):.1f} days, in "
        f"{took_s:.1f} s: {report.candles / took_s:,.0f} candles/s, "
        f"{span.total_seconds() / took_s:,.0f} times real time",
        err=True,
    )


def _watching() -> "Bar | Lines":
    return Bar() if sys.stderr.isatty() else Lines()


class Bar(Watch):
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        """A new stage of so many steps begins."""
        self._progress.reset(self._task, description=name, total=max(total, 1))

    def step(self, done: int) -> None:
        """So many steps of the stage are done."""
        self._progress.update(self._task, completed=done)

    def warn(self, line: str) -> None:
        """Something that a person should know of the result."""
        self._progress.console.print(f"note: {line}", markup=False, soft_wrap=True)


class Lines(Watch):
    """A line on standard error for each tenth of a stage that takes longer than seconds."""

    QUIET_S: float = 5.0

    def __init__(self) -> None:
        self._name, self._total, self._tenth = "reading", 1, 0
        self._told_s = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def stage(self, name: str, total: int) -> None:
        """A new stage of so many steps begins."""
        self._name, self._total, self._tenth = name, max(total, 1), 0

    def step(self, done: int) -> None:
        """So many steps of the stage are done."""
        tenth = done * TENTHS // self._total
        if tenth <= self._tenth:
            return
        self._tenth = tenth
        if time.monotonic() - self._told_s >= self.QUIET_S:
            self._told_s = time.monotonic()
            typer.echo(f"{self._name}: {tenth}0 %", err=True)

    def warn(self, line: str) -> None:
        """Something that a person should know of the result."""
        typer.echo(f"note: {line}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(replay)
