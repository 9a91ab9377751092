"""`upbitd jobs list|pause|resume|run`: hold jobs back, let them go on, run one now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from daemon.cli.operator import operator
from daemon.cli.options import ConfigOption, JsonOption, fail, read_config
from daemon.cli.session import with_database
from daemon.cli.tables import WideOption, show
from daemon.config.load import Config
from jobs import ALL
from jobs.store import job_controls, requests, runs
from jobs.store.db import Database

BAD_NAME = 2

commands = typer.Typer(
    help="Pause, resume and run the daemon's jobs.\n\nExample: upbitd jobs pause signals",
    no_args_is_help=True,
)
JobsArgument = Annotated[
    list[str], typer.Argument(help=f"The jobs: {', '.join(ALL)}, or all.", metavar="JOB...")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job: whether it is on in the configuration and paused, and its newest slot."""

    job: str
    enabled: bool
    paused: bool
    newest_slot_at: datetime | None
    follow_up_at: datetime | None
    changed_at: datetime | None
    changed_by: str | None


@commands.command("list")
def list_jobs(
    config: ConfigOption = None, *, as_json: JsonOption = False, wide: WideOption = False
) -> None:
    """List the jobs and what is asked of them.

    Example: upbitd jobs list --json
    """
    settings = read_config(config, keys=False)
    columns = {
        "job": "JOB",
        "enabled": "ENABLED",
        "paused": "PAUSED",
        "newest_slot_at": "NEWEST SLOT",
        "follow_up_at": "FOLLOW-UP",
        "changed_at": "CHANGED",
        "changed_by": "BY",
    }
    rows = with_database(settings, lambda db: _rows(db, settings))
    show(rows, columns, as_json=as_json, wide=wide, empty="No jobs.")


@commands.command("pause")
def pause(jobs: JobsArgument, config: ConfigOption = None) -> None:
    """Skip the slots of jobs until `upbitd jobs resume`, restarts included; what runs goes on.

    Example: upbitd jobs pause signals
    """
    _pause(jobs, config, paused=True)


@commands.command("resume")
def resume(jobs: JobsArgument, config: ConfigOption = None) -> None:
    """Run the slots of jobs again, from the next one on.

    Example: upbitd jobs resume all
    """
    _pause(jobs, config, paused=False)


@commands.command("run")
def run_now(
    job: Annotated[str, typer.Argument(help=f"The job: {', '.join(ALL)}.")],
    config: ConfigOption = None,
) -> None:
    """Run a job once more, now: after its present run if it has one, even while it is paused.

    Example: upbitd jobs run market
    """
    (name,) = _known([job])
    settings = read_config(config, keys=False)
    if not _is_enabled(settings, name):
        fail(f"jobs.{name}.enabled is false: the daemon has no such job", BAD_NAME)
    leader = with_database(settings, lambda db: _ask_run(db, settings, name))
    if leader is None:
        typer.echo(f"{name}: no daemon runs here; it will run once as soon as one does")
    else:
        typer.echo(f"{name}: asked for a run; see `upbitd slots --job {name}`")


async def _ask_run(db: Database, config: Config, job: str) -> str | None:
    """Ask for the run; return which daemon will carry it out, None when none leads."""
    await job_controls.ask_run(db, job, by=operator())
    return await requests.leader(
        db, requests.Address(mode=config.trading.mode, instance=config.daemon.instance)
    )


def _pause(jobs: list[str], config: ConfigOption, *, paused: bool) -> None:
    names = _known(jobs)
    changed = with_database(
        read_config(config, keys=False),
        lambda db: job_controls.pause(db, names, paused=paused, by=operator()),
    )
    state = "paused" if paused else "running"
    for name in names:
        typer.echo(f"{name}: {state}" if name in changed else f"{name}: {state} already")


def _known(jobs: list[str]) -> list[str]:
    if jobs == ["all"]:
        return list(ALL)
    for job in jobs:
        if job not in ALL:
            fail(f"no job is called {job}: {', '.join(ALL)}", BAD_NAME)
    return sorted(set(jobs), key=ALL.index)


def _is_enabled(config: Config, job: str) -> bool:
    return bool(getattr(config.jobs, job).enabled)


async def _rows(db: Database, config: Config) -> list[JobRow]:
    controls = await job_controls.read(db)
    newest = await runs.newest(db)
    rows = []
    for job in ALL:
        control = controls.get(job)
        rows.append(
            JobRow(
                job=job,
                enabled=_is_enabled(config, job),
                paused=control is not None and control.paused,
                newest_slot_at=newest.get(job),
                follow_up_at=None if control is None else control.follow_up_at,
                changed_at=None if control is None else control.updated_at,
                changed_by=None if control is None else control.updated_by,
            )
        )
    return rows


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="jobs")
